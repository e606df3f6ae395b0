import os
import pickle
import threading
from datetime import datetime

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


def test_nothing_is_made_before_the_first_entry(cache, tmp_path):
    assert cache.read("a") is None
    assert (cache.entries(), cache.clear(), cache.trim()) == ([], 0, 0)
    assert not list(tmp_path.iterdir())


def test_what_is_written_is_read(cache):
    n_bytes = write(cache, "a")
    arrays, meta = cache.read("a")
    np.testing.assert_array_equal(arrays["weight"], ARRAYS["weight"], strict=True)
    np.testing.assert_array_equal(arrays["count"], ARRAYS["count"], strict=True)
    assert meta == META
    assert n_bytes == cache.entries()[0].path.stat().st_size
    assert abs((datetime.now() - cache.entries()[0].last_used).total_seconds()) < 60
    assert cache.read("b") is None


@pytest.mark.parametrize(
    "change",
    [
        lambda content: b"",
        lambda content: content[:-1],
        lambda content: content[:100],
        lambda content: content[:-3] + bytes([content[-3] ^ 1]) + content[-2:],
    ],
)
def test_damage_is_seen(cache, change):
    write(cache, "a")
    path = cache.entries()[0].path
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(ValueError, match=r"a\.fit is"):
        cache.read("a")


def test_what_was_not_used_for_longest_is_dropped(cache):
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


def test_clear_deletes_what_is_ours_only(cache):
    write(cache, "a", "b")
    folder = cache.entries()[0].path.parent
    for name in ("a.fit.lock", ".fmnist_sklearn-1-2.tmp", "notes.txt"):
        (folder / name).touch()
    assert cache.clear() == 2
    assert os.listdir(folder) == ["notes.txt"]


def test_a_path_may_begin_at_home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    write(FitCache("~/fits"), "a")
    assert keys(FitCache(tmp_path / "fits")) == ["a"]


@pytest.mark.parametrize("max_bytes", [0, -1, float("nan")])
def test_a_size_that_holds_nothing(tmp_path, max_bytes):
    with pytest.raises(ValueError, match="max_bytes must be above 0, got"):
        FitCache(tmp_path, max_bytes=max_bytes)


def test_it_is_a_value(cache):
    again = pickle.loads(pickle.dumps(cache))
    assert again == cache
    assert repr(FitCache("fits")) == "FitCache(path='fits', max_bytes=4000000000)"


def test_one_at_a_time(cache):
    inside, most = [], []

    def work():
        with cache.alone_with("a"):
            inside.append(1)
            most.append(len(inside))
            cache.read("a")
            inside.pop()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1, 1, 1, 1]
    with cache.alone_with("a"), cache.alone_with("b"):
        pass
    assert not os.listdir(cache.path / "fmnist_sklearn")


def test_nobody_waits_for_ever(cache, monkeypatch):
    monkeypatch.setattr(fit_cache, "_LONGEST_WAIT_S", 0.05)
    held, done = threading.Event(), threading.Event()

    def hold():
        with cache.alone_with("a"):
            held.set()
            done.wait(10)

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait(10)
    with cache.alone_with("a"):
        assert not done.is_set()
    done.set()
    thread.join()


def test_a_folder_that_takes_no_locks(tmp_path):
    (tmp_path / "file").touch()
    cache = FitCache(tmp_path / "file")
    with cache.alone_with("a"):
        assert cache.read("a") is None
    with pytest.raises(OSError, match="file"):
        cache.write("a", ARRAYS, META)


def test_equal_keys_for_equal_contents_only():
    key = fit_key({"a": 1, "b": [2]}, ARRAYS)
    assert len(key) == 64
    assert fit_key({"b": [2], "a": 1}, dict(reversed(ARRAYS.items()))) == key
    others = [
        fit_key({"a": 1, "b": [3]}, ARRAYS),
        fit_key({"a": 1}, ARRAYS),
        fit_key({"a": 1, "b": [2]}, {**ARRAYS, "weight": ARRAYS["weight"].T}),
        fit_key({"a": 1, "b": [2]}, {**ARRAYS, "weight": ARRAYS["weight"] + 1e-15}),
        fit_key({"a": 1, "b": [2]}, {**ARRAYS, "count": np.array(7, np.int32)}),
        fit_key({"a": 1, "b": [2]}, {"w": ARRAYS["weight"], "count": np.array(7)}),
        fit_key({"a": 1, "b": [2]}, {"weight": ARRAYS["weight"]}),
    ]
    assert len({key, *others}) == 8
