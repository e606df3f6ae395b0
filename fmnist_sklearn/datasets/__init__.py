"""Data: Fashion-MNIST, and its bundled sample."""

from .download import fashion_mnist_source
from .fashion_mnist import CLASS_NAMES, fetch_fashion_mnist, load_fashion_mnist_sample

__all__ = [
    "CLASS_NAMES",
    "fashion_mnist_source",
    "fetch_fashion_mnist",
    "load_fashion_mnist_sample",
]
