"""The commands that train: ``benchmark``, ``search`` and ``fit``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..output import print_line, print_table, printable
from . import _options, _types

_MODEL_FILE = "best.safetensors"
# Option -> type of its values, metavar, and what it is.
_SEARCHED: dict[str, tuple[Callable[[str], Any], str, str]] = {
    "lr": (_types.positive_float, "LR", "learning rates"),
    "batch_size": (_types.positive_int, "N", "batch sizes"),
    "shuffle": (_types.boolean, "true|false", "whether validation rows are drawn"),
    "dropout": (_types.fraction, "P", "fractions of units dropped"),
    "patience": (_types.positive_int_or_none, "N|none", "epochs without progress"),
}


def add_benchmark(add: _options.Add) -> None:
    """Add ``benchmark`` to the commands."""
    parser = add(
        "benchmark",
        _benchmark,
        "compare both networks: table, figures and files",
        """\
  fmnist-sklearn benchmark
  fmnist-sklearn benchmark --data sample --models lenet5 --lr 0.003 0.01
  fmnist-sklearn benchmark --data photos --image-shape 3x64x64
  fmnist-sklearn benchmark --recipe accurate --cv 5 --memory fits --out table""",
    )
    _options.add_training(parser)
    parser.add_argument(
        "--models",
        nargs="+",
        type=_types.model,
        metavar="MODEL",
        help="lenet5, minivgg, or both (default)",
    )
    parser.add_argument(
        "--lr",
        nargs="+",
        type=_types.positive_float,
        metavar="LR",
        help="learning rates (default: the recipe's)",
    )
    parser.add_argument(
        "--batch-size",
        nargs="+",
        type=_types.positive_int,
        default=[64, 128],
        metavar="N",
        help="batch sizes (default: 64 128)",
    )
    parser.add_argument(
        "--cv",
        type=_types.cv,
        default="holdout",
        metavar="holdout|N",
        help="one fit with a validation part of its own (default), or N-fold "
        "cross-validation",
    )
    parser.add_argument(
        "--n-jobs",
        type=_types.n_jobs,
        default=1,
        metavar="N",
        help="fits at a time, which then share the cores; -1: one for each core "
        "(default: %(default)s)",
    )
    _options.add_memory(parser)
    _options.add_folder(
        parser, "benchmark_results", "the results, written after every row"
    )
    _options.add_json(parser)


def add_search(add: _options.Add) -> None:
    """Add ``search`` to the commands."""
    parser = add(
        "search",
        _search,
        "try values of a network's parameters, in folds",
        """\
  fmnist-sklearn search lenet5 --lr 0.001 0.003 0.01 --batch-size 64 128
  fmnist-sklearn search minivgg --lr 0.001 0.01 --strategy halving --n-jobs -1
  fmnist-sklearn search lenet5 --dropout 0.1 0.3 0.5 --memory fits --workers 2
  fmnist-sklearn search lenet5 --data photos --lr 0.003 0.01 0.03""",
    )
    _options.add_model(parser)
    for name, (kind, metavar, help_) in _SEARCHED.items():
        option = f"--{name.replace('_', '-')}"
        parser.add_argument(
            option, nargs="+", type=kind, metavar=metavar, help=f"{help_} to try"
        )
    parser.add_argument(
        "--cv",
        type=_types.folds,
        default=5,
        metavar="N",
        help="folds (default: %(default)s)",
    )
    parser.add_argument(
        "--max-epochs",
        type=_types.positive_int,
        metavar="N",
        help="epochs of a fit, at most (default: the recipe's)",
    )
    parser.add_argument(
        "--strategy",
        choices=("grid", "random", "halving"),
        default="grid",
        help="all combinations (grid, the default), --n-iter of them (random), or all "
        "with few epochs and the best third of them with more (halving)",
    )
    parser.add_argument(
        "--n-iter",
        type=_types.positive_int,
        default=10,
        metavar="N",
        help="combinations that random tries (default: %(default)s)",
    )
    where = parser.add_mutually_exclusive_group()
    where.add_argument(
        "--n-jobs",
        type=_types.n_jobs,
        metavar="N",
        help="fits at a time; -1: one for each core (default: 1)",
    )
    where.add_argument(
        "--scheduler",
        metavar="tcp://HOST:PORT",
        help="run the fits on the cluster of this Dask scheduler",
    )
    where.add_argument(
        "--workers",
        type=_types.positive_int,
        metavar="N",
        help="run the fits in so many Dask workers started on this machine",
    )
    _options.add_memory(parser)
    _options.add_folder(parser, "search_results", "the results and the best network")
    _options.add_training(parser)
    _options.add_json(parser)


def add_fit(add: _options.Add) -> None:
    """Add ``fit`` to the commands."""
    parser = add(
        "fit",
        _fit,
        "train one network and save it",
        """\
  fmnist-sklearn fit lenet5 --out net.safetensors
  fmnist-sklearn fit minivgg --recipe accurate --out best.safetensors
  fmnist-sklearn fit lenet5 --data photos --recipe accurate --out net.safetensors
  fmnist-sklearn fit minivgg --data photos --test others --out net.safetensors""",
    )
    _options.add_model(parser)
    parser.add_argument(
        "--out", type=Path, required=True, metavar="FILE", help="where to save it"
    )
    _options.add_training(parser)
    _options.add_batch_size(parser, 64, "images a step of the training")
    _options.add_json(parser)


def _benchmark(args: Any) -> int:
    from ..benchmark import run_benchmark

    result = run_benchmark(
        data=_options.read_data(args),
        recipe=args.recipe,
        models=args.models,
        lr=args.lr,
        batch_size=args.batch_size,
        cv=args.cv,
        n_jobs=args.n_jobs,
        memory=args.memory,
        seed=args.seed,
        out=args.out,
        data_home=args.data_home,
    )
    _tell_result(result, result.paths, args)
    return 0


def _search(args: Any) -> int:
    from ..benchmark import Images, run_search
    from ..persistence import save_model

    params = {
        name: values
        for name in _SEARCHED
        if (values := getattr(args, name)) is not None
    }
    if not params:
        options = ", ".join(f"--{name.replace('_', '-')}" for name in _SEARCHED)
        raise ValueError(f"nothing to try: give values to at least one of {options}")
    data = _options.read_data(args)
    result = run_search(
        args.model,
        params,
        strategy=args.strategy,
        n_iter=args.n_iter,
        max_epochs=args.max_epochs,
        data=data,
        recipe=args.recipe,
        cv=args.cv,
        n_jobs=args.n_jobs,
        memory=args.memory,
        scheduler=args.scheduler,
        workers=args.workers,
        seed=args.seed,
        out=args.out,
        data_home=args.data_home,
    )
    model_file = args.out / _MODEL_FILE
    preparation = data.preparation if isinstance(data, Images) else "clothing"
    save_model(result.search.best_estimator_, model_file, preparation=preparation)
    _tell_result(result, [*result.paths, model_file], args)
    return 0


def _tell_result(result: Any, paths: list[Path], args: Any) -> None:
    """Print what a benchmark or a search found, and where it was written."""
    if args.json:
        _options.say_json({**result.record, "files": list(map(str, paths))})
        return
    print_table(result.format_table())
    for note in result.format_notes():
        print_line(note)
    names = ", ".join(path.name for path in paths)
    print_line(f"Written to {printable(args.out)}: {names}")


def _fit(args: Any) -> int:
    from ..benchmark import Images, RunProgress, Work, load_data, with_class_names
    from ..models import find_model
    from ..persistence import save_model
    from ..storage import check_writable

    if args.out.is_dir() or not args.out.parent.is_dir():
        raise ValueError(f"--out must name a file in a folder that exists: {args.out}")
    # What cannot be written is better known before hours of training than after.
    check_writable(args.out)
    estimator = find_model(args.model).make(
        args.recipe, batch_size=args.batch_size, random_state=args.seed
    )
    data = _options.read_data(args)
    # Trained on the names, the network tells them by itself when it predicts.
    images = (
        data
        if isinstance(data, Images)
        else with_class_names(load_data(data, args.data_home))
    )
    with RunProgress([Work(args.model, estimator.max_epochs)]) as progress:
        progress.begin_work(0)
        with progress.following():
            estimator.fit(images.X_train, images.y_train)
    accuracy = estimator.score(images.X_test, images.y_test)
    save_model(estimator, args.out, preparation=images.preparation)
    if args.json:
        _options.say_json(
            {
                "model": args.model,
                "n_train": images.n_train,
                "n_test": images.n_test,
                "test_accuracy": accuracy,
                "training_time_s": estimator.fit_time_,
                "epochs": estimator.n_iter_,
                "files": [str(args.out)],
            }
        )
        return 0
    print_line(
        f"{args.model}, trained on {images.n_train:,} images in "
        f"{estimator.fit_time_:.1f} s: accuracy {accuracy:.4f} on {images.n_test:,} "
        f"test images. Saved as {printable(args.out)}"
    )
    return 0
