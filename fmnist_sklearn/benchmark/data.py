"""The images to train and test on: Fashion-MNIST, its sample, or the user's own."""

from __future__ import annotations

import os
import warnings
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from sklearn.model_selection import train_test_split
from sklearn.utils import check_consistent_length

from ..datasets import CLASS_NAMES, fetch_fashion_mnist, load_fashion_mnist_sample

Preparation = Literal["clothing", "resize"]

# X_train, y_train, X_test and y_test
Arrays = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]

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
    preparation: Preparation = "clothing"  # by which a picture becomes such an image

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
    name, subsets = "sample", ("train", "test")
    if data != "sample":
        # With "auto" there is the sample to fall back to, and no need to retry.
        retries = {"n_retries": 0} if data == "auto" else {}
        try:
            train, test = (
                fetch_fashion_mnist(subset=subset, data_home=data_home, **retries)
                for subset in subsets
            )
            name = "full"
        except OSError as error:
            if data == "full":
                raise
            warnings.warn(
                "The full Fashion-MNIST is not available, so the bundled sample of "
                f"6,000 training and 1,000 test images is used. {error}",
                stacklevel=4,  # past validate_params, to run_benchmark's caller
            )
    if name == "sample":
        train, test = (load_fashion_mnist_sample(subset=subset) for subset in subsets)
    return Images(name, train.source, train.data, train.target, test.data, test.target)


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


def take_arrays(
    X: Any, y: Any, X_test: Any, y_test: Any, data: Any, seed: int
) -> Images | None:
    """Take images that users supply as arrays, and keep some of them to test on.

    Parameters
    ----------
    X, y, X_test, y_test, data, seed
        As for :func:`run_benchmark`.

    Returns
    -------
    images : Images or None
        None where there are no arrays: then `data` names the images.

    Raises
    ------
    ValueError
        If an array is missing, `data` names other images, lengths differ, or a class
        is too small to be split.
    """
    given = {"X": X, "y": y, "X_test": X_test, "y_test": y_test}
    names = [name for name, value in given.items() if value is not None]
    if not names:
        return None
    if names not in (["X", "y"], list(given)):
        raise ValueError(
            "images of your own come as X and y, or as X, y, X_test and y_test; got "
            f"{', '.join(names)} only."
        )
    if data != "auto":
        raise ValueError(f"X and data exclude each other; got X and data={data!r}.")
    check_consistent_length(X, y)
    X, y = np.asarray(X), np.asarray(y)
    if X_test is None:
        arrays = _keep_for_test(X, y, seed, "X")
    else:
        check_consistent_length(X_test, y_test)
        arrays = X, y, np.asarray(X_test), np.asarray(y_test)
    return Images("your own images", "X and y", *arrays)


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
