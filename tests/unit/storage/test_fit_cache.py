import os
import pickle
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest

from fmnist_sklearn import FitCache
from fmnist_sklearn.storage import fit_cache, fit_key

ARRAYS = {"weight": np.arange(6.0).reshape(2, 3), "count": np.array(7)}
META = {"history": [{"epoch": 1, "loss": 0.25}]}


@pytest.fixture
def cache(tmp_path):
    return FitCache(tmp_path / "new" / "folder")


def write(cache, *keys, used=None):
    """Write entries of the same size; return it."""
    for key in keys:
        cache.write(key, ARRAYS, META)
        (entry,) = (e for e in cache.entries() if e.path.stem == key)
        if used is not None:
            os.utime(entry.path, (used, used))
            used += 1
    return entry.n_bytes


def keys(cache):
    return [entry.path.stem for entry in cache.entries()]


def test_cache_makes_its_folder_for_the_first_entry_and_reads_it(cache, tmp_path):
    assert cache.read("a") is None
    assert (cache.entries(), cache.clear(), cache.trim()) == ([], 0, 0)
    assert not list(tmp_path.iterdir())
    n_bytes = write(cache, "a")
    arrays, meta = cache.read("a")
    np.testing.assert_array_equal(arrays["weight"], ARRAYS["weight"], strict=True)
    np.testing.assert_array_equal(arrays["count"], ARRAYS["count"], strict=True)
    assert meta == META
    assert n_bytes == cache.entries()[0].path.stat().st_size
    assert abs((datetime.now() - cache.entries()[0].last_used).total_seconds()) < 60
    assert cache.read("b") is None


def test_cache_deletes_what_was_not_used_for_longest(cache):
    n_bytes = write(cache, "a", "b", "c", used=1_000_000_000)
    assert keys(cache) == ["a", "b", "c"]
    cache.read("a")
    assert keys(cache) == ["b", "c", "a"]
    small = FitCache(cache.path, max_bytes=3 * n_bytes)
    write(small, "d")
    assert keys(cache) == ["c", "a", "d"]
    assert cache.trim(2 * n_bytes) == 1
    assert cache.trim(2 * n_bytes) == 0
    assert keys(cache) == ["a", "d"]


def test_cache_clear_deletes_only_its_own_files(cache):
    write(cache, "a", "b")
    folder = cache.entries()[0].path.parent
    for name in ("a.fit.lock", "notes.txt"):
        (folder / name).touch()
    assert cache.clear() == 2
    assert os.listdir(folder) == ["notes.txt"]


def test_cache_counts_what_it_deleted(cache, tmp_path, monkeypatch):
    n_bytes = write(cache, "a", "b", "c", "d", used=1_000_000_000)
    unlink = Path.unlink

    def fail_or_come_late(path, *args, **kwargs):
        if path.stem == "a":
            raise PermissionError(13, "in use", str(path))
        unlink(path, *args, **kwargs)
        if path.stem == "b":  # as if another process had been faster
            unlink(path, *args, **kwargs)

    monkeypatch.setattr(Path, "unlink", fail_or_come_late)
    assert cache.trim(2 * n_bytes) == 1
    assert keys(cache) == ["a", "d"]
    assert cache.clear() == 1
    assert keys(cache) == ["a"]
    monkeypatch.undo()
    # A link is an entry, also one to nothing; what it points to is not.
    (tmp_path / "file").write_bytes(bytes(100))
    for name, target in (("x.fit", tmp_path / "file"), ("y.fit", tmp_path / "none")):
        (cache.path / "fmnist_sklearn" / name).symlink_to(target)
    assert cache.clear() == 3
    assert (tmp_path / "file").exists()


def test_cache_path_may_begin_with_a_tilde(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    write(FitCache("~/fits"), "a")
    assert keys(FitCache(tmp_path / "fits")) == ["a"]


@pytest.mark.parametrize("max_bytes", [0, -1, float("nan")])
def test_cache_refuses_max_bytes_of_zero(tmp_path, max_bytes):
    with pytest.raises(ValueError, match="max_bytes must be above 0, got"):
        FitCache(tmp_path, max_bytes=max_bytes)


def test_cache_is_a_value(cache):
    again = pickle.loads(pickle.dumps(cache))
    assert again == cache
    assert repr(FitCache("fits")) == "FitCache(path='fits', max_bytes=4000000000)"


def test_cache_locks_a_fit(cache):
    inside, most = [], []

    def work(_):
        with cache.alone_with("a"):
            inside.append(1)
            most.append(len(inside))
            cache.read("a")
            inside.pop()

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(work, range(4)))
    assert most == [1, 1, 1, 1]
    with cache.alone_with("a"), cache.alone_with("b"):
        pass
    assert not os.listdir(cache.path / "fmnist_sklearn")


def test_cache_lock_is_waited_for_at_most_an_hour(cache, monkeypatch):
    monkeypatch.setattr(fit_cache, "_LONGEST_WAIT_S", 0.05)
    held, done = threading.Event(), threading.Event()

    def hold():
        with cache.alone_with("a"):
            held.set()
            done.wait(10)

    with ThreadPoolExecutor(1) as thread:
        holder = thread.submit(hold)
        held.wait(10)
        with cache.alone_with("a"):
            assert not holder.done()
        done.set()


def test_cache_in_a_folder_that_takes_no_locks(tmp_path):
    (tmp_path / "file").touch()
    cache = FitCache(tmp_path / "file")
    with cache.alone_with("a"):
        assert cache.read("a") is None
    with pytest.raises(OSError, match="file"):
        cache.write("a", ARRAYS, META)


def test_fit_key_is_equal_for_equal_contents_only():
    values = {"a": 1, "b": [2]}
    key = fit_key(values, ARRAYS)
    # Entries that were stored before must be found.
    assert key.startswith("a6589815efb4")
    assert fit_key({"b": [2], "a": 1}, dict(reversed(ARRAYS.items()))) == key
    others = [
        fit_key({"a": 1, "b": [3]}, ARRAYS),
        fit_key({"a": 1}, ARRAYS),
        fit_key(values, {**ARRAYS, "weight": ARRAYS["weight"].T}),
        fit_key(values, {**ARRAYS, "weight": ARRAYS["weight"] + 1e-15}),
        fit_key(values, {**ARRAYS, "count": np.array(7, np.int32)}),
        fit_key(values, {"w": ARRAYS["weight"], "count": np.array(7)}),
        fit_key(values, {"weight": ARRAYS["weight"]}),
    ]
    assert len({key, *others}) == 8
