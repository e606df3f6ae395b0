"""Pictures in a folder with a sub-folder for each class, or as paths and labels."""

from __future__ import annotations

import itertools
import os
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.utils import Bunch

from .reading import Prepare, as_paths, list_pictures, read_pictures

_MOST_SHOWN = 5  # error messages shown; further ones are counted

# Sub-folders that divide the data, and are not classes.
_PARTS = {"train", "training", "test", "testing", "val", "valid", "validation"}


def load_image_folder(
    path: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    labels: Any = None,
    *,
    image_shape: tuple[int, int, int] = (3, 32, 32),
    prepare: Prepare = "resize",
    class_names: Sequence[str] | None = None,
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
        takes all in the order of their names. Give a test folder the ``target_names``
        of the training folder.
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
        If the folder has no sub-folders with pictures in them, no picture can be read,
        a parameter is out of range, or, with ``on_error="raise"``, a file is not a
        picture.
    OSError
        If the folder does not exist or cannot be listed.

    See Also
    --------
    ImageReader : The same for paths, as a step of a Pipeline.

    Notes
    -----
    Formats are those of Pillow that hold pixels: PNG, JPEG, GIF, BMP, WebP, TIFF, PPM,
    JPEG 2000 and AVIF. In folders, files are recognised by suffix, those of sub-folders
    too; hidden ones are skipped. Beyond the arrays that are returned, reading takes
    little memory, regardless of the number and size of the pictures: large JPEG files
    are decoded at a fraction of their size, and threads wait for each other if their
    pictures together would take over 400 MB.

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
        source = f"the folder {os.fspath(path)}"
        files, target, names = _list_classes(os.fspath(path), class_names, left_out)
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
        warnings.warn(
            f"left out {len(errors):,} of the {len(files):,} pictures of {source}: "
            f"{_summarize(left_out)}",
            stacklevel=2,
        )
    is_read = np.ones(len(files), dtype=bool)
    is_read[list(errors)] = False
    how = prepare if isinstance(prepare, str) else getattr(prepare, "__name__", prepare)
    return Bunch(
        images=images,
        data=images.reshape(len(images), -1),
        target=target[is_read],
        target_names=names,
        filenames=np.array(files)[is_read],
        left_out=left_out,
        DESCR=(
            f"{len(images):,} pictures in {len(names)} classes, from {source}, as "
            f"images of shape (channels, height, width) = {tuple(image_shape)}, "
            f"prepared by {how!r}."
        ),
    )


def _list_classes(
    folder: str, class_names: Sequence[str] | None, left_out: list[str]
) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Return the pictures of a folder's sub-folders, their classes, and the names."""
    with os.scandir(folder) as entries:
        found = sorted(
            entry.name
            for entry in entries
            if entry.is_dir() and not entry.name.startswith(".")
        )
    if found and _PARTS.issuperset(name.lower() for name in found):
        parts = " and ".join(os.path.join(folder, name) for name in found)
        raise ValueError(
            f"the sub-folders of {folder} are parts, not classes: load {parts} "
            "separately (in the command as --data and --test)"
        )
    names = found if class_names is None else list(map(str, class_names))
    if missing := sorted(set(names) - set(found)):
        raise ValueError(
            f"{folder} has no sub-folder for {', '.join(missing)} of class_names"
        )
    pictures = [
        list(list_pictures(os.path.join(folder, name), left_out.append))
        for name in names
    ]
    files = list(itertools.chain.from_iterable(pictures))
    if not files:
        raise ValueError(
            f"{folder} has no pictures in sub-folders; expected a sub-folder for each "
            f"class, such as {os.path.join(folder, 'shoe', '1.jpg')}; or pass a list "
            "of pictures and labels"
        )
    target = np.repeat(np.arange(len(names)), list(map(len, pictures)))
    return files, target, np.array(names)


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
