"""The commands ``fmnist-sklearn search`` and ``fmnist-sklearn fits``."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

from . import arguments
from .output import print_table, printable, say
from .persistence import save_model
from .search import run_search
from .storage import FitCache

_MODEL_FILE = "best.safetensors"
# Option -> type of its values, metavar, and what it is.
_SEARCHED: dict[str, tuple[Callable[[str], Any], str, str]] = {
    "lr": (arguments.positive_float, "LR", "learning rates"),
    "batch_size": (arguments.positive_int, "N", "batch sizes"),
    "shuffle": (arguments.boolean, "true|false", "whether validation rows are drawn"),
    "dropout": (arguments.fraction, "P", "fractions of units dropped"),
    "patience": (arguments.positive_int_or_none, "N|none", "epochs without progress"),
}


def add_search(add: Callable[..., argparse.ArgumentParser]) -> argparse.ArgumentParser:
    """Add ``search`` to the commands, and return its parser.

    Parameters
    ----------
    add : callable
        Takes a command's name, function and help, and returns its parser.
    """
    parser = add("search", _search, "try values of a network's parameters, in folds")
    parser.add_argument(
        "model", type=arguments.model, metavar="MODEL", help="lenet5 or minivgg"
    )
    for name, (kind, metavar, help_) in _SEARCHED.items():
        option = f"--{name.replace('_', '-')}"
        parser.add_argument(
            option, nargs="+", type=kind, metavar=metavar, help=f"{help_} to try"
        )
    parser.add_argument(
        "--cv",
        type=arguments.folds,
        default=5,
        metavar="N",
        help="folds (default: %(default)s)",
    )
    parser.add_argument(
        "--max-epochs",
        type=arguments.positive_int,
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
        type=arguments.positive_int,
        default=10,
        metavar="N",
        help="combinations that random tries (default: %(default)s)",
    )
    where = parser.add_mutually_exclusive_group()
    where.add_argument(
        "--n-jobs",
        type=arguments.n_jobs,
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
        type=arguments.positive_int,
        metavar="N",
        help="run the fits in so many Dask workers started on this machine",
    )
    add_memory(parser)
    parser.add_argument(
        "--out",
        type=Path,
        default="search_results",
        metavar="DIR",
        help="folder for the results and the best network (default: %(default)s)",
    )
    return parser


def add_memory(parser: argparse.ArgumentParser) -> None:
    """Add the option ``--memory``."""
    parser.add_argument(
        "--memory",
        type=Path,
        metavar="DIR",
        help="keep finished fits there; killed and run again, it repeats none of them",
    )


def add_fits(add: Callable[..., argparse.ArgumentParser]) -> None:
    """Add ``fits`` to the commands; `add` as for :func:`add_search`."""
    parser = add("fits", _fits, "list the fits kept in a folder by --memory, or clear")
    parser.add_argument("memory", type=Path, metavar="DIR", help="the folder")
    parser.add_argument("--clear", action="store_true", help="delete them all")


def _search(args: Any) -> int:
    params = {
        name: values
        for name in _SEARCHED
        if (values := getattr(args, name)) is not None
    }
    if not params:
        options = ", ".join(f"--{name.replace('_', '-')}" for name in _SEARCHED)
        raise ValueError(f"nothing to try: give values to at least one of {options}")
    result = run_search(
        args.model,
        params,
        strategy=args.strategy,
        n_iter=args.n_iter,
        max_epochs=args.max_epochs,
        data=args.data,
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
    best = result.search.best_estimator_
    save_model(best, model_file, preparation="clothing")
    print_table(result.format_table())
    for note in result.format_notes():
        say(note)
    names = ", ".join(path.name for path in (*result.paths, model_file))
    say(f"Written to {printable(args.out)}: {names}")
    return 0


def _fits(args: Any) -> int:
    if not args.memory.is_dir():
        raise ValueError(f"no such folder: {args.memory}")
    cache = FitCache(args.memory)
    if args.clear:
        say(f"{cache.clear()} fits deleted")
        return 0
    entries = cache.entries()
    for entry in entries:
        used = entry.last_used.isoformat(sep=" ", timespec="seconds")
        say(f"{used}\t{entry.n_bytes / 1e6:.1f} MB\t{printable(entry.path.name)}")
    n_bytes = sum(entry.n_bytes for entry in entries)
    say(f"{len(entries)} fits, {n_bytes / 1e6:.1f} MB")
    return 0
