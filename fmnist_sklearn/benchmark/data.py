"""The images to train and test on: Fashion-MNIST, its sample, or the user's own."""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal
from zipfile import BadZipFile

import numpy as np
from sklearn.model_selection import train_test_split
from sklearn.utils import check_consistent_length
from sklearn.utils.validation import column_or_1d

from .._sklearn import warn_user
from ..datasets import CLASS_NAMES, fetch_fashion_mnist, load_fashion_mnist_sample

Preparation = Literal["clothing", "resize"]

# X_train, y_train, X_test and y_test
Arrays = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]

# What X, y, X_test and y_test may be called in .npz files, in lower case: as here, in
# scikit-learn, Keras and MedMNIST, and by NumPy where they have no name.
_ARRAY_NAMES = (
    ("x", "images", "data", "x_train", "train_images", "arr_0"),
    ("y", "labels", "target", "y_train", "train_labels", "arr_1"),
    ("x_test", "test_images"),
    ("y_test", "test_labels"),
)

_TEST_FRACTION = 0.2  # of user-supplied images that come without test images


@dataclass(frozen=True)
class Images:
    """Training and test images with their labels, and where they came from."""

    name: str  # "full" or "sample" of Fashion-MNIST, or that of a folder
    source: str
    X_train: np.ndarray
    y_train: np.ndarray
    X_test: np.ndarray
    y_test: np.ndarray
    # By which a picture becomes such an image; None: not known.
    preparation: Preparation | None = "clothing"

    @property
    def n_train(self) -> int:
        """Number of training images."""
        return len(self.y_train)

    @property
    def n_test(self) -> int:
        """Number of test images."""
        return len(self.y_test)


def load_data(
    data: str | Images, data_home: str | os.PathLike[str] | None = None
) -> Images:
    """Load the full data or the sample.

    Parameters
    ----------
    data, data_home
        As for :func:`run_benchmark`.

    Returns
    -------
    images : Images
        `data` itself if it is already loaded; otherwise pixels are uint8, of shape
        (n, 784).
    """
    if isinstance(data, Images):
        return data

    def load(name: str, fetch: Callable[..., Any], **options: Any) -> Images:
        train, test = (fetch(subset=subset, **options) for subset in ("train", "test"))
        arrays = train.data, train.target, test.data, test.target
        return Images(name, train.source, *arrays)

    if data != "sample":
        # With "auto" there is the sample to fall back to, and no need to retry.
        retries = {"n_retries": 0} if data == "auto" else {}
        try:
            return load("full", fetch_fashion_mnist, data_home=data_home, **retries)
        except OSError as error:
            if data == "full":
                raise
            warn_user(
                "The full Fashion-MNIST is not available, so the bundled sample of "
                f"6,000 training and 1,000 test images is used. {error}"
            )
    return load("sample", load_fashion_mnist_sample)


def load_pictures(
    folder: str | os.PathLike[str],
    *,
    test: str | os.PathLike[str] | None = None,
    image_shape: tuple[int, int, int] = (3, 32, 32),
    prepare: Preparation = "resize",
    seed: int = 0,
) -> Images:
    """Load the pictures of a folder, in random order, and a part of them to test on.

    Parameters
    ----------
    folder : str or path-like
        With a sub-folder for each class, see
        :func:`~fmnist_sklearn.load_image_folder`.
    test : str or path-like, default=None
        A folder like it to test on; None keeps a fifth of the pictures of each class.
    image_shape, prepare
        As for :func:`~fmnist_sklearn.load_image_folder`.
    seed : int, default=0
        Seed of order and split.

    Returns
    -------
    images : Images
        Pixels are uint8, of shape (n, channels, height, width); targets are names.

    Raises
    ------
    ValueError
        If a class has too few pictures to be split, or `test` has classes that are
        not in `folder`.
    """
    from ..photos import load_image_folder  # loaded for pictures only

    settings: dict = {"image_shape": image_shape, "prepare": prepare}
    train = load_image_folder(folder, **settings)
    X, y = train.images, train.target_names[train.target]
    source = os.fspath(folder)
    if test is None:
        arrays = _keep_for_test(X, y, seed, source)
    else:
        tested = load_image_folder(test, **settings)
        if unknown := sorted(set(tested.target_names) - set(train.target_names)):
            raise ValueError(
                f"{os.fspath(test)} has the classes {', '.join(unknown)}, which are "
                f"not in {source}"
            )
        # In the order of the classes, the first rows would be of one class only.
        order = np.random.default_rng(seed).permutation(len(y))
        y_test = tested.target_names[tested.target]
        arrays = X[order], y[order], tested.images, y_test
    # A folder may be called "sample"; with the slash it is not taken for ours.
    name = os.path.basename(os.path.abspath(folder)) + "/"
    return Images(name, source, *arrays, preparation=prepare)


