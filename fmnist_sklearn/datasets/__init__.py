"""Data: Fashion-MNIST, its bundled sample, and user-supplied pictures."""

from ..photos import ImageReader, load_image_folder
from .download import fashion_mnist_source
from .fashion_mnist import CLASS_NAMES, fetch_fashion_mnist, load_fashion_mnist_sample

__all__ = [
    "CLASS_NAMES",
    "ImageReader",
    "fashion_mnist_source",
    "fetch_fashion_mnist",
    "load_fashion_mnist_sample",
    "load_image_folder",
]
