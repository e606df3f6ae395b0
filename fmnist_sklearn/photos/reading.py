"""Pictures read as images of one shape: one (``load_photo``), or many by threads."""

from __future__ import annotations

import os
import sys
import threading
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple, TypeVar

import numpy as np
from joblib import Parallel, delayed
from PIL import Image

from .clothing import cut_out_clothing
from .opening import open_picture

T = TypeVar("T")

PREPARATIONS = ("clothing", "resize")

# How a picture becomes an image: by name, or a user-supplied function.
Prepare = str | Callable[[Image.Image], Any]

NO_CLOTHING = (
    "no item of clothing found: the picture is blank or the item blends into the "
    "background"
)

_SIDE = 1024  # pixels; larger pictures are reduced first, which also removes noise
_MANY = 200  # pictures from which on a progress bar is shown

# Files with these suffixes are taken from a folder.
_SUFFIXES = (
    *(".png", ".apng", ".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".gif", ".bmp"),
    *(".dib", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".pnm", ".jp2"),
    *(".j2k", ".jpx", ".avif", ".heic", ".heif"),
)


# One picture ------------------------------------------------------------------------


def load_photo(
    path: str | os.PathLike[str],
    image_shape: tuple[int, int, int] = (1, 28, 28),
    *,
    prepare: Prepare = "clothing",
) -> np.ndarray:
    """Read a picture of any size as an image such as a classifier was trained on.

    By default the picture shows one item of clothing, and the steps are those by which
    Fashion-MNIST was made: cut off the plain background, shrink the rest until its
    longest edge fills the image, centre it, and show it light on black. (The sharpening
    is left out.) The contrast is stretched too.

    Parameters
    ----------
    path : str or path-like
        A PNG, JPEG, GIF, BMP, WebP, TIFF, PPM, JPEG 2000 or AVIF file of any size,
        regardless of its suffix; turned upright by its EXIF tag. Of several pictures
        in a file the first is used.
    image_shape : tuple of int, default=(1, 28, 28)
        (channels, height, width) of the result: 1 channel for grey, 3 for RGB.
    prepare : {"clothing", "resize"} or callable, default="clothing"
        "clothing" does the above. "resize" brings the whole picture to `image_shape`,
        with its background, shades and colours; other proportions are stretched, and a
        picture of this very size keeps its pixels. A function takes a
        ``PIL.Image.Image``, grey or RGB depending on `image_shape`, upright, on white
        and with at most 4,096 pixels on its longer side; it returns such a picture, or
        an array of uint8, of the size of `image_shape`.

    Returns
    -------
    ndarray of shape (channels, height, width), uint8
        With "clothing" the item, lighter than its background, which is 0; all 0 if no
        item is found.

    Raises
    ------
    OSError
        If the file cannot be read, or is a device or a FIFO; ``FileNotFoundError`` if
        it does not exist.
    ValueError
        If it is not a picture, is of another format, is damaged, or would take more
        than 480 MB to decode (40 megapixels of most formats; a JPEG is decoded at a
        fraction of its size); or for another number of channels.

    Warns
    -----
    UserWarning
        With "clothing", if no item of clothing is found: the picture is blank or
        transparent, or shows only noise and shading.

    Notes
    -----
    With "resize", transparent pixels are white.

    With "clothing", the background is the most frequent shade along the border. A thin
    line all around the picture is cut off first: it is neither item nor background.

    If the item was cut out, so that at least 1 % of the picture is transparent, all
    opaque pixels belong to the item, regardless of their colour; it is compared with
    white, or with black if most of it is white. In other pictures, half-transparent
    pixels are blended with white, and fully transparent ones are background.

    The levels of grey files of 16 and 32 bits are scaled from the smallest range that
    holds them: -1 to 1, 0 to 1, or those of 8, 10, 12, 14 and 16 bits; otherwise from
    their own extremes. Levels that are not finite are transparent.

    References
    ----------
    Xiao, Rasul and Vollgraf, "Fashion-MNIST: a Novel Image Dataset for Benchmarking
    Machine Learning Algorithms", 2017, arXiv:1708.07747, section 2.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from PIL import Image
    >>> from fmnist_sklearn.photos import load_photo
    >>> picture = Image.new("RGB", (300, 200), "white")
    >>> picture.paste("navy", (100, 50, 150, 150))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     picture.save(Path(folder) / "trousers.png")
    ...     image = load_photo(Path(folder) / "trousers.png")
    >>> image.shape, image[0, 14, [0, 14]].tolist()
    ((1, 28, 28), [0, 255])
    """
    check_preparation(image_shape, prepare)
    image = read_photo(path, image_shape, prepare)
    if prepare == "clothing" and not image.any():
        warnings.warn(f"{path}: {NO_CLOTHING}", stacklevel=2)
    return image


def check_preparation(image_shape: tuple[int, int, int], prepare: Prepare) -> None:
    """Raise ValueError for a shape that no picture has, or an unknown preparation."""
    shape = tuple(image_shape) if hasattr(image_shape, "__len__") else ()
    if (
        len(shape) != 3
        or shape[0] not in (1, 3)
        or not all(isinstance(side, int | np.integer) and side > 0 for side in shape)
    ):
        raise ValueError(
            "image_shape must be (channels, height, width) with 1 channel for grey or "
            f"3 for RGB, such as (3, 32, 32), got {image_shape!r}"
        )
    if prepare not in PREPARATIONS and not callable(prepare):
        raise ValueError(
            f"prepare must be 'clothing', 'resize' or a function, got {prepare!r}"
        )


def read_photo(
    path: str | os.PathLike[str], image_shape: tuple[int, int, int], prepare: Prepare
) -> np.ndarray:
    """Read a picture as :func:`load_photo` does, without its checks and its warning."""
    channels, height, width = image_shape
    # A picture of twice the size, reduced again, looks as the whole one would.
    side = 2 * max(height, width) if prepare == "resize" else max(_SIDE, height, width)
    with open_picture(path, side, stretched=prepare == "resize") as picture:
        if prepare == "clothing":
            picture.thumbnail((_SIDE, _SIDE))
            return _to_image(cut_out_clothing(picture, image_shape), image_shape)
        on_white = Image.new("RGBA", picture.size, "white")
        on_white.alpha_composite(picture)
        on_white = on_white.convert("L" if channels == 1 else "RGB")
        if callable(prepare):
            return _to_image(prepare(on_white), image_shape)
        resized = on_white.resize((width, height), Image.Resampling.LANCZOS)
        return _to_image(resized, image_shape)


def _to_image(prepared: Any, image_shape: tuple[int, int, int]) -> np.ndarray:
    """Return a prepared picture, or an array, as (channels, height, width)."""
    channels, height, width = image_shape
    image = np.asarray(prepared)
    if image.ndim == 2 and channels == 1:
        image = image[..., None]  # (height, width, 1)
    if image.dtype == np.uint8:
        is_picture = isinstance(prepared, Image.Image)
        if image.shape == (channels, height, width) and not is_picture:
            return image.copy()
        if image.shape == (height, width, channels):
            return image.transpose(2, 0, 1).copy()
    raise ValueError(
        f"prepare returned {image.dtype} of shape {image.shape}; expected uint8 of "
        f"shape (channels, height, width) = {image_shape}, or a picture of that size"
    )


# Many pictures ----------------------------------------------------------------------

# ``being_read.path`` is the picture that the current thread reads. The warnings of
# Pillow do not name the file, and are issued in that thread.
being_read = threading.local()


class Pictures(NamedTuple):
    """Images in the order of their paths, and errors for the others."""

    images: np.ndarray  # (n_readable, channels, height, width), uint8
    errors: dict[int, str]  # index among the paths -> message that names the file


def read_pictures(
    paths: Sequence[str],
    image_shape: tuple[int, int, int],
    prepare: Prepare,
    *,
    n_jobs: int | None = -1,
    progress: bool = False,
    stop: bool = False,
) -> Pictures:
    """Read pictures as images of one shape, with several threads.

    Parameters
    ----------
    paths : sequence of str
        The files.
    image_shape, prepare
        As for :func:`~fmnist_sklearn.load_image_folder`.
    n_jobs : int or None, default=-1
        Number of threads, as in joblib.
    progress : bool, default=False
        Whether to show a progress bar for many pictures, if stderr is a terminal.
    stop : bool, default=False
        Whether to raise an error for the first picture that cannot be read.

    Raises
    ------
    ValueError
        For parameters out of range; with `stop`, for the first file that is not a
        picture, or shows no item of clothing to cut out.
    """
    check_preparation(image_shape, prepare)
    stopped = threading.Event()

    def read(path: str) -> np.ndarray | str | None:
        if stopped.is_set():
            return None
        being_read.path = path
        try:
            image = read_photo(path, image_shape, prepare)
        except (OSError, ValueError) as error:
            return describe_error(path, error)
        if prepare == "clothing" and not image.any():
            return f"{path}: {NO_CLOTHING}"
        return image

    # Threads, since decoding and resizing release the GIL. As a generator, since little
    # more than the result is then in memory.
    parallel = Parallel(n_jobs=n_jobs, require="sharedmem", return_as="generator")
    results = parallel(delayed(read)(path) for path in paths)
    if progress and len(paths) >= _MANY and sys.stderr and sys.stderr.isatty():
        results = progress_bar(results, len(paths))
    images = np.empty((len(paths), *image_shape), dtype=np.uint8)
    errors: dict[int, str] = {}
    for i, result in enumerate(results):
        if isinstance(result, np.ndarray):
            images[i - len(errors)] = result
        elif result is not None:
            errors[i] = result
            if stop:
                # The results still to come are taken all the same, and are None at
                # once: joblib warns of a generator that is not exhausted.
                stopped.set()
    if stop and errors:
        raise ValueError(next(iter(errors.values())))
    return Pictures(images[: len(paths) - len(errors)], errors)


def list_pictures(
    folder: str | os.PathLike[str], report: Callable[[str], object]
) -> Iterator[str]:
    """Yield the pictures in a folder and its sub-folders, recognised by suffix.

    Parameters
    ----------
    folder : str or path-like
        Where to look. Hidden files and folders are skipped.
    report : callable
        Called with a message for each folder that cannot be listed, and if there is
        no picture.

    Yields
    ------
    path : str
        In the order of names, those of sub-folders after those of their folder.
    """
    found = False
    unlisted: list[OSError] = []
    for where, subfolders, names in os.walk(folder, onerror=unlisted.append):
        subfolders[:] = sorted(n for n in subfolders if not n.startswith("."))
        for name in sorted(names):
            if name.lower().endswith(_SUFFIXES) and not name.startswith("."):
                found = True
                yield os.path.join(where, name)
    for error in unlisted:
        report(describe_error(str(error.filename), error))
    if not (found or unlisted):
        report(f"{os.fspath(folder)}: this folder contains no pictures")


def describe_error(path: str, error: BaseException | str) -> str:
    """Return a message that names the file, unlike those of Pillow and NumPy."""
    text = str(error)
    if isinstance(error, OSError) and error.strerror:
        text = error.strerror
    return text if text.startswith(path) else f"{path}: {text}"


def as_paths(paths: object) -> list[str]:
    """Return paths in a list, an array or a column of a data frame as text.

    Raises
    ------
    TypeError
        If `paths` is not a collection of paths.
    """
    if isinstance(paths, str | bytes | os.PathLike):
        raise TypeError(
            f"expected several paths of pictures, got {paths!r}: put one path into a "
            "list; load_image_folder reads a folder"
        )
    flat = np.asarray(paths, dtype=object)
    if flat.ndim == 2 and flat.shape[1] == 1:
        flat = flat[:, 0]
    if flat.ndim != 1:
        raise TypeError(
            f"expected paths of shape (n,) or (n, 1), got an array of shape "
            f"{flat.shape}"
        )
    for i, path in enumerate(flat):
        if not isinstance(path, str | os.PathLike):
            raise TypeError(
                f"expected paths of pictures, str or pathlib.Path, got "
                f"{type(path).__name__} at index {i}"
            )
    return list(map(os.fspath, flat))


def progress_bar(items: Iterable[T], total: int | None) -> Iterator[T]:
    """Show a progress bar on stderr while items are iterated over.

    Parameters
    ----------
    items : iterable
        The items.
    total : int or None
        Their number, if known.

    Yields
    ------
    item : object
        Each of the items.
    """
    from rich.console import Console
    from rich.progress import MofNCompleteColumn, Progress

    columns = (*Progress.get_default_columns(), MofNCompleteColumn())
    # Results that are printed meanwhile go to stdout, and not above the bar.
    with Progress(
        *columns, console=Console(stderr=True), transient=True, redirect_stdout=False
    ) as bar:
        yield from bar.track(items, total=total, description="")
