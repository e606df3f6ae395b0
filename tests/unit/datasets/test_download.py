"""Where the files come from: folders, the cache, and servers of every kind."""

import errno
import multiprocessing
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from fmnist_sklearn import storage
from fmnist_sklearn.datasets import download, fashion_mnist_source, fetch_fashion_mnist

from .tools import FAILURES, HOSTILE, HostileMirror, corrupt, idx, names, write_files

TRAIN = ["train-images-idx3-ubyte", "train-labels-idx1-ubyte"]


# Folders ----------------------------------------------------------------------------


def test_fetch_takes_the_first_folder_that_is_complete(
    contents, cache, tmp_path, monkeypatch
):
    folders = [cache, tmp_path / "env", tmp_path / "system"]
    monkeypatch.setenv("FASHION_MNIST_DIR", str(folders[1]))
    assert fashion_mnist_source() is None
    for folder in reversed(folders):
        write_files(folder, contents)
        assert fashion_mnist_source() == str(folder)
        assert fetch_fashion_mnist(subset="all").source == str(folder)
    data_home = tmp_path / "elsewhere"
    write_files(data_home / "fashion_mnist", contents)
    expected = str(data_home / "fashion_mnist")
    assert fashion_mnist_source(data_home) == expected
    assert fetch_fashion_mnist(data_home=str(data_home)).source == expected
    (cache / "t10k-images-idx3-ubyte").unlink()
    assert fetch_fashion_mnist(subset="train").source == str(cache)
    assert fetch_fashion_mnist(subset="test").source == str(folders[1])
    assert fashion_mnist_source() == str(folders[1])


@pytest.mark.parametrize("pack", [False, True], ids=["decompressed", "gz"])
def test_fetch_reads_a_named_folder_in_place(
    contents, home, tmp_path, monkeypatch, pack
):
    folder = tmp_path / "env"
    write_files(folder, contents, pack)
    before = names(folder)
    monkeypatch.setenv("FASHION_MNIST_DIR", str(folder))
    bunch = fetch_fashion_mnist(download_if_missing=False)
    assert bunch.source == str(folder)
    assert idx(bunch.images) == contents["train-images-idx3-ubyte"]
    assert names(folder) == before
    assert not home.exists()
    # Wrong content of a folder that the user named is an error.
    write_files(folder, {TRAIN[1]: idx(np.zeros(20, np.uint8))}, pack)
    write_files(tmp_path / "system", contents)
    message = (
        rf"env.{TRAIN[1]}(\.gz)? is damaged or not Fashion-MNIST's {TRAIN[1]}: "
        r"its SHA-256 is \w{64}, expected \w{64}"
    )
    with pytest.raises(ValueError, match=message):
        fetch_fashion_mnist()


def test_fetch_warns_of_a_damaged_system_file(contents, tmp_path):
    write_files(tmp_path / "system", contents, pack=True)
    path = tmp_path / "system" / "t10k-images-idx3-ubyte.gz"
    path.write_bytes(path.read_bytes()[:-20])
    with (
        pytest.warns(UserWarning, match=r"t10k-images-idx3-ubyte\.gz is damaged"),
        pytest.raises(OSError, match=r"Data not found(.|\n)*ubyte\.gz is damaged"),
    ):
        fetch_fashion_mnist(subset="test", download_if_missing=False)
    assert path.exists()


def test_fetch_lists_the_folders_if_nothing_is_found(
    mirrors, home, tmp_path, monkeypatch
):
    monkeypatch.setenv("FASHION_MNIST_DIR", str(tmp_path / "env"))
    message = "Data not found and `download_if_missing` is False"
    with pytest.raises(OSError, match=message) as caught:
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
    assert not mirrors[0].requests


# Servers ----------------------------------------------------------------------------


def test_fetch_downloads_once(mirrors, contents, cache):
    bunch = fetch_fashion_mnist(subset="train")
    assert bunch.source == mirrors[0].url
    assert idx(bunch.images) == contents["train-images-idx3-ubyte"]
    assert names(cache) == TRAIN
    fetch_fashion_mnist(subset="all")
    assert sorted(mirrors[0].requests) == [f"/{name}.gz" for name in sorted(contents)]
    assert not mirrors[1].requests
    again = fetch_fashion_mnist(subset="all", download_if_missing=False)
    assert again.source == str(cache)
    for name in names(cache):
        assert (cache / name).read_bytes() == contents[name]


@pytest.mark.parametrize("failure", FAILURES)
def test_fetch_tries_the_second_mirror_and_again(mirrors, contents, failure):
    mirrors[0].fail(FAILURES[failure], times=2)
    mirrors[1].fail(FAILURES[failure])
    with pytest.warns(UserWarning, match="Retrying the download of train-im") as record:
        bunch = fetch_fashion_mnist(n_retries=1, delay=0)
    assert [warning.filename for warning in record] == [__file__]
    assert idx(bunch.images) == contents["train-images-idx3-ubyte"]
    requests = [mirror.requests for mirror in mirrors]
    images, labels = (f"/{name}.gz" for name in TRAIN)
    assert requests == [[images, images, labels], [images, images]]


@pytest.mark.parametrize(
    ("failure", "name"),
    [*((each, TRAIN[0]) for each in FAILURES), ("not found", TRAIN[1])],
)
def test_fetch_that_fails_leaves_no_part(mirrors, contents, cache, failure, name):
    for mirror in mirrors:
        mirror.fail(FAILURES[failure], name=name)
    with pytest.raises(OSError, match="Fashion-MNIST could not be") as caught:
        fetch_fashion_mnist(n_retries=0)
    for mirror in mirrors:
        assert f"{mirror.url}/{name}.gz: " in str(caught.value)
    assert "FASHION_MNIST_DIR" in str(caught.value)
    # The images come first, and stay if only the labels failed.
    assert names(cache) == [file for file in TRAIN[:1] if name != file]
    for path in cache.iterdir():
        assert path.read_bytes() == contents[path.name]


