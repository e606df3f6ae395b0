"""The command ``fmnist-sklearn``: its arguments, its help and its exit status.

Only what parses the arguments is imported at once; each command imports what it needs
when it runs, so that ``--help`` does not load torch.
"""

from __future__ import annotations

import argparse
import inspect
import sys
import warnings
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from textwrap import indent
from typing import Any

from .._version import __version__
from .output import (
    escape_unencodable,
    flush_output,
    print_json,
    print_line,
    print_notice,
    print_table,
    printable,
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    Parameters
    ----------
    argv : sequence of str, default=None
        Its arguments; None takes those of the process.

    Returns
    -------
    status : int
        0; 1 for an error, reported in one line on stderr; 130 after Ctrl-C.
        ``predict`` reports each picture that it cannot read, or in which it finds no
        item of clothing, predicts the others, and then returns 1.

    Raises
    ------
    SystemExit
        With status 2, for arguments that do not parse; with 0, for ``--help`` and
        ``--version``; with 141, if stdout was closed, as after ``| head``.
    """
    escape_unencodable(sys.stdout)
    with warnings.catch_warnings():
        warnings.filterwarnings("default", category=UserWarning)
        warnings.showwarning = _show_warning
        try:
            try:
                options = vars(make_parser().parse_args(argv))
                return options.pop("command")(**options)
            finally:
                flush_output()
        except KeyboardInterrupt as interrupt:
            notes = getattr(interrupt, "__notes__", [])
            print_notice("; ".join(["interrupted", *notes]), start="\n")
            return 130  # the status that a shell reports for a process ended by Ctrl-C
        except (ImportError, OSError, ValueError) as error:
            from ..storage import describe_error

            message = describe_error(getattr(error, "filename", None) or "", error)
            print_notice(f"error: {_shortened(message)}")
            return 1


def _show_warning(message: Any, *where: Any, **where_else: Any) -> None:
    """Show a warning without the line of code that raised it."""
    print_notice(f"warning: {_shortened(message)}")


def _shortened(message: Any) -> str:
    """Leave out what scikit-learn writes between the number of fits and their error."""
    lines = str(message).strip().splitlines()
    return " ".join(lines if len(lines) < 3 else [lines[0], lines[-1]])


# Commands that train ------------------------------------------------------------------
#
# The docstring of a command is its help, its parameters are the options. `options` are
# those of run_benchmark and run_search, and those of a folder of pictures.


def _benchmark(
    *, out: Path = Path("benchmark_results"), json: bool = False, **options: Any
) -> int:
    """Compare both networks: table, figures and files.

    fmnist-sklearn benchmark
    fmnist-sklearn benchmark --data sample --models lenet5 --lr 0.003 0.01
    fmnist-sklearn benchmark --data photos --image-shape 3x64x64
    fmnist-sklearn benchmark --recipe accurate --cv 5 --memory fits --out table
    """
    from ..benchmark import run_benchmark

    options["data"] = _load_images(options, options.get("seed", 0))
    result = run_benchmark(out=out, **options)
    return _print_result(result, out, json)


def _search(
    model: str,
    *,
    out: Path = Path("search_results"),
    json: bool = False,
    **options: Any,
) -> int:
    """Search the best values of a network's parameters by cross-validation.

    fmnist-sklearn search lenet5 --lr 0.001 0.003 0.01 --batch-size 64 128
    fmnist-sklearn search minivgg --lr 0.001 0.01 --strategy race --time-limit 600
    fmnist-sklearn search lenet5 --dropout 0.1 0.3 0.5 --memory fits --workers 2
    fmnist-sklearn search lenet5 --data photos --lr 0.003 0.01 0.03
    """
    from ..benchmark import run_search

    names = [option[2:].replace("-", "_") for option in SEARCHED]
    params = {name: options.pop(name) for name in names if name in options}
    if not params:
        expected = ", ".join(SEARCHED)
        raise ValueError(f"nothing to try: give values to at least one of {expected}")
    options["data"] = _load_images(options, options.get("seed", 0))
    result = run_search(model, params, out=out, **options)
    return _print_result(result, out, json)


def _fit(
    model: str,
    *,
    out: Path,
    recipe: str | None = None,
    seed: int = 0,
    data_home: Path | None = None,
    json: bool = False,
    **options: Any,
) -> int:
    """Train one network and save it.

    fmnist-sklearn fit lenet5 --out net.safetensors
    fmnist-sklearn fit minivgg --recipe fast --out fast.safetensors
    fmnist-sklearn fit lenet5 --data photos --max-epochs 100 --out net.safetensors
    fmnist-sklearn fit minivgg --data photos --test others --out net.safetensors
    """
    from ..benchmark import Images, RunProgress, Work, load_data, with_class_names
    from ..models import find_model
    from ..persistence import save_model
    from ..storage import check_writable

    check_writable(out)  # an error before hours of training rather than after
    images = _load_images(options, seed)
    # The other options are parameters of the estimator.
    estimator = find_model(model).make(recipe, random_state=seed, **options)
    if not isinstance(images, Images):
        # Trained on the names of the classes, the network predicts names.
        images = with_class_names(load_data(images, data_home))
    with RunProgress([Work(model)]) as progress:
        progress.begin_work(0)
        with progress.following():
            estimator.fit(images.X_train, images.y_train)
    accuracy = estimator.score(images.X_test, images.y_test)
    save_model(estimator, out, preparation=images.preparation)
    facts = {
        "model": model,
        "n_train": images.n_train,
        "n_test": images.n_test,
        "test_accuracy": accuracy,
        "training_time_s": estimator.fit_time_,
        "epochs": estimator.n_iter_,
        "files": [str(out)],
    }
    how = "read from --memory, trained" if estimator.from_memory_ else "trained"
    text = (
        f"{model}, {how} on {images.n_train:,} images ({estimator.n_iter_} epochs, "
        f"{estimator.fit_time_:.1f} s): accuracy {accuracy:.4f} on {images.n_test:,} "
        f"test images. Saved as {printable(out)}"
    )
    return _print_facts(facts, text, json)


def _load_images(options: dict[str, Any], seed: int) -> Any:
    """Return the choice of Fashion-MNIST, or the user's images, from folder or file.

    The options that are only for the user's images are removed from `options`.
    """
    data, load = options.pop("data", "auto"), None
    own = {name: options.pop(name) for name in _OWN_IMAGES if name in options}
    if isinstance(data, Path):
        from ..benchmark import load_arrays, load_pictures

        load = load_pictures if data.is_dir() else load_arrays
    known = inspect.signature(load).parameters if load else {}
    if wrong := [f"--{name.replace('_', '-')}" for name in own if name not in known]:
        raise ValueError(f"{', '.join(wrong)}: not available with --data {data}")
    return load(data, seed=seed, **own) if load else data


def _print_result(result: Any, out: Path, json: bool) -> int:
    """Print the result of a benchmark or a search, and the files written.

    The status is 1 if the results could not be written, of which there was a warning.
    """
    from ..benchmark.results import to_jsonable

    paths = result.paths
    if json:
        print_json({**to_jsonable(result.record), "files": list(map(str, paths))})
    else:
        print_table(result.format_table())
        for note in result.format_notes():
            print_line(printable(note))
        names = ", ".join(path.name for path in paths) or "nothing"
        print_line(f"Written to {printable(out)}: {names}")
    return 0 if any(path.suffix == ".csv" for path in paths) else 1


# Commands on stored networks, data and cached fits ------------------------------------


def _predict(
    model: Path,
    images: list[str],
    *,
    format: str = "text",
    json: bool = False,
    **options: Any,
) -> int:
    """Classify pictures by a saved network.

    fmnist-sklearn predict net.safetensors shoe.png coat.jpg
    fmnist-sklearn predict net.safetensors photos --format csv --out answers.csv
    fmnist-sklearn predict net.safetensors photos --top 3 --min-confidence 0.8
    """
    from .predict import predict_files

    format_ = "json" if json else format
    return 0 if predict_files(model, images, format_=format_, **options) else 1


def _show(model: Path, *, json: bool = False) -> int:
    """Describe a saved network.

    fmnist-sklearn show net.safetensors
    fmnist-sklearn show net.safetensors --json
    """
    from ..benchmark.results import to_jsonable
    from ..persistence import inspect_model

    summary = inspect_model(model)
    return _print_facts(to_jsonable(dict(summary)), str(summary), json)


def _export(model: Path, *, out: Any = None, html: Any = None, **options: Any) -> int:
    """Write a saved network as an ONNX graph or as a web page.

    fmnist-sklearn export net.safetensors --out net.onnx
    fmnist-sklearn export net.safetensors --out net.onnx --input-dtype float32
    fmnist-sklearn export net.safetensors --html net.html
    """
    from ..export import export_html, export_onnx
    from ..persistence import load_model_and_preparation

    estimator, preparation = load_model_and_preparation(model)
    if out is not None:
        export_onnx(estimator, out, **options)
    elif options:
        raise ValueError("--input-dtype: not available with --html")
    else:
        export_html(estimator, html, preparation=preparation)
    print_line(f"Written to {printable(out or html)}")
    return 0


def _fetch(*, data_home: Path | None = None, json: bool = False) -> int:
    """Download the full Fashion-MNIST and verify it.

    fmnist-sklearn fetch
    fmnist-sklearn fetch --data-home datasets
    """
    from .. import datasets

    images = datasets.fetch_fashion_mnist(subset="all", data_home=data_home)
    source = datasets.fashion_mnist_source(data_home) or images.source
    n_images = len(images.target)
    text = f"Fashion-MNIST, {n_images:,} images, verified: {printable(source)}"
    return _print_facts({"n_images": n_images, "source": source}, text, json)


def _fits(
    memory: Path,
    *,
    where: Sequence[tuple[str, str]] = (),
    clear: bool = False,
    json: bool = False,
) -> int:
    """List or delete the fits that --memory keeps in a folder.

    fmnist-sklearn fits kept
    fmnist-sklearn fits kept --where model=LeNet5Classifier lr=0.01 lr=0.02
    fmnist-sklearn fits kept --where lr=0.02 --clear
    fmnist-sklearn fits kept --where id=3f2a9c1d id=77ab01e4 --clear
    """
    from ..storage import FitCache

    if not memory.is_dir():
        raise ValueError(f"no such folder: {memory}")
    cache = FitCache(memory)
    chosen, facts, lines = [], [], []
    for entry in cache.entries():
        name, size, about = entry.path.name, entry.n_bytes, cache.describe(entry)
        changed = about.get("params", {})
        known = {"id": name[:8], "model": about.get("model"), **changed}
        if not all((key, known.get(key)) in where for key, _ in where):
            continue
        time = entry.last_used.isoformat(sep=" ", timespec="seconds")
        line = f"{name[:8]}  {time}  {size / 1e6:5.1f} MB"
        if about:  # not for fits of earlier versions
            params = ", ".join(f"{key}={value}" for key, value in changed.items())
            line += (
                f"  accuracy {about['accuracy']!s:6.6}  {about['n_rows']:>6,} rows  "
                f"{about['n_epochs']:>3} epochs  {about['fit_time']:>6.1f} s  "
                f"{about['model']}({params})"
            )
        chosen.append(entry)
        facts.append({"name": name, "n_bytes": size, "last_used": time, **about})
        lines.append(printable(line))
    if clear:
        n_deleted = cache.delete(chosen) if where else cache.clear()
        lines.append(f"{n_deleted} fits deleted")
        return _print_facts({"n_deleted": n_deleted}, "\n".join(lines), json)
    n_bytes = sum(entry.n_bytes for entry in chosen)
    lines.append(f"{len(chosen)} fits, {n_bytes / 1e6:.1f} MB")
    return _print_facts(facts, "\n".join(lines), json)


def _print_facts(facts: Any, text: str, json: bool) -> int:
    """Print facts as JSON, or else their text; return the status of success."""
    if json:
        print_json(facts)
    else:
        print_line(text)
    return 0


# Types of arguments -------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Kind:
    """A type of arguments: a text that is converted and checked."""

    metavar: str
    expected: str
    convert: Callable[[str], Any] = str
    is_valid: Callable[[Any], bool] = lambda value: True

    def __call__(self, text: str) -> Any:
        """Return the value of an argument."""
        with suppress(ValueError):
            value = self.convert(text)
            if self.is_valid(value):
                return value
        raise argparse.ArgumentTypeError(f"expected {self.expected}, got {text!r}")


def _choice(*names: str) -> Kind:
    expected = f"{', '.join(names[:-1])} or {names[-1]}"
    return Kind("|".join(names), expected, str, names.__contains__)


def _or_word(word: str, meaning: Any, other: Kind) -> Kind:
    return Kind(
        f"{word}|{other.metavar}",
        f"{word} or {other.expected}",
        lambda text: meaning if text.lower() == word else other.convert(text),
        lambda value: value == meaning or other.is_valid(value),
    )


def _model_name(text: str) -> str:
    from ..models import find_model

    return find_model(text).name


MODEL = Kind("MODEL", "lenet5 or minivgg", _model_name)
FILE = Kind("FILE", "a file", Path)
DIR = Kind("DIR", "a folder", Path)
ADDRESS = Kind("ADDRESS", "an address")
IMAGE = Kind("IMAGE", "a file")
DATA = Kind(
    "auto|full|sample|DIR|FILE",
    "auto, full, sample, an existing folder, or an .npz or .npy file",
    lambda text: text if text in ("auto", "full", "sample") else Path(text),
    lambda data: (
        isinstance(data, str) or data.is_dir() or data.suffix in (".npz", ".npy")
    ),
)
ITEM = Kind(
    "NAME=VALUE",
    "a name and a value, such as lr=0.01",
    lambda text: tuple(text.split("=", 1)),
    lambda item: len(item) == 2,
)
PREPARATION = _choice("clothing", "resize")
PIXELS = _choice("uint8", "float32")
IMAGE_SHAPE = Kind(
    "CxHxW",
    "channels, height and width, such as 3x32x32",
    lambda text: tuple(map(int, text.split("x"))),
    lambda shape: len(shape) == 3 and min(shape) >= 1,
)
RATE = Kind("LR", "a number above 0", float, lambda x: 0 < x < float("inf"))
SECONDS = Kind("S", "a number above 0", float, lambda x: 0 < x < float("inf"))
FRACTION = Kind("P", "a number from 0 to below 1", float, lambda p: 0 <= p < 1)
COUNT = Kind("N", "an integer of at least 1", int, lambda n: n >= 1)
JOBS = Kind("N", "an integer other than 0", int, lambda n: n != 0)
SEED = Kind("S", "an integer from 0 to 2**32-1", int, lambda n: 0 <= n < 2**32)
FOLDS = Kind("N", "a number of folds, 2 or more", int, lambda n: n >= 2)
VALIDATION = _or_word("holdout", "holdout", FOLDS)
PATIENCE = _or_word("none", None, COUNT)
# Options of a search: their types, and what they try.
SEARCHED = {
    "--lr": (RATE, "learning rates"),
    "--batch-size": (COUNT, "batch sizes"),
    "--dropout": (FRACTION, "fractions of units dropped"),
    "--patience": (PATIENCE, "epochs without progress before a fit stops"),
}


# Parser -------------------------------------------------------------------------------


class Parser(argparse.ArgumentParser):
    """A parser that suggests the option closest to a misspelt one.

    Options that are not given are left out of the result, so that the functions which
    are called with it keep their defaults.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(
            **kwargs,
            allow_abbrev=False,
            argument_default=argparse.SUPPRESS,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )

    def add(
        self, name: str, kind: Kind, help_: str, group: Any = None, **more: Any
    ) -> None:
        """Add an argument; `more` are keyword arguments of ``add_argument``."""
        more |= {"type": kind, "metavar": kind.metavar, "help": help_}
        (group or self).add_argument(name, **more)

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parse, and exit with status 2 at the first unknown argument.

        argparse leaves that to the top-level parser, which shows its own usage.
        """
        parsed, unknown = super().parse_known_args(args, namespace)
        if unknown:
            name = unknown[0].partition("=")[0]
            options = self._option_string_actions
            near = get_close_matches(name, options, n=1, cutoff=0.75)
            hint = f"; did you mean {near[0]}?" if near else ""
            if name.startswith("-") and not near:
                hint = f"; the options are {', '.join(options)}"
            self.error(f"unrecognized arguments: {' '.join(unknown)}{hint}")
        return parsed, unknown


def make_parser() -> Parser:
    """Make the parser of the command line, with a parser for each command.

    Returns
    -------
    parser : Parser
        Its result has ``command``, a function that takes the other parsed values as
        keyword arguments and returns the exit status.
    """
    parser = Parser(
        prog="fmnist-sklearn",
        description="Small convolutional networks for small images: train, compare, "
        "predict.",
        epilog="""\
first steps:
  fmnist-sklearn fit lenet5 --out net.safetensors
  fmnist-sklearn predict net.safetensors shoe.png
  fmnist-sklearn fit --help""",
    )
    parser.add_argument(
        "--version", action="version", version=f"%(prog)s {__version__}"
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def add_command(function: Callable[..., int]) -> Parser:
        # The docstring is the help: a summary, and examples to copy.
        summary, _, examples = (inspect.getdoc(function) or "").partition("\n\n")
        command = commands.add_parser(
            function.__name__.removeprefix("_"),
            help=f"{summary[:1].lower()}{summary[1:].removesuffix('.')}",
            description=summary,
            epilog="examples:\n" + indent(examples, "  "),
        )
        if "json" in inspect.signature(function).parameters:
            help_ = "write one JSON value, for programs"
            command.add_argument("--json", action="store_true", help=help_)
        command.set_defaults(command=function)
        return command

    command = add_command(_benchmark)
    _add_training(command)
    command.add("--models", MODEL, "lenet5, minivgg, or both (default)", nargs="+")
    command.add("--lr", RATE, "learning rates (default: the recipe's)", nargs="+")
    command.add("--batch-size", COUNT, "batch sizes (default: 64 128)", nargs="+")
    command.add("--cv", VALIDATION, "holdout (default), or a number of folds")
    command.add("--n-jobs", JOBS, _N_JOBS_HELP, default=1)
    command.add("--out", DIR, "folder for the results (default: benchmark_results)")

    command = add_command(_search)
    command.add("model", MODEL, "lenet5 or minivgg")
    for name, (kind, what) in SEARCHED.items():
        command.add(name, kind, f"values to try: {what}", nargs="+")
    _add_training(command)
    command.add("--cv", FOLDS, "number of folds (default: 5)")
    command.add("--max-epochs", COUNT, "epochs of a fit (default: the recipe's)")
    command.add(
        "--strategy",
        _choice("grid", "random", "race", "halving"),
        "all combinations (grid, the default), --n-iter of them (random), or all, each "
        "until it cannot win (race; halving is another name of it)",
    )
    command.add("--n-iter", COUNT, "combinations that random tries (default: 10)")
    command.add(
        "--time-limit", SECONDS, "time that a race may take, final fit included"
    )
    where = command.add_mutually_exclusive_group()
    command.add("--n-jobs", JOBS, _N_JOBS_HELP, where)
    command.add("--scheduler", ADDRESS, "of a Dask cluster, for the fits", where)
    command.add("--workers", COUNT, "Dask workers to start for the fits", where)
    command.add("--out", DIR, "folder for the results (default: search_results)")

    command = add_command(_fit)
    command.add("model", MODEL, "lenet5 or minivgg")
    command.add("--out", FILE, "file to save the network in", required=True)
    own = "without it, the defaults of LeNet5Classifier or MiniVGGClassifier"
    _add_training(command, default_recipe=own)
    command.add("--lr", RATE, f"learning rate ({_OWN_HELP})")
    command.add("--batch-size", COUNT, f"images in a training step ({_OWN_HELP})")
    command.add("--max-epochs", COUNT, f"epochs, at most ({_OWN_HELP})")

    command = add_command(_predict)
    command.add("model", FILE, _MODEL_FILE_HELP)
    command.add(
        "images",
        IMAGE,
        "a picture (PNG, JPEG and others) of any size; a folder, of which all pictures "
        "are read; or a .csv or .npy file of rows of pixels",
        nargs="+",
    )
    command.add(
        "--prepare",
        PREPARATION,
        f"{_PREPARE_HELP} (default: as the network's file says; if it does not, "
        "clothing for the classes and image size of Fashion-MNIST, otherwise resize, "
        "with a note on stderr)",
    )
    command.add("--top", COUNT, "also list the N most probable labels")
    command.add("--min-confidence", FRACTION, "print 'unsure' below this probability")
    command.add(
        "--format",
        _choice("text", "csv", "json"),
        "text (default): path, label and probability between tabs; csv: with a header; "
        "json: one array",
    )
    command.add("--out", FILE, "file to write when all is done, instead of printing")
    command.add("--batch-size", COUNT, "images in memory at a time (default: 256)")

    command = add_command(_show)
    command.add("model", FILE, _MODEL_FILE_HELP)

    command = add_command(_export)
    command.add("model", FILE, _MODEL_FILE_HELP)
    target = command.add_mutually_exclusive_group(required=True)
    command.add("--out", FILE, "ONNX graph to write, for other runtimes", target)
    page = "web page to write, which predicts pictures in a browser without network"
    command.add("--html", FILE, page, target)
    dtype = "with --out: type of the pixels (default: uint8)"
    command.add("--input-dtype", PIXELS, dtype)

    command = add_command(_fetch)
    command.add("--data-home", DIR, _DATA_HOME_HELP)

    command = add_command(_fits)
    command.add("memory", DIR, "the folder")
    where_help = "only those with this id, this model or these values of parameters"
    command.add("--where", ITEM, where_help, nargs="+")
    clear_help = "delete all of them, or those that --where selects"
    command.add_argument("--clear", action="store_true", help=clear_help)
    return parser


# Arguments of several commands --------------------------------------------------------

_OWN_IMAGES = ("test", "labels", "image_shape", "prepare")  # not for Fashion-MNIST

_MODEL_FILE_HELP = "file of the saved network"
_DATA_HOME_HELP = "cache of the full data (default: scikit-learn's)"
_OWN_HELP = "default: the recipe's, or the network's own"
_N_JOBS_HELP = "number of fits at a time; -1: one for each core (default: 1)"
_PREPARE_HELP = (
    "clothing: cut out one item on a plain background, light on dark; resize: the "
    "whole picture, with its colours and background"
)


def _add_training(command: Parser, default_recipe: str = "default: fast") -> None:
    """Add the arguments of every training: recipe, seed, cache and data."""
    command.add(
        "--recipe",
        _choice("fast", "accurate", "published"),
        "parameters that go together; fast: few epochs, for tens of thousands of "
        "images; accurate: many epochs on randomly changed images; published: as in "
        f"the published experiment ({default_recipe})",
    )
    command.add("--seed", SEED, "seed of all random numbers (default: 0)")
    command.add("--memory", DIR, "cache of finished fits, none of which is repeated")
    data = command.add_argument_group("data")
    command.add(
        "--data",
        DATA,
        "auto (default): full Fashion-MNIST if present or downloadable, otherwise the "
        "bundled sample; DIR: a folder of pictures with a sub-folder for each class; "
        "FILE: an .npz file with arrays X and y, or an .npy file of images",
        data,
    )
    command.add("--labels", FILE, "with an .npy file of images: one of labels", data)
    command.add("--data-home", DIR, _DATA_HOME_HELP, data)
    command.add(
        "--test",
        DIR,
        "with --data DIR: a folder of test pictures with these sub-folders, or some "
        "of them (default: a fifth of the pictures of each class)",
        data,
    )
    command.add(
        "--image-shape",
        IMAGE_SHAPE,
        "channels (1 for grey, 3 for RGB), height and width of your images (default: "
        "3x32x32 with DIR, as stored with FILE)",
        data,
    )
    prepare = f"with --data DIR: {_PREPARE_HELP} (default: resize)"
    command.add("--prepare", PREPARATION, prepare, data)
