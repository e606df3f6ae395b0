"""Many pictures as images of one shape: a folder of classes, or a list of paths."""

from __future__ import annotations

import math
import os
import sys
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from joblib import effective_n_jobs
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.utils import Bunch

from .._sklearn import warn_user
from ..storage import bounded, describe_error
from .picture import NO_CLOTHING, Prepare, check_preparation, read_photo

_MANY = 200  # pictures from which on a progress bar is shown
_MOST_SHOWN = 5  # error messages shown; further ones are counted

# Sub-folders that divide the data, and are not classes.
_PARTS = {"train", "training", "test", "testing", "val", "valid", "validation"}

# What macOS, network drives and Windows add to folders, in lower case.
_SYSTEM_FOLDERS = {"__macosx", "@eadir", "#recycle", "$recycle.bin", "lost+found"}

# Files with these suffixes are taken from a folder.
_SUFFIXES = (
    *(".png", ".apng", ".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".gif", ".bmp"),
    *(".dib", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".pnm", ".jp2"),
    *(".j2k", ".jpx", ".avif", ".heic", ".heif"),
)


def load_image_folder(
    path: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    labels: Any = None,
    *,
    image_shape: tuple[int, int, int] = (3, 32, 32),
    prepare: Prepare = "resize",
    class_names: Sequence[str] | None = None,
    allow_empty: bool = False,
    on_error: str = "warn",
    n_jobs: int | None = -1,
    progress: bool = True,
) -> Bunch:
    """Load pictures of any size and format as images of one shape.

    Parameters
    ----------
    path : str, path-like or sequence of them
        A folder with a sub-folder for each class, as torchvision and fastai expect it:
        ``photos/shoe/1.jpg``. Or the pictures themselves, with `labels`.
    labels : array-like of shape (n,), default=None
        The label of each picture, where `path` is a sequence of pictures.
    image_shape : tuple of int, default=(3, 32, 32)
        (channels, height, width) of the images: 1 channel for grey, 3 for RGB.
    prepare : {"resize", "clothing"} or callable, default="resize"
        How a picture becomes an image. "resize": the whole picture, stretched to the
        new proportions. "clothing": one item cut out of a plain background, light on
        black, like the images of Fashion-MNIST. A function takes a
        ``PIL.Image.Image`` (grey or RGB, upright, on white, its longer side 4,096
        pixels at most) and returns such a picture, or an array of uint8, of the size
        of `image_shape`.
    class_names : sequence of str, default=None
        The sub-folders to take, in the order of their indices in ``target``; None
        takes all that contain pictures, in the order of their names. Give a test folder
        the ``target_names`` of the training folder.
    allow_empty : bool, default=False
        Whether a class may have no pictures. True accepts a test folder that lacks some
        of `class_names`, and reports sub-folders that are not among them; without
        `class_names`, folders without pictures are classes too.
    on_error : {"warn", "ignore", "raise"}, default="warn"
        What to do about files that cannot be read as pictures, and with "clothing"
        about pictures in which no item of clothing is found: leave them out with one
        warning for all of them, leave them out silently, or raise an error for the
        first.
    n_jobs : int, default=-1
        Number of reading threads, as in joblib; -1 is one for each core.
    progress : bool, default=True
        Whether to show a progress bar on stderr for 200 pictures and more, if that is
        a terminal.

    Returns
    -------
    dataset : :class:`~sklearn.utils.Bunch`
        ``images`` : ndarray of shape (n, channels, height, width), uint8
            What ``fit`` of the classifiers takes.
        ``data`` : ndarray of shape (n, channels * height * width)
            The same pixels as rows.
        ``target`` : ndarray of shape (n,)
            Indices of the classes.
        ``target_names`` : ndarray of shape (n_classes,)
            Names of the classes, or the labels: ``target_names[target]`` is the label
            of each picture.
        ``filenames`` : ndarray of shape (n,)
            The files.
        ``left_out`` : list of str
            A message for each file that was left out, and why.
        ``DESCR`` : str
            What was loaded, and how.

    Raises
    ------
    ValueError
        If the folder has no sub-folders with pictures in them, or none for one of
        `class_names`; if labels are missing, no picture can be read, a parameter is out
        of range, or, with ``on_error="raise"``, a file is not a picture.
    OSError
        If the folder does not exist or cannot be listed.

    See Also
    --------
    ImageReader : The same for paths, as a step of a Pipeline.

    Notes
    -----
    Formats are those of Pillow that hold pixels: PNG, JPEG, GIF, BMP, WebP, TIFF, PPM,
    JPEG 2000 and AVIF. In folders, files are recognised by suffix, those of sub-folders
    and of linked folders too, each folder once; skipped are hidden files and folders,
    and those that systems add, such as ``__MACOSX``. Names of classes are in Unicode's
    form NFC: folders whose names differ only in composed and decomposed accents are one
    class. Beyond the arrays that are returned, reading takes little memory, regardless
    of the number and size of the pictures: large JPEG files are decoded at a fraction
    of their size, and threads wait for each other if their pictures together would take
    over 400 MB.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from PIL import Image
    >>> from fmnist_sklearn import load_image_folder
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     for colour in ("green", "red"):
    ...         Path(folder, colour).mkdir()
    ...         for width in (40, 90):
    ...             picture = Image.new("RGB", (width, 60), colour)
    ...             picture.save(Path(folder, colour, f"{width}.png"))
    ...     photos = load_image_folder(folder)
    >>> photos.images.shape
    (4, 3, 32, 32)
    >>> photos.target_names[photos.target].tolist()
    ['green', 'green', 'red', 'red']
    """
    if on_error not in ("warn", "ignore", "raise"):
        raise ValueError(
            f"on_error must be 'warn', 'ignore' or 'raise', got {on_error!r}"
        )
    left_out: list[str] = []
    if isinstance(path, str | os.PathLike):
        if labels is not None:
            raise ValueError(
                f"labels belong to a sequence of pictures, got one path, {path!r}; in "
                "a folder the sub-folders are the classes"
            )
        folder = os.fspath(path)
        source = f"the folder {folder}"
        files, target, names = _list_classes(folder, class_names, allow_empty, left_out)
    else:
        source = "a list of files"
        files, target, names = _pair(as_paths(path), labels, class_names)
    if left_out and on_error == "raise":
        raise ValueError(_summarize(left_out))
    images, errors = read_pictures(
        files,
        image_shape,
        prepare,
        n_jobs=n_jobs,
        progress=progress,
        stop=on_error == "raise",
    )
    left_out += errors.values()
    if not len(images):
        raise ValueError(f"no picture of {source} can be read: {_summarize(left_out)}")
    if left_out and on_error == "warn":
        warn_user(
            f"left out {len(errors):,} of the {len(files):,} pictures of {source}: "
            f"{_summarize(left_out)}"
        )
    return Bunch(
        images=images,
        data=images.reshape(len(images), -1),
        target=np.delete(target, list(errors)),
        target_names=names,
        filenames=np.delete(files, list(errors)),
        left_out=left_out,
        DESCR=(
            f"{len(images):,} pictures in {len(names)} classes, from {source}, as "
            f"images of shape (channels, height, width) = {tuple(image_shape)}, "
            f"prepared by {getattr(prepare, '__name__', prepare)!r}."
        ),
    )


def _list_classes(
    folder: str, class_names: Any, allow_empty: bool, left_out: list[str]
) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Return the pictures of a folder's sub-folders, their classes, and the names."""
    # macOS decomposes accents in names, other systems do not.
    normalize = partial(unicodedata.normalize, "NFC")
    wanted = [] if class_names is None else [normalize(str(n)) for n in class_names]
    root = Path(os.path.realpath(folder))
    pictures: defaultdict[str, list[str]] = defaultdict(list)
    for entry in sorted(filter(_is_visible, os.listdir(folder))):
        path, name = os.path.join(folder, entry), normalize(entry)
        # A link to a folder above would make one class of all.
        if os.path.isfile(path) or root.is_relative_to(os.path.realpath(path)):
            continue
        if class_names is None or name in wanted:
            pictures[name] += list_pictures(path, left_out.append, allow_empty)
        elif allow_empty:
            left_out.append(f"{path}: this folder is not in class_names")
    filled = {name for name, paths in pictures.items() if paths}
    if class_names is None:
        if filled and _PARTS.issuperset(map(str.lower, filled)):
            parts = " and ".join(os.path.join(folder, name) for name in sorted(filled))
            raise ValueError(
                f"the sub-folders of {folder} are parts, not classes: load {parts} "
                "separately (in the command as --data and --test)"
            )
        wanted = sorted(pictures if allow_empty else filled)
    elif not allow_empty and (missing := sorted(set(wanted) - filled)):
        raise ValueError(
            f"{folder} has no sub-folder with pictures for {', '.join(missing)} of "
            "class_names; allow_empty=True accepts classes without pictures"
        )
    files = [path for name in wanted for path in pictures[name]]
    if not files:
        raise ValueError(
            f"{folder} has no pictures in sub-folders; expected a sub-folder for each "
            f"class, such as {os.path.join(folder, 'shoe', '1.jpg')}; or pass a list "
            "of pictures and labels"
        )
    counts = [len(pictures[name]) for name in wanted]
    target = np.repeat(np.arange(len(wanted)), counts)
    return files, target, np.array(wanted)


def _pair(
    files: list[str], labels: Any, class_names: Sequence[str] | None
) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Return files, the indices of their labels, and the distinct labels."""
    if labels is None or np.shape(labels) != (len(files),):
        got = "none" if labels is None else f"an array of shape {np.shape(labels)}"
        raise ValueError(
            f"{len(files):,} pictures need labels of shape ({len(files)},), got {got}"
        )
    if not files:
        raise ValueError("path is an empty list; expected pictures")
    import pandas as pd  # recognises None, NaN, NaT, NA and masked labels

    if len(missing := np.flatnonzero(pd.isna(pd.Series(labels)))):
        raise ValueError(
            f"{len(missing):,} of the {len(files):,} labels are missing (None or NaN); "
            f"rows, counted from 0: {_summarize(list(map(str, missing)))}"
        )
    names = np.unique(labels) if class_names is None else np.asarray(class_names)
    indices = {name: index for index, name in enumerate(names.tolist())}
    given = np.asarray(labels).tolist()
    if unknown := sorted(map(str, set(given) - set(indices))):
        raise ValueError(f"class_names lacks the labels {', '.join(unknown)}")
    return files, np.array([indices[label] for label in given]), names


def _summarize(messages: Sequence[str]) -> str:
    """Join the first few messages, and count the others."""
    n_more = len(messages) - _MOST_SHOWN
    more = f"; and {n_more:,} more" if n_more > 0 else ""
    return "; ".join(messages[:_MOST_SHOWN]) + more


class ImageReader(TransformerMixin, BaseEstimator):
    """Read pictures of any size and format by their paths, as a step of a Pipeline.

    The preparation of the pictures is part of the model: a pipeline that was fitted on
    paths predicts from paths.

    Parameters
    ----------
    image_shape : tuple of int, default=(3, 32, 32)
        (channels, height, width) of the images: 1 channel for grey, 3 for RGB.
    prepare : {"resize", "clothing"} or callable, default="resize"
        How a picture becomes an image, as for :func:`load_image_folder`. Only a
        function that can be imported can be pickled with its pipeline.
    layout : {"images", "rows"}, default="images"
        "images" gives (n, channels, height, width), for the classifiers of this
        package; "rows" gives (n, channels * height * width), for those of scikit-learn
        and for data frames, which ``set_output`` selects.
    n_jobs : int, default=-1
        Number of reading threads, as in joblib; -1 is one for each core.
    progress : bool, default=False
        Whether to show a progress bar on stderr for 200 pictures and more, if that is
        a terminal.

    See Also
    --------
    load_image_folder : A folder with a sub-folder for each class, all at once.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from PIL import Image
    >>> from sklearn.pipeline import make_pipeline
    >>> from fmnist_sklearn import ImageReader, LeNet5Classifier
    >>> pipeline = make_pipeline(
    ...     ImageReader(image_shape=(3, 16, 16)),
    ...     LeNet5Classifier(max_epochs=1, patience=None),
    ... )
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     paths = [str(Path(folder, f"{i}.png")) for i in range(20)]
    ...     for i, path in enumerate(paths):
    ...         Image.new("RGB", (40, 30), "red" if i % 2 else "blue").save(path)
    ...     pipeline.fit(paths, ["blue", "red"] * 10).predict(paths).shape
    (20,)
    """

    def __init__(
        self,
        image_shape: tuple[int, int, int] = (3, 32, 32),
        *,
        prepare: Prepare = "resize",
        layout: str = "images",
        n_jobs: int | None = -1,
        progress: bool = False,
    ) -> None:
        self.image_shape = image_shape
        self.prepare = prepare
        self.layout = layout
        self.n_jobs = n_jobs
        self.progress = progress

    def fit(self, X: Any, y: Any = None) -> ImageReader:
        """Check the parameters; there is nothing to learn.

        Parameters
        ----------
        X : array-like of shape (n,) or (n, 1)
            Paths.
        y : None
            Ignored.

        Returns
        -------
        self
            The transformer.

        Raises
        ------
        ValueError
            For parameters out of range.
        TypeError
            If `X` does not hold paths.
        """
        check_preparation(self.image_shape, self.prepare)
        if self.layout not in ("images", "rows"):
            raise ValueError(f"layout must be 'images' or 'rows', got {self.layout!r}")
        as_paths(X)
        return self

    def transform(self, X: Any) -> np.ndarray:
        """Read pictures.

        Parameters
        ----------
        X : array-like of shape (n,) or (n, 1)
            Paths, in a list, an array or a column of a data frame.

        Returns
        -------
        ndarray of shape (n, channels, height, width) or (n, n_pixels), uint8
            The images, in the order of the paths.

        Raises
        ------
        ValueError
            For the first file that is not a picture, or shows no item of clothing to
            cut out: a step of a Pipeline cannot leave rows out, as
            :func:`load_image_folder` can. If ``set_output`` selects a data frame, which
            has two dimensions, with ``layout="images"``.
        TypeError
            If `X` does not hold paths.
        """
        self.fit(X)  # checks the parameters
        images, _ = read_pictures(
            as_paths(X),
            self.image_shape,
            self.prepare,
            n_jobs=self.n_jobs,
            progress=self.progress,
            stop=True,
        )
        return images if self.layout == "images" else images.reshape(len(images), -1)

    def fit_transform(self, X: Any, y: Any = None) -> np.ndarray:
        """Read pictures, as an array that a cache does not return out of date.

        A Pipeline with ``memory`` calls this method and stores its result under the
        paths. Unpickled, the array is read again if a file has another size, time of
        modification or place on its disk than it had. A data frame, which
        ``set_output`` selects, is not: clear the cache after pictures have changed.

        Parameters
        ----------
        X : array-like of shape (n,) or (n, 1)
            Paths.
        y : None
            Ignored.

        Returns
        -------
        ndarray of shape (n, channels, height, width) or (n, n_pixels), uint8
            As from :meth:`transform`.
        """
        paths = as_paths(X)
        states = _file_states(paths)  # before they are read: a change meanwhile counts
        images: Any = self.transform(X)
        if isinstance(images, np.ndarray):
            images = images.view(_ReadImages)
            images.source = states, clone(self), paths
        return images

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:
        """Name the pixels, in the order of rows.

        Parameters
        ----------
        input_features : None
            Ignored.

        Returns
        -------
        ndarray of shape (n_pixels,)
            "pixel1", "pixel2" and so on, as OpenML names them.
        """
        n_pixels = math.prod(self.image_shape)
        return np.array([f"pixel{i}" for i in range(1, n_pixels + 1)], dtype=object)

    def __sklearn_is_fitted__(self) -> bool:
        """Return True: there is nothing to learn."""
        return True


class _ReadImages(np.ndarray):
    """The images that ``ImageReader.fit_transform`` returns."""

    source: tuple | None = None  # of all images; None for a part of them

    def __reduce__(self) -> Any:
        if self.source is None:
            return super().__reduce__()
        return _read_if_changed, (np.asarray(self), *self.source)


def _read_if_changed(
    images: np.ndarray, states: list, reader: ImageReader, paths: list[str]
) -> np.ndarray:
    """Return images as they were read, or read them again if a file has changed."""
    return images if states == _file_states(paths) else reader.fit_transform(paths)


def _file_states(paths: list[str]) -> list[tuple[int, int, int]]:
    """Return what differs if files are replaced, for those that exist."""
    stats = [os.stat(path) for path in paths if os.path.exists(path)]
    return [(stat.st_size, stat.st_mtime_ns, stat.st_ino) for stat in stats]


# Reading ---------------------------------------------------------------------------


def read_pictures(
    paths: Sequence[str],
    image_shape: tuple[int, int, int],
    prepare: Prepare,
    *,
    n_jobs: int | None = -1,
    progress: bool = False,
    stop: bool = False,
) -> tuple[np.ndarray, dict[int, str]]:
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

    Returns
    -------
    images : ndarray of shape (n_readable, channels, height, width), uint8
        In the order of their paths.
    errors : dict of int to str
        For each of the others its index among the paths, and a message that names the
        file.

    Raises
    ------
    ValueError
        For parameters out of range; with `stop`, for the first file that is not a
        picture, or shows no item of clothing to cut out.
    """
    check_preparation(image_shape, prepare)

    def read(path: str) -> np.ndarray | str:
        try:
            image = read_photo(path, image_shape, prepare)
        except (OSError, ValueError) as error:
            return describe_error(path, error)
        if prepare == "clothing" and not image.any():
            return f"{path}: {NO_CLOTHING}"
        return image

    images = np.empty((len(paths), *image_shape), dtype=np.uint8)
    errors: dict[int, str] = {}
    # Threads, since decoding and resizing release the GIL.
    threads = ThreadPoolExecutor(effective_n_jobs(n_jobs))
    try:
        results: Iterable[np.ndarray | str] = threads.map(read, paths)
        if progress and len(paths) >= _MANY and sys.stderr and sys.stderr.isatty():
            results = progress_bar(results, len(paths))
        for i, result in enumerate(results):
            if isinstance(result, np.ndarray):
                images[i - len(errors)] = result
            elif stop:
                raise ValueError(result)
            else:
                errors[i] = result
    finally:
        threads.shutdown(cancel_futures=True)  # after an error, or Ctrl-C
    return images[: len(paths) - len(errors)], errors


def list_pictures(
    folder: str | os.PathLike[str],
    report: Callable[[str], object],
    allow_empty: bool = False,
) -> Iterator[str]:
    """Yield the pictures in a folder and its sub-folders, recognised by suffix.

    Parameters
    ----------
    folder : str or path-like
        Where to look. Hidden files and folders and those of systems are skipped; links
        to folders are followed, except to those that contain `folder`, and each folder
        is read once.
    report : callable
        Called with a message for each folder that cannot be listed and each link that
        leads nowhere, and if there is no picture.
    allow_empty : bool, default=False
        Whether no picture is nothing to report.

    Yields
    ------
    path : str
        In the order of names, those of sub-folders after those of their folder.
    """
    found = False
    problems: list[OSError] = []
    seen = set(map(str, Path(os.path.realpath(folder)).parents))
    walk = os.walk(folder, onerror=problems.append, followlinks=True)
    for where, subfolders, names in walk:
        subfolders[:] = sorted(filter(_is_visible, subfolders))
        if (real := os.path.realpath(where)) in seen:
            subfolders.clear()
            continue
        seen.add(real)
        for name in sorted(filter(_is_visible, names)):
            path = os.path.join(where, name)
            if name.lower().endswith(_SUFFIXES):
                found = True
                yield path
            elif not os.path.exists(path):
                problems.append(FileNotFoundError(0, "this link leads nowhere", path))
    for error in problems:
        report(describe_error(str(error.filename), error))
    if not (found or problems or allow_empty):
        report(f"{os.fspath(folder)}: this folder contains no pictures")


def _is_visible(name: str) -> bool:
    return not name.startswith(".") and name.lower() not in _SYSTEM_FOLDERS


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
    if flat.ndim != 1 or not all(isinstance(path, str | os.PathLike) for path in flat):
        raise TypeError(
            "expected paths of pictures, str or pathlib.Path, of shape (n,) or (n, 1), "
            f"got an array of shape {flat.shape}: {bounded(flat[:3])}"
        )
    return list(map(os.fspath, flat))


def progress_bar(items: Iterable[Any], total: int | None) -> Iterator[Any]:
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