def test_fetch_doubles_the_delay_between_retries(mirrors, monkeypatch):
    slept = []
    monkeypatch.setattr("time.sleep", slept.append)
    for mirror in mirrors:
        mirror.fail(FAILURES["not found"], times=3)
    with pytest.warns(UserWarning, match="Retrying"):
        fetch_fashion_mnist(n_retries=3, delay=0.25)
    assert slept == [0.25, 0.5, 1.0]


@pytest.mark.parametrize("name", HOSTILE)
def test_fetch_leaves_a_hostile_server(contents, mirrors, monkeypatch, name):
    hostile = HostileMirror(*HOSTILE[name])
    monkeypatch.setattr(download, "MIRRORS", (hostile.url, mirrors[0].url))
    monkeypatch.setattr(download, "TIMEOUT_S", 0.2)
    monkeypatch.setattr(download, "MAX_BYTES", 100_000)
    bunch = fetch_fashion_mnist(n_retries=0)
    hostile.server.close()
    assert bunch.source == mirrors[0].url
    assert idx(bunch.images) == contents["train-images-idx3-ubyte"]


# The cache --------------------------------------------------------------------------


def fetch_in_child(home, results):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        bunch = fetch_fashion_mnist(data_home=home, n_retries=9, delay=0.01)
    results.put(bunch.images.sum())


@pytest.mark.skipif(sys.platform == "win32", reason="no fork on Windows")
def test_fetch_by_eight_processes_leaves_one_copy(mirrors, contents, home, cache):
    """From servers that drop connections and send wrong bytes."""
    for mirror in mirrors:
        for name in contents:
            for failure in ("cut in mid-body", "other content", "damaged gzip"):
                mirror.fail(FAILURES[failure], name=name)
    context = multiprocessing.get_context("fork")
    results = context.Queue()
    processes = [
        context.Process(target=fetch_in_child, args=[home, results]) for _ in range(8)
    ]
    for process in processes:
        process.start()
    sums = {int(results.get(timeout=60)) for _ in processes}
    for process in processes:
        process.join()
        assert process.exitcode == 0
    assert sums == {sum(contents[TRAIN[0]][16:])}
    assert names(cache) == TRAIN
    for name in names(cache):
        assert (cache / name).read_bytes() == contents[name]
    # Six failures and a success each: a file that is there is not downloaded again.
    assert sum(len(mirror.requests) for mirror in mirrors) == 2 * 7


def test_fetch_waits_for_the_lock(mirrors, cache, monkeypatch):
    monkeypatch.setattr(storage.files.file_lock, "__kwdefaults__", {"timeout": 0.05})
    with (
        storage.files.file_lock(cache),
        ThreadPoolExecutor(1) as thread,
        pytest.raises(TimeoutError, match=r"fashion_mnist\.lock"),
    ):
        thread.submit(fetch_fashion_mnist).result()


@pytest.mark.parametrize("pack", [False, True], ids=["decompressed", "gz"])
def test_fetch_removes_a_damaged_file_from_the_cache(contents, cache, tmp_path, pack):
    write_files(tmp_path / "system", contents)
    write_files(cache, contents, pack)
    (path,) = cache.glob("train-labels-*")
    path.write_bytes(path.read_bytes()[:-9])
    for n_warnings in (1, 0):
        with warnings.catch_warnings(record=True) as record:
            warnings.simplefilter("always")
            bunch = fetch_fashion_mnist(download_if_missing=False)
        assert len(record) == n_warnings
        assert bunch.source == str(tmp_path / "system")
        assert len(names(cache)) == 3
    assert fetch_fashion_mnist(subset="test").source == str(cache)


def test_fetch_downloads_a_damaged_file_again(mirrors, cached, cache):
    path = cache / "train-labels-idx1-ubyte"
    path.write_bytes(corrupt(path.read_bytes()))
    with pytest.warns(UserWarning, match="labels-idx1-ubyte is damaged") as record:
        bunch = fetch_fashion_mnist()
    assert record[0].filename == __file__
    assert mirrors[0].requests == ["/train-labels-idx1-ubyte.gz"]
    np.testing.assert_array_equal(bunch.target, np.resize(np.arange(10), 20))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fetch_fashion_mnist(download_if_missing=False)


def test_fetch_names_what_cannot_be_written(mirrors, cache, tmp_path, monkeypatch):
    def fail(*args):
        raise OSError(errno.ENOSPC, "No space left")

    monkeypatch.setattr(storage.files.os, "fsync", fail)
    with pytest.raises(OSError, match=r"No space left: .*train-images-idx3-ubyte"):
        fetch_fashion_mnist()
    assert names(cache) == []
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(OSError, match="file"):
        fetch_fashion_mnist(data_home=tmp_path / "file")


@pytest.mark.parametrize("where", ["reading", "writing"])
def test_fetch_that_is_interrupted_leaves_nothing(mirrors, cache, monkeypatch, where):
    def interrupt(*args):
        raise KeyboardInterrupt

    if where == "reading":
        monkeypatch.setattr(download, "_read_verified", interrupt)
    else:
        monkeypatch.setattr(storage.files.os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        fetch_fashion_mnist()
    assert names(cache) == []
    # The lock is free again.
    monkeypatch.undo()
    with storage.files.file_lock(cache, timeout=0):
        pass
