"""Many pictures, read by several threads into one array."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from joblib import Parallel, delayed

from ..output import progress_bar
from ..photos import UNSEEN, Prepare, check_preparation, naming, read_photo

_MANY = 200  # pictures from which on a bar tells how far it is
_TOLD = 5  # of the files that cannot be read, so many are named


class Pictures(NamedTuple):
    """Images, and what is wrong with those that there are none of."""

    images: np.ndarray  # (n, channels, height, width), uint8
    faults: dict[int, str]  # place among the paths -> what is wrong, the file named


def read_pictures(
    paths: Sequence[str],
    image_shape: tuple[int, int, int],
    prepare: Prepare,
    *,
    n_jobs: int | None,
    progress: bool,
    stop: bool,
) -> Pictures:
    """Read pictures as images of one shape.

    Parameters
    ----------
    paths : sequence of str
        The files.
    image_shape, prepare
        As for :func:`~fmnist_sklearn.load_image_folder`.
    n_jobs : int or None
        Threads, as joblib counts them.
    progress : bool
        Whether to show how far it is, where there are many, on a terminal.
    stop : bool
        Whether a file that cannot be read is an error at once.

    Raises
    ------
    ValueError
        For parameters out of range; with `stop`, for the first file that is no
        picture, or has no article to be cut out.
    """
    check_preparation(image_shape, prepare)
    images = np.empty((len(paths), *image_shape), dtype=np.uint8)
    faults: dict[int, str] = {}
    # Threads: decoding and resizing leave Python's lock. They hand images over as they
    # come, so that little more than the result is in memory.
    parallel = Parallel(n_jobs=n_jobs, require="sharedmem", return_as="generator")
    stopped = threading.Event()
    read = parallel(
        delayed(_read)(path, image_shape, prepare, stopped) for path in paths
    )
    if progress and len(paths) >= _MANY and sys.stderr and sys.stderr.isatty():
        read = progress_bar(read, len(paths))
    for i, image in enumerate(read):
        if isinstance(image, np.ndarray):
            images[i - len(faults)] = image
        elif image is not None:
            faults[i] = naming(paths[i], image)
            if stop:  # joblib warns of tasks whose results nobody takes
                stopped.set()
    if stop and faults:
        raise ValueError(next(iter(faults.values())))
    return Pictures(images[: len(paths) - len(faults)], faults)


def _read(
    path: str,
    image_shape: tuple[int, int, int],
    prepare: Prepare,
    stopped: threading.Event,
) -> np.ndarray | Exception | None:
    """Return an image, or what is wrong; nothing, and at once, after a stop."""
    if stopped.is_set():
        return None
    try:
        image = read_photo(path, image_shape, prepare)
    except (OSError, ValueError) as error:
        return error
    if prepare == "clothing" and not image.any():
        return ValueError(UNSEEN)
    return image


def in_short(faults: Sequence[str]) -> str:
    """Tell the first few faults, and how many more there are."""
    more = len(faults) - _TOLD
    return "; ".join(faults[:_TOLD]) + (f"; and {more:,} more" if more > 0 else "")


def as_paths(paths: object) -> list[str]:
    """Return paths in a list, an array or a column of a data frame as text.

    Raises
    ------
    TypeError
        For what is no collection of paths.
    """
    if isinstance(paths, str | bytes | os.PathLike):
        raise TypeError(
            f"expected several paths of pictures, got {paths!r}: put one path into a "
            "list; load_image_folder reads a folder"
        )
    return list(_each(paths))


def _each(paths: object) -> Iterator[str]:
    flat = np.asarray(paths, dtype=object)
    if flat.ndim == 2 and flat.shape[1] == 1:
        flat = flat[:, 0]
    if flat.ndim != 1:
        raise TypeError(
            f"expected paths of shape (n,) or (n, 1), got those of shape {flat.shape}"
        )
    for i, path in enumerate(flat):
        if not isinstance(path, str | os.PathLike):
            raise TypeError(
                f"expected paths of pictures, str or pathlib.Path, got a "
                f"{type(path).__name__} at place {i}"
            )
        yield os.fspath(path)
