# Where each name comes from: read by type checkers, and by __init__.py, which loads a
# name when it is first used.
from .download import fashion_mnist_source as fashion_mnist_source
from .fashion_mnist import CLASS_NAMES as CLASS_NAMES
from .fashion_mnist import fetch_fashion_mnist as fetch_fashion_mnist
from .fashion_mnist import load_fashion_mnist_sample as load_fashion_mnist_sample
