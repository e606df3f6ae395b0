"""The commands on what is kept: ``fetch`` the data, and list ``fits``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..output import print_line, printable
from . import _options


def add_fetch(add: _options.Add) -> None:
    """Add ``fetch`` to the commands."""
    parser = add(
        "fetch",
        _fetch,
        "get the full Fashion-MNIST, and check it",
        """\
  fmnist-sklearn fetch
  fmnist-sklearn fetch --data-home datasets""",
    )
    _options.add_data_home(parser)
    _options.add_json(parser)


def add_fits(add: _options.Add) -> None:
    """Add ``fits`` to the commands."""
    parser = add(
        "fits",
        _fits,
        "list the fits kept in a folder by --memory, or clear",
        """\
  fmnist-sklearn fits kept
  fmnist-sklearn fits kept --clear""",
    )
    parser.add_argument("memory", type=Path, metavar="DIR", help="the folder")
    parser.add_argument("--clear", action="store_true", help="delete them all")
    _options.add_json(parser)


def _fetch(args: Any) -> int:
    from .. import datasets

    data_home = args.data_home
    images = datasets.fetch_fashion_mnist(subset="all", data_home=data_home)
    source = datasets.fashion_mnist_source(data_home) or images.source
    n_images = len(images.target)
    if args.json:
        _options.say_json({"n_images": n_images, "source": str(source)})
    else:
        print_line(f"Fashion-MNIST, {n_images:,} images, checked: {printable(source)}")
    return 0


def _fits(args: Any) -> int:
    from ..storage import FitCache

    if not args.memory.is_dir():
        raise ValueError(f"no such folder: {args.memory}")
    cache = FitCache(args.memory)
    if args.clear:
        n_deleted = cache.clear()
        if args.json:
            _options.say_json({"n_deleted": n_deleted})
        else:
            print_line(f"{n_deleted} fits deleted")
        return 0
    entries = cache.entries()
    times = [e.last_used.isoformat(sep=" ", timespec="seconds") for e in entries]
    if args.json:
        _options.say_json(
            [
                {"name": entry.path.name, "n_bytes": entry.n_bytes, "last_used": time}
                for entry, time in zip(entries, times, strict=True)
            ]
        )
        return 0
    for entry, time in zip(entries, times, strict=True):
        print_line(
            f"{time}\t{entry.n_bytes / 1e6:.1f} MB\t{printable(entry.path.name)}"
        )
    n_bytes = sum(entry.n_bytes for entry in entries)
    print_line(f"{len(entries)} fits, {n_bytes / 1e6:.1f} MB")
    return 0
