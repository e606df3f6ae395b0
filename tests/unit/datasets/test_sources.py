"""Folders that hold the data already, in their order."""

from pathlib import Path

import numpy as np
import pytest

from fmnist_sklearn.datasets import _sources, fashion_mnist_source, fetch_fashion_mnist

from .tools import idx, names, write_files


def test_local_sources_in_order(contents, cache, tmp_path, monkeypatch):
    folders = [cache, tmp_path / "env", tmp_path / "system"]
    monkeypatch.setenv("FASHION_MNIST_DIR", str(folders[1]))
    assert fashion_mnist_source() is None
    for folder in reversed(folders):
        write_files(folder, contents)
        assert fashion_mnist_source() == str(folder)
        assert fetch_fashion_mnist(subset="all").source == str(folder)


@pytest.mark.parametrize("pack", [False, True], ids=["decompressed", "gz"])
def test_local_folder_is_read_in_place(contents, home, tmp_path, monkeypatch, pack):
    folder = tmp_path / "env"
    write_files(folder, contents, pack)
    before = names(folder)
    monkeypatch.setenv("FASHION_MNIST_DIR", str(folder))
    bunch = fetch_fashion_mnist(download_if_missing=False)
    assert bunch.source == str(folder)
    assert idx(bunch.images) == contents["train-images-idx3-ubyte"]
    assert names(folder) == before
    assert not home.exists()


def test_data_home(contents, tmp_path):
    write_files(tmp_path / "elsewhere" / "fashion_mnist", contents)
    data_home = tmp_path / "elsewhere"
    assert fashion_mnist_source() is None
    assert fashion_mnist_source(data_home) == str(data_home / "fashion_mnist")
    bunch = fetch_fashion_mnist(data_home=str(data_home), download_if_missing=False)
    assert bunch.source == str(data_home / "fashion_mnist")


def test_folder_that_lacks_a_file_is_passed_over(contents, cache, tmp_path):
    write_files(tmp_path / "system", contents)
    write_files(cache, {k: v for k, v in contents.items() if k.startswith("train")})
    assert fetch_fashion_mnist(subset="train").source == str(cache)
    assert fetch_fashion_mnist(subset="test").source == str(tmp_path / "system")
    assert fashion_mnist_source() == str(tmp_path / "system")


@pytest.mark.parametrize("pack", [False, True], ids=["decompressed", "gz"])
def test_wrong_content_in_env_folder(contents, tmp_path, monkeypatch, pack):
    folder = tmp_path / "env"
    contents["train-labels-idx1-ubyte"] = idx(np.zeros(20, np.uint8))
    write_files(folder, contents, pack)
    write_files(tmp_path / "system", contents)
    monkeypatch.setenv("FASHION_MNIST_DIR", str(folder))
    message = (
        r"env.train-labels-idx1-ubyte(\.gz)? is damaged or not Fashion-MNIST's "
        r"train-labels-idx1-ubyte: its SHA-256 is \w{64}, expected \w{64}"
    )
    with pytest.raises(ValueError, match=message):
        fetch_fashion_mnist()


def test_damaged_system_file(contents, tmp_path):
    write_files(tmp_path / "system", contents, pack=True)
    path = tmp_path / "system" / "t10k-images-idx3-ubyte.gz"
    path.write_bytes(path.read_bytes()[:-20])
    with (
        pytest.warns(UserWarning, match=r"t10k-images-idx3-ubyte\.gz is damaged"),
        pytest.raises(OSError, match=r"Data not found(.|\n)*ubyte\.gz is damaged"),
    ):
        fetch_fashion_mnist(subset="test", download_if_missing=False)


def test_nothing_found(contents, home, tmp_path, monkeypatch):
    monkeypatch.setenv("FASHION_MNIST_DIR", str(tmp_path / "env"))
    with pytest.raises(OSError, match="Data not found and `download_") as caught:
        fetch_fashion_mnist(download_if_missing=False)
    for hint in (
        str(home),
        str(tmp_path / "env"),
        str(tmp_path / "system"),
        "package dataset-fashion-mnist",
        "variable FASHION_MNIST_DIR",
        "load_fashion_mnist_sample",
    ):
        assert hint in str(caught.value)
    assert not home.exists()


def test_published_files_and_mirrors():
    sizes = {file.name: file.size for pair in _sources.FILES.values() for file in pair}
    assert sizes == {
        "train-images-idx3-ubyte": 16 + 60_000 * 784,
        "train-labels-idx1-ubyte": 8 + 60_000,
        "t10k-images-idx3-ubyte": 16 + 10_000 * 784,
        "t10k-labels-idx1-ubyte": 8 + 10_000,
    }
    # Plain http only after https.
    assert [url.split(":")[0] for url in _sources.MIRRORS] == ["https", "http"]
    assert Path(_sources.SYSTEM_FOLDER).is_absolute()
