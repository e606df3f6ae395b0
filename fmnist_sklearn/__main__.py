"""``python -m fmnist_sklearn``: the same as the command ``fmnist-sklearn``."""

import sys

from .cli import main

if __name__ == "__main__":
    sys.exit(main())
