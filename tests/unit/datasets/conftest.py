import hashlib

import numpy as np
import pytest

from fmnist_sklearn.datasets import download

from .tools import Mirror, idx, write_files

N_ROWS = {"train": 20, "t10k": 10}


@pytest.fixture
def contents(monkeypatch, tmp_path):
    """Small files instead of the real ones, which are nowhere yet."""
    rng = np.random.default_rng(0)
    contents = {}
    for prefix, n in N_ROWS.items():
        images = rng.integers(256, size=(n, 28, 28), dtype=np.uint8)
        labels = np.resize(np.arange(10, dtype=np.uint8), n)
        contents[f"{prefix}-images-idx3-ubyte"] = idx(images)
        contents[f"{prefix}-labels-idx1-ubyte"] = idx(labels)
    assert list(contents) == list(download.FILES)
    for name, content in contents.items():
        monkeypatch.setitem(download.FILES, name, hashlib.sha256(content).hexdigest())
    monkeypatch.setattr(download, "SYSTEM_FOLDER", tmp_path / "system")
    monkeypatch.setattr(download, "MIRRORS", ())
    monkeypatch.setenv("SCIKIT_LEARN_DATA", str(tmp_path / "home"))
    monkeypatch.delenv("FASHION_MNIST_DIR", raising=False)
    return contents


@pytest.fixture
def home(tmp_path):
    return tmp_path / "home"


@pytest.fixture
def cache(home):
    return home / "fashion_mnist"


@pytest.fixture
def cached(contents, cache):
    write_files(cache, contents)
    return contents


@pytest.fixture
def mirrors(contents, monkeypatch):
    """Two servers instead of the real mirrors."""
    mirrors = [Mirror(contents), Mirror(contents)]
    monkeypatch.setattr(download, "MIRRORS", tuple(mirror.url for mirror in mirrors))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    yield mirrors
    for mirror in mirrors:
        mirror.server.shutdown()
        mirror.server.server_close()
