"""The images a benchmark runs on: the full data, or the sample in its place."""

from __future__ import annotations

import os
import warnings
from dataclasses import dataclass

import numpy as np

from ..datasets import fetch_fashion_mnist, load_fashion_mnist_sample


@dataclass(frozen=True)
class Images:
    """Training and test images with their labels, and where they came from."""

    name: str  # "full" or "sample"
    source: str
    X_train: np.ndarray
    y_train: np.ndarray
    X_test: np.ndarray
    y_test: np.ndarray

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
