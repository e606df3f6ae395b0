"""Fashion-MNIST: the full data, fetched and checked, and a bundled sample."""

from ._bunch import CLASS_NAMES
from ._fashion_mnist import fetch_fashion_mnist
from ._sample import load_fashion_mnist_sample
from ._sources import fashion_mnist_source

__all__ = [
    "CLASS_NAMES",
    "fashion_mnist_source",
    "fetch_fashion_mnist",
    "load_fashion_mnist_sample",
]
