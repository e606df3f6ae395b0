"""The folder of downloads: whole, whoever fetches, fails or is killed."""

import errno
import multiprocessing
import os
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from fmnist_sklearn import storage
from fmnist_sklearn.datasets import _sources, fetch_fashion_mnist

from .mirrors import cut_in_mid_body, damaged_gzip, other_content
from .tools import corrupt, idx, names, write_files


def fetch_in_child(home, results):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        bunch = fetch_fashion_mnist(data_home=home, n_retries=9, delay=0.01)
    results.put(bunch.images.sum())


@pytest.mark.skipif(sys.platform == "win32", reason="no fork on Windows")
def test_eight_processes_leave_one_copy(mirrors, contents, home, cache):
    """From servers that drop connections and send wrong bytes."""
    for mirror in mirrors:
        for name in contents:
            for failure in (cut_in_mid_body, other_content, damaged_gzip):
                mirror.fail(failure, name=name)
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
    images = contents["train-images-idx3-ubyte"][16:]
    assert sums == {sum(images)}
    assert names(cache) == ["train-images-idx3-ubyte", "train-labels-idx1-ubyte"]
    for name in names(cache):
        assert (cache / name).read_bytes() == contents[name]
    # Six failures and a success each; nobody asked for what another had fetched.
    assert sum(len(mirror.requests) for mirror in mirrors) == 2 * 7


def test_a_fetch_that_hangs_is_named(mirrors, cache, monkeypatch):
    monkeypatch.setattr(storage.files, "_LOCK_TIMEOUT", 0.05)
    with (
        storage.files.file_lock(cache),
        pytest.raises(TimeoutError, match="held by process"),
    ):
        fetch_fashion_mnist()


def test_what_a_killed_fetch_left_is_cleared(mirrors, cache):
    cache.mkdir(parents=True)
    start, end = storage.files._TEMPORARY
    (cache / f"{start}1-dead{end}").write_bytes(bytes(1000))
    fetch_fashion_mnist()
    assert names(cache) == ["train-images-idx3-ubyte", "train-labels-idx1-ubyte"]


@pytest.mark.parametrize("pack", [False, True], ids=["decompressed", "gz"])
def test_a_damaged_cache_beside_sound_files_is_mended(contents, cache, tmp_path, pack):
    write_files(tmp_path / "system", contents)
    write_files(cache, contents, pack)
    (path,) = cache.glob("train-labels-*")
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.warns(UserWarning, match="damaged") as record:
        bunch = fetch_fashion_mnist(download_if_missing=False)
    assert len(record) == 1
    assert bunch.source == str(tmp_path / "system")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert fetch_fashion_mnist().source == str(cache)
    assert len(names(cache)) == 4


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EACCES])
def test_a_disk_that_takes_nothing_is_told_plainly(mirrors, cache, monkeypatch, number):
    def fail(*args):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(storage.files.os, "fsync", fail)
    message = f"{os.strerror(number)}; the cache .* or pass data_home=, .* folder"
    with pytest.raises(OSError, match=message) as caught:
        fetch_fashion_mnist()
    assert caught.value.errno == number
    assert names(cache) == []


@pytest.mark.parametrize("damage", [corrupt, lambda content: content[:-5]])
def test_damaged_cache_is_fetched_again(mirrors, contents, cache, damage):
    write_files(cache, contents)
    path = cache / "train-labels-idx1-ubyte"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.warns(UserWarning, match="labels-idx1-ubyte is damaged") as record:
        bunch = fetch_fashion_mnist()
    assert record[0].filename == __file__
    assert mirrors[0].requests == ["/train-labels-idx1-ubyte.gz"]
    np.testing.assert_array_equal(bunch.target, np.resize(np.arange(10), 20))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fetch_fashion_mnist(download_if_missing=False)


@pytest.mark.parametrize("where", ["reading", "writing"])
def test_keyboard_interrupt_leaves_nothing(mirrors, cache, monkeypatch, where):
    def interrupt(*args):
        raise KeyboardInterrupt

    if where == "reading":
        monkeypatch.setattr(_sources, "_read_verified", interrupt)
    else:
        monkeypatch.setattr(storage.files.os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        fetch_fashion_mnist()
    assert names(cache) == []
    # The lock is free again.
    monkeypatch.undo()
    with storage.files.file_lock(cache, timeout=0):
        pass


def test_concurrent_fetches_download_once(mirrors, contents):
    with ThreadPoolExecutor(4) as pool:
        futures = [pool.submit(fetch_fashion_mnist) for _ in range(4)]
    for future in futures:
        assert idx(future.result().images) == contents["train-images-idx3-ubyte"]
    assert len(mirrors[0].requests) == 2


def test_cache_that_cannot_be_written(mirrors, tmp_path):
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(OSError, match="file"):
        fetch_fashion_mnist(data_home=tmp_path / "file")
