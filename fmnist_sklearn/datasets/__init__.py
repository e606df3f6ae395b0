"""Data: Fashion-MNIST, all of it or a bundled sample, and pictures of your own."""

from ._bunch import CLASS_NAMES
from ._fashion_mnist import fetch_fashion_mnist
from ._image_folder import load_image_folder
from ._image_reader import ImageReader
from ._sample import load_fashion_mnist_sample
from ._sources import fashion_mnist_source

__all__ = [
    "CLASS_NAMES",
    "ImageReader",
    "fashion_mnist_source",
    "fetch_fashion_mnist",
    "load_fashion_mnist_sample",
    "load_image_folder",
]
