"""Small files in Fashion-MNIST's format, and whether the real ones are here."""

import gzip

import numpy as np
import pytest

from fmnist_sklearn.datasets import fashion_mnist_source

FULL_DATA = fashion_mnist_source()
needs_full_data = pytest.mark.skipif(
    FULL_DATA is None, reason="the full data is not on this machine"
)


def idx(array):
    """Return a uint8 array as the content of an IDX file."""
    shape = np.array(array.shape, dtype=">u4").tobytes()
    return bytes([0, 0, 8, array.ndim]) + shape + array.tobytes()


def write_files(folder, contents, pack=False):
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in contents.items():
        if pack:
            (folder / f"{name}.gz").write_bytes(gzip.compress(content))
        else:
            (folder / name).write_bytes(content)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def corrupt(content):
    return content[:-1] + bytes([content[-1] ^ 1])