def load_arrays(
    path: str | os.PathLike[str],
    *,
    labels: str | os.PathLike[str] | None = None,
    image_shape: tuple[int, int, int] | None = None,
    seed: int = 0,
) -> Images:
    """Load images that NumPy saved as arrays, and a part of them to test on.

    Parameters
    ----------
    path : str or path-like
        An ``.npz`` file with the arrays ``X`` and ``y``, and possibly ``X_test`` and
        ``y_test``; the names that scikit-learn, Keras and MedMNIST have for them are
        known too. Or an ``.npy`` file of images. Nothing is unpickled.
    labels : str or path-like, default=None
        An ``.npy`` file of labels, for an ``.npy`` file of images.
    image_shape : tuple of int, default=None
        (channels, height, width) of the images. None: as the arrays have it.
    seed : int, default=0
        Seed of the split, where there is no ``X_test``.

    Returns
    -------
    images : Images
        With pixels and labels as they are stored.

    Raises
    ------
    ValueError
        If a file does not hold such arrays; as for :func:`run_benchmark`.
    """
    try:
        found = np.load(path, allow_pickle=False)
        if isinstance(found, np.ndarray):
            found = {"X": found}
        stored = {name.lower(): found[name] for name in found}
        if labels is not None:
            stored["y"] = np.load(labels, allow_pickle=False)
    except (ValueError, EOFError, BadZipFile, zlib.error, MemoryError) as error:
        raise ValueError(
            f"{path} cannot be read as arrays of numbers and texts: {error} Labels "
            "that are objects are saved by np.savez(path, X=X, y=y.astype(str))."
        ) from None
    X, y, X_test, y_test = (
        next((stored[name] for name in names if name in stored), None)
        for names in _ARRAY_NAMES
    )
    if X is None or y is None:
        raise ValueError(
            f"{path} holds {', '.join(found)}; expected images X and labels y in one "
            ".npz file, or an .npy file of images and with --labels one of labels"
        )
    if image_shape is not None:
        X = X.reshape(-1, *image_shape)
        X_test = None if X_test is None else X_test.reshape(-1, *image_shape)
    images = take_images(X, y, X_test, y_test, seed=seed)
    name, source = os.path.basename(path), os.fspath(path)
    return replace(images, name=name, source=source, preparation=None)


def take_images(
    X: Any = None,
    y: Any = None,
    X_test: Any = None,
    y_test: Any = None,
    *,
    data: Any = "auto",
    data_home: str | os.PathLike[str] | None = None,
    seed: int,
) -> Images:
    """Take images that users supply as arrays, or else load those that `data` names.

    Parameters
    ----------
    X, y, X_test, y_test, data, data_home, seed
        As for :func:`run_benchmark`. Without test images, some of `X` are kept for it.

    Returns
    -------
    images : Images
        The arrays as they are.

    Raises
    ------
    ValueError
        If an array is missing, `data` names other images, lengths differ, or a class
        is too small to be split.
    """
    given = {"X": X, "y": y, "X_test": X_test, "y_test": y_test}
    names = [name for name, value in given.items() if value is not None]
    if not names:
        return load_data(data, data_home)
    if names not in (["X", "y"], list(given)):
        raise ValueError(
            "images of your own come as X and y, or as X, y, X_test and y_test; got "
            f"{', '.join(names)} only."
        )
    if data != "auto":
        raise ValueError(f"X and data exclude each other; got X and data={data!r}.")
    check_consistent_length(X, y)
    X, y = np.asarray(X), column_or_1d(y)
    if X_test is None:
        arrays = _keep_for_test(X, y, seed, "X")
    else:
        check_consistent_length(X_test, y_test)
        arrays = X, y, np.asarray(X_test), column_or_1d(y_test)
        if X[:1].size != arrays[2][:1].size:
            shapes = f"got shapes {X.shape} and {arrays[2].shape}"
            raise ValueError(f"X_test must have images of the size of X; {shapes}.")
    return Images("your own images", "X and y", *arrays, preparation=None)


def take_set(
    name: str, data: Any, seed: int, data_home: str | os.PathLike[str] | None
) -> Images:
    """Return the images of one of several data sets, with its name.

    Parameters
    ----------
    name : str
        Its key in `data` of :func:`run_benchmark`; also the name of a folder.
    data, seed, data_home
        As for :func:`run_benchmark`; `data` may also be (X, y) or
        (X, y, X_test, y_test).

    Raises
    ------
    ValueError
        If `data` is nothing of these, or the name cannot be that of a folder.
    """
    if name in ("", "..") or Path(str(name)).name != name:
        raise ValueError(
            f"data must have names that can be names of folders; got {name!r}."
        )
    if isinstance(data, Images) or data in ("auto", "full", "sample"):
        return load_data(data, data_home)
    if not isinstance(data, tuple) or len(data) not in (2, 4) or data[0] is None:
        raise ValueError(
            f"data[{name!r}] must be (X, y), (X, y, X_test, y_test), Images, 'auto', "
            f"'full' or 'sample'; got {data!r}."
        )
    images = take_images(*data, seed=seed)
    return replace(images, name=f"{name}, your own images")


def _keep_for_test(X: np.ndarray, y: np.ndarray, seed: int, name: str) -> Arrays:
    """Split images, a fifth of each class to test on, in random order.

    Errors call the images by their `name`.
    """
    classes, counts = np.unique(y, return_counts=True)
    if counts.min() < 2 or len(y) * _TEST_FRACTION < len(classes):
        raise ValueError(
            f"{name} has {len(y)} images of {len(classes)} classes, the fewest "
            f"({counts.min()}) of {str(classes[counts.argmin()])!r}: too few to keep a "
            "fifth of each class to test on; give more, or others to test on."
        )
    split = {"test_size": _TEST_FRACTION, "stratify": y, "random_state": seed}
    X_train, X_test, y_train, y_test = train_test_split(X, y, **split)
    return X_train, y_train, X_test, y_test


def with_class_names(images: Images) -> Images:
    """Return Fashion-MNIST with the names of its classes in place of numbers."""
    names = np.array(CLASS_NAMES)
    return replace(images, y_train=names[images.y_train], y_test=names[images.y_test])
