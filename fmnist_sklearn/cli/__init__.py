"""The command ``fmnist-sklearn`` and its arguments."""

from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

# None of it late: `import fmnist_sklearn` has loaded it already, torch and all (3 s),
# but for Pillow (0.02 s).
from . import arguments, benchmark, datasets, predict_command, search_command
from .benchmark import RunProgress, Work, load_data
from .models import MODELS, find_model
from .output import encoding_all, print_table, printable, say, settle, tell
from .persistence import save_model
from .recipes import RECIPES
from .storage import check_writable

_INTERRUPTED = 130  # what a shell reports for a process ended by Ctrl-C


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    Parameters
    ----------
    argv : sequence of str, default=None
        Its arguments; None takes those of the process.

    Returns
    -------
    status : int
        0; 1 for an error, told in one line on stderr; 130 after Ctrl-C. ``predict``
        tells each picture that cannot be read, or in which no article is seen, names
        the others all the same, and then returns 1.

    Raises
    ------
    SystemExit
        With status 2, for arguments that do not parse; with 0, for ``--help``; with
        141, where nobody reads the output any more, as after ``| head``.
    """
    with encoding_all(sys.stdout), warnings.catch_warnings():
        warnings.filterwarnings("default", category=UserWarning)
        warnings.showwarning = _show_warning
        try:
            return _run(argv)
        except KeyboardInterrupt:
            tell("interrupted", start="\n")
            return _INTERRUPTED
        except (ImportError, OSError, ValueError) as error:
            tell(f"error: {_message(error)}")
            return 1


def _run(argv: Sequence[str] | None) -> int:
    try:
        args = _make_parser().parse_args(argv)
        return args.command(args)
    finally:
        settle()


def _message(error: Exception) -> str:
    """Return an error's message, the system's own without its number."""
    if isinstance(error, OSError) and error.strerror:
        where = "" if error.filename is None else f"{error.filename}: "
        return where + error.strerror
    return str(error)


def _show_warning(message: Any, *where: Any, **where_else: Any) -> None:
    """Show a warning without the line of code it came from."""
    tell(f"warning: {message}")


# Arguments --------------------------------------------------------------------------


def _make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="fmnist-sklearn",
        description="Small convolutional networks on Fashion-MNIST.",
        allow_abbrev=False,
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def add(name: str, command: Callable[[Any], int], help_: str) -> Any:
        # The help of one command begins with what the list of commands says of it.
        added = commands.add_parser(
            name,
            help=help_,
            description=f"{help_[0].upper()}{help_[1:]}.",
            allow_abbrev=False,
        )
        added.set_defaults(command=command)
        return added

    benchmark = add(
        "benchmark", _benchmark, "compare both networks: table, figures and files"
    )
    _add_training_options(benchmark)
    benchmark.add_argument(
        "--models",
        nargs="+",
        type=arguments.model,
        default=list(MODELS),
        metavar="MODEL",
        help="lenet5, minivgg, or both (default)",
    )
    benchmark.add_argument(
        "--lr",
        nargs="+",
        type=arguments.positive_float,
        metavar="LR",
        help="learning rates (default: the recipe's)",
    )
    benchmark.add_argument(
        "--batch-size",
        nargs="+",
        type=arguments.positive_int,
        default=[64, 128],
        metavar="N",
        help="batch sizes (default: 64 128)",
    )
    benchmark.add_argument(
        "--cv",
        type=arguments.cv,
        default="holdout",
        metavar="holdout|N",
        help="one fit with a validation part of its own (default), or N-fold "
        "cross-validation",
    )
    benchmark.add_argument(
        "--n-jobs",
        type=arguments.n_jobs,
        default=1,
        metavar="N",
        help="fits at a time, which then share the cores; -1: one for each core "
        "(default: %(default)s)",
    )
    search_command.add_memory(benchmark)
    benchmark.add_argument(
        "--out",
        type=Path,
        default="benchmark_results",
        metavar="DIR",
        help="folder for the results, written after every row (default: %(default)s)",
    )

    _add_training_options(search_command.add_search(add))

    fit = add("fit", _fit, "train one network and save it")
    fit.add_argument(
        "model", type=arguments.model, metavar="MODEL", help="lenet5 or minivgg"
    )
    fit.add_argument(
        "--out",
        type=Path,
        required=True,
        metavar="FILE",
        help="where to save it",
    )
    _add_training_options(fit)
    fit.add_argument(
        "--batch-size",
        type=arguments.positive_int,
        default=64,
        metavar="N",
        help="default: %(default)s",
    )

    predict_command.add_predict(add)
    predict_command.add_show(add)
    predict_command.add_export(add)

    fetch = add("fetch", _fetch, "get the full Fashion-MNIST, and check it")
    _add_data_home(fetch)

    search_command.add_fits(add)
    return parser


def _add_training_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--data",
        choices=("auto", "full", "sample"),
        default="auto",
        help="auto (default): the full data where it can be had, else the sample",
    )
    parser.add_argument(
        "--recipe",
        choices=tuple(RECIPES),
        default="fast",
        help="how to train: parameters of each network (default: %(default)s)",
    )
    parser.add_argument(
        "--seed",
        type=arguments.seed,
        default=0,
        metavar="S",
        help="of everything random (default: %(default)s)",
    )
    _add_data_home(parser)


def _add_data_home(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--data-home",
        type=Path,
        metavar="DIR",
        help="cache of the full data (default: scikit-learn's)",
    )


# Commands ---------------------------------------------------------------------------


def _benchmark(args: Any) -> int:
    result = benchmark.run_benchmark(
        data=args.data,
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
    print_table(result.format_table())
    for note in result.format_notes():
        say(note)
    names = ", ".join(path.name for path in result.paths)
    say(f"Written to {printable(args.out)}: {names}")
    return 0


def _fit(args: Any) -> int:
    if args.out.is_dir() or not args.out.parent.is_dir():
        raise ValueError(f"--out must name a file in a folder that exists: {args.out}")
    # What cannot be written is better known before hours of training than after.
    check_writable(args.out)
    estimator = find_model(args.model).make(
        args.recipe, batch_size=args.batch_size, random_state=args.seed
    )
    images = load_data(args.data, args.data_home)
    # Trained on the names, the network tells them by itself when it predicts.
    names = np.array(datasets.CLASS_NAMES)
    with RunProgress([Work(args.model, estimator.max_epochs)]) as progress:
        progress.begin_work(0)
        with progress.following():
            estimator.fit(images.X_train, names[images.y_train])
    accuracy = estimator.score(images.X_test, names[images.y_test])
    save_model(estimator, args.out, preparation="clothing")
    say(
        f"{args.model}, trained on {images.n_train:,} images in "
        f"{estimator.fit_time_:.1f} s: accuracy {accuracy:.4f} on {images.n_test:,} "
        f"test images. Saved as {printable(args.out)}"
    )
    return 0


def _fetch(args: Any) -> int:
    data_home = args.data_home
    images = datasets.fetch_fashion_mnist(subset="all", data_home=data_home)
    source = datasets.fashion_mnist_source(data_home) or images.source
    say(f"Fashion-MNIST, {len(images.target):,} images, checked: {printable(source)}")
    return 0
