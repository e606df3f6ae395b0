"""The images a run trains and tests on: Fashion-MNIST, its sample, or a user's own."""

from __future__ import annotations

import os
import warnings
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from sklearn.model_selection import train_test_split
from sklearn.utils import check_consistent_length

from ..datasets import (
    CLASS_NAMES,
    fetch_fashion_mnist,
    load_fashion_mnist_sample,
    load_image_folder,
)

Preparation = Literal["clothing", "resize"]

_TEST_SHARE = 0.2  # of one's own pictures, where no folder to test on is given


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
        `data` itself where it is loaded; else pixels are uint8, of shape (n, 784).
    """
    if isinstance(data, Images):
        return data
    fetched = None
    if data != "sample":
        # Whoever insists on the full data waits for retries; "auto" has a way out.
        retries = {"n_retries": 0} if data == "auto" else {}
        try:
            fetched = [
                fetch_fashion_mnist(subset=subset, data_home=data_home, **retries)
                for subset in ("train", "test")
            ]
        except OSError as error:
            if data == "full":
                raise
            warnings.warn(
                "The full Fashion-MNIST is out of reach, so the bundled sample of "
                f"6,000 training and 1,000 test images is used. {error}",
                stacklevel=4,  # past validate_params, to run_benchmark's caller
            )
    name = "sample" if fetched is None else "full"
    train, test = fetched or (
        load_fashion_mnist_sample(subset=subset) for subset in ("train", "test")
    )
    return Images(name, train.source, train.data, train.target, test.data, test.target)


def load_pictures(
    folder: str | os.PathLike[str],
    *,
    test: str | os.PathLike[str] | None = None,
    image_shape: tuple[int, int, int] = (3, 32, 32),
    prepare: Preparation = "resize",
    seed: int = 0,
) -> Images:
    """Load pictures of one's own, in random order, and a part of them to test on.

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
        Of order and split.

    Returns
    -------
    images : Images
        Pixels are uint8, of shape (n, channels, height, width); targets are names.

    Raises
    ------
    ValueError
        If there are fewer than two pictures of a class to be split, or `test` has
        classes that `folder` has not.
    """
    settings: dict = {"image_shape": image_shape, "prepare": prepare}
    train = load_image_folder(folder, **settings)
    X, y = train.images, train.target_names[train.target]
    if test is None:
        remedy = "add pictures, or give a folder of others to test on"
        X_train, X_test, y_train, y_test = keep_for_test(
            X, y, seed, os.fspath(folder), remedy
        )
    else:
        tested = load_image_folder(test, **settings)
        if unknown := sorted(set(tested.target_names) - set(train.target_names)):
            raise ValueError(
                f"{os.fspath(test)} has the classes {', '.join(unknown)}, which "
                f"{os.fspath(folder)} has not"
            )
        # In the order of the classes, leading rows would hold one of them only.
        order = np.random.default_rng(seed).permutation(len(y))
        X_train, y_train = X[order], y[order]
        X_test, y_test = tested.images, tested.target_names[tested.target]
    # A folder may be called "sample"; with the slash it is not taken for ours.
    name = os.path.basename(os.path.abspath(folder)) + "/"
    return Images(
        name, os.fspath(folder), X_train, y_train, X_test, y_test, preparation=prepare
    )


def keep_for_test(
    X: np.ndarray, y: np.ndarray, seed: int, name: str, remedy: str
) -> list[np.ndarray]:
    """Split images, a fifth of each class to test on.

    Parameters
    ----------
    X, y : ndarray
        The images and their labels.
    seed : int
        Of the split.
    name, remedy : str
        What an error calls the images, and what it tells to do.

    Returns
    -------
    X_train, X_test, y_train, y_test : ndarray
        In random order.

    Raises
    ------
    ValueError
        If there are too few of a class.
    """
    classes, counts = np.unique(y, return_counts=True)
    if counts.min() < 2 or len(y) * _TEST_SHARE < len(classes):
        raise ValueError(
            f"{name} has {len(y)} images of {len(classes)} classes, the fewest "
            f"({counts.min()}) of {str(classes[counts.argmin()])!r}: too few to keep a "
            f"fifth of each class to test on; {remedy}."
        )
    return train_test_split(X, y, test_size=_TEST_SHARE, stratify=y, random_state=seed)


def with_class_names(images: Images) -> Images:
    """Return Fashion-MNIST with the names of its classes in the place of numbers."""
    names = np.array(CLASS_NAMES)
    return replace(images, y_train=names[images.y_train], y_test=names[images.y_test])


def own_images(
    X: Any, y: Any, X_test: Any, y_test: Any, data: Any, seed: int
) -> Images | None:
    """Take the user's own images, and keep some of them to test on.

    Parameters
    ----------
    X, y, X_test, y_test, data, seed
        As for :func:`run_benchmark`.

    Returns
    -------
    images : Images or None
        None where there are none: then `data` says which.

    Raises
    ------
    ValueError
        If something is missing or too much, lengths differ, or a class is too small
        to be split.
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
    arrays = {name: np.asarray(given[name]) for name in names}
    if X_test is None:
        remedy = "give more, or X_test and y_test"
        parts = keep_for_test(arrays["X"], arrays["y"], seed, "X", remedy)
        arrays = dict(zip(("X", "X_test", "y", "y_test"), parts, strict=True))
    else:
        check_consistent_length(X_test, y_test)
    return Images(
        "your own images",
        "X and y",
        arrays["X"],
        arrays["y"],
        arrays["X_test"],
        arrays["y_test"],
    )
