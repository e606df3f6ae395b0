"""The commands that train: ``benchmark``, ``search`` and ``fit``.

Their docstrings are the help of the commands; their parameters are the options.
``**options`` are those of ``run_benchmark`` and ``run_search``, and those of a folder
of pictures.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .output import print_json, print_line, print_table, printable

_SEARCHED = ("lr", "batch_size", "shuffle", "dropout", "patience")


def benchmark(
    *, out: Path = Path("benchmark_results"), json: bool = False, **options: Any
) -> int:
    """Compare both networks: table, figures and files.

    fmnist-sklearn benchmark
    fmnist-sklearn benchmark --data sample --models lenet5 --lr 0.003 0.01
    fmnist-sklearn benchmark --data photos --image-shape 3x64x64
    fmnist-sklearn benchmark --recipe accurate --cv 5 --memory fits --out table
    """
    from ..benchmark import run_benchmark

    options["data"] = _load_folder(options)
    result = run_benchmark(out=out, **options)
    _print_result(result, result.paths, out, json)
    return 0


def search(
    model: str,
    *,
    out: Path = Path("search_results"),
    json: bool = False,
    **options: Any,
) -> int:
    """Search the best values of a network's parameters by cross-validation.

    fmnist-sklearn search lenet5 --lr 0.001 0.003 0.01 --batch-size 64 128
    fmnist-sklearn search minivgg --lr 0.001 0.01 --strategy halving --n-jobs -1
    fmnist-sklearn search lenet5 --dropout 0.1 0.3 0.5 --memory fits --workers 2
    fmnist-sklearn search lenet5 --data photos --lr 0.003 0.01 0.03
    """
    from ..benchmark import Images, run_search
    from ..persistence import save_model

    params = {name: options.pop(name) for name in _SEARCHED if name in options}
    if not params:
        names = ", ".join(f"--{name.replace('_', '-')}" for name in _SEARCHED)
        raise ValueError(f"nothing to try: give values to at least one of {names}")
    options["data"] = data = _load_folder(options)
    result = run_search(model, params, out=out, **options)
    path = out / "best.safetensors"
    preparation = data.preparation if isinstance(data, Images) else "clothing"
    save_model(result.search.best_estimator_, path, preparation=preparation)
    _print_result(result, [*result.paths, path], out, json)
    return 0


def fit(
    model: str,
    *,
    out: Path,
    recipe: str = "fast",
    batch_size: int = 64,
    data_home: Path | None = None,
    json: bool = False,
    **options: Any,
) -> int:
    """Train one network and save it.

    fmnist-sklearn fit lenet5 --out net.safetensors
    fmnist-sklearn fit minivgg --recipe accurate --out best.safetensors
    fmnist-sklearn fit lenet5 --data photos --recipe accurate --out net.safetensors
    fmnist-sklearn fit minivgg --data photos --test others --out net.safetensors
    """
    from ..benchmark import Images, RunProgress, Work, load_data, with_class_names
    from ..models import find_model
    from ..persistence import save_model
    from ..storage import check_writable

    if out.is_dir() or not out.parent.is_dir():
        raise ValueError(f"--out must name a file in a folder that exists: {out}")
    check_writable(out)  # an error before hours of training rather than after
    estimator = find_model(model).make(
        recipe, batch_size=batch_size, random_state=options.get("seed", 0)
    )
    data = _load_folder(options)
    # Trained on the names of the classes, the network predicts names.
    images = (
        data
        if isinstance(data, Images)
        else with_class_names(load_data(data, data_home))
    )
    with RunProgress([Work(model, estimator.max_epochs)]) as progress:
        progress.begin_work(0)
        with progress.following():
            estimator.fit(images.X_train, images.y_train)
    accuracy = estimator.score(images.X_test, images.y_test)
    save_model(estimator, out, preparation=images.preparation)
    if json:
        print_json(
            {
                "model": model,
                "n_train": images.n_train,
                "n_test": images.n_test,
                "test_accuracy": accuracy,
                "training_time_s": estimator.fit_time_,
                "epochs": estimator.n_iter_,
                "files": [str(out)],
            }
        )
    else:
        print_line(
            f"{model}, trained on {images.n_train:,} images in "
            f"{estimator.fit_time_:.1f} s: accuracy {accuracy:.4f} on "
            f"{images.n_test:,} test images. Saved as {printable(out)}"
        )
    return 0


def _load_folder(options: dict[str, Any]) -> Any:
    """Return the choice of Fashion-MNIST, or the images of a folder of pictures.

    The options that are only for folders are removed from `options`.
    """
    data = options.pop("data", "auto")
    names = [name for name in ("test", "image_shape", "prepare") if name in options]
    folder_options = {name: options.pop(name) for name in names}
    if isinstance(data, Path):
        from ..benchmark import load_pictures

        return load_pictures(data, seed=options.get("seed", 0), **folder_options)
    if names:
        given = ", ".join(f"--{name.replace('_', '-')}" for name in names)
        raise ValueError(
            f"{given}: only with a folder of pictures, --data DIR; got --data {data}"
        )
    return data


def _print_result(result: Any, paths: list[Path], out: Path, json: bool) -> None:
    """Print the result of a benchmark or a search, and the files written."""
    if json:
        from ..benchmark.results import to_jsonable

        files = [str(path) for path in paths]
        print_json({**to_jsonable(result.record), "files": files})
        return
    print_table(result.format_table())
    for note in result.format_notes():
        print_line(note)
    names = ", ".join(path.name for path in paths)
    print_line(f"Written to {printable(out)}: {names}")
