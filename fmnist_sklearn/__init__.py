"""Small convolutional networks for small images, as scikit-learn estimators."""

from .datasets import CLASS_NAMES, fetch_fashion_mnist, load_fashion_mnist_sample
from .estimators import LeNet5Classifier, MiniVGGClassifier
from .modules import LeNet5, MiniVGG, layer_table

__version__ = "0.1.0"

__all__ = [
    "CLASS_NAMES",
    "LeNet5",
    "LeNet5Classifier",
    "MiniVGG",
    "MiniVGGClassifier",
    "fetch_fashion_mnist",
    "layer_table",
    "load_fashion_mnist_sample",
]
