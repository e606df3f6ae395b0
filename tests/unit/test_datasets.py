import errno
import gzip
import hashlib
import multiprocessing
import os
import socket
import sys
import threading
import time
import urllib.request
import warnings
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from fmnist_sklearn import storage
from fmnist_sklearn.datasets import (
    CLASS_NAMES,
    _download,
    _sample,
    _sources,
    fashion_mnist_source,
    fetch_fashion_mnist,
    load_fashion_mnist_sample,
)
from fmnist_sklearn.datasets._fashion_mnist import _parse_idx

N_ROWS = {"train": 20, "test": 10}
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


@pytest.fixture
def contents(monkeypatch, tmp_path):
    """Small files in the place of the real ones, to be found nowhere yet."""
    rng = np.random.default_rng(0)
    contents, files = {}, {}
    for subset, pair in _sources.FILES.items():
        n = N_ROWS[subset]
        arrays = (
            rng.integers(256, size=(n, 28, 28), dtype=np.uint8),
            np.resize(np.arange(10, dtype=np.uint8), n),
        )
        for file, array in zip(pair, arrays, strict=True):
            contents[file.name] = idx(array)
        files[subset] = tuple(
            _sources.IdxFile(
                file.name,
                len(contents[file.name]),
                hashlib.sha256(contents[file.name]).hexdigest(),
            )
            for file in pair
        )
    monkeypatch.setattr(_sources, "FILES", files)
    monkeypatch.setattr("fmnist_sklearn.datasets._fashion_mnist.FILES", files)
    monkeypatch.setattr(_sources, "SYSTEM_FOLDER", tmp_path / "system")
    monkeypatch.setattr(_sources, "MIRRORS", ())
    monkeypatch.setenv("SCIKIT_LEARN_DATA", str(tmp_path / "home"))
    monkeypatch.delenv("FASHION_MNIST_DIR", raising=False)
    return contents


@pytest.fixture
def home(tmp_path):
    return tmp_path / "home"


@pytest.fixture
def cache(home):
    return home / "fashion_mnist"


class Mirror:
    """A web server whose answers a test sets, one after the other, for each file."""

    def __init__(self, contents):
        self.packed = {f"/{name}.gz": gzip.compress(c) for name, c in contents.items()}
        self.answers = defaultdict(list)  # path -> answers before the right one
        self.requests = []
        mirror = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                mirror.requests.append(self.path)
                right = mirror.packed[self.path]
                queue = mirror.answers[self.path]
                status, body, length = queue.pop(0)(right) if queue else whole(right)
                self.send_response(status)
                if length is not None:
                    self.send_header("Content-Length", str(length))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *args):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        # A short poll interval, for shutdown waits for its end.
        serve = threading.Thread(target=self.server.serve_forever, args=[0.01])
        serve.start()

    def fail(self, answer, times=1, name="train-images-idx3-ubyte"):
        self.answers[f"/{name}.gz"] += [answer] * times


def whole(right):
    return 200, right, len(right)


def not_found(right):
    return 404, b"", 0


def cut_in_mid_body(right):
    return 200, right[: len(right) // 2], len(right)


def truncated_gzip(right):
    return 200, right[:-10], None


def other_content(right):
    body = gzip.compress(bytes(len(gzip.decompress(right))))
    return 200, body, len(body)


def too_much_content(right):
    body = gzip.compress(gzip.decompress(right) + b"more")
    return 200, body, len(body)


def web_page(right):
    return 200, b"<html>Log in to this network</html>", None


def damaged_gzip(right):
    middle = len(right) // 2
    body = right[:middle] + bytes(20) + right[middle + 20 :]
    return 200, body, len(body)


FAILURES = [
    not_found,
    cut_in_mid_body,
    truncated_gzip,
    other_content,
    too_much_content,
    web_page,
    damaged_gzip,
]


@pytest.fixture
def mirrors(contents, monkeypatch):
    """Two servers, in the place of the real mirrors."""
    mirrors = [Mirror(contents), Mirror(contents)]
    monkeypatch.setattr(_sources, "MIRRORS", tuple(mirror.url for mirror in mirrors))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    yield mirrors
    for mirror in mirrors:
        mirror.server.shutdown()
        mirror.server.server_close()


def names(folder):
    return sorted(path.name for path in folder.iterdir())


# What is returned


@pytest.fixture
def cached(contents, cache):
    write_files(cache, contents)
    return contents


@pytest.mark.parametrize(
    ("subset", "n"), [("train", 20), ("test", 10), ("all", 30)], ids=str
)
def test_fetch_bunch(cached, subset, n):
    bunch = fetch_fashion_mnist(subset=subset)
    assert bunch.data.shape == (n, 784)
    assert bunch.data.dtype == np.uint8
    assert bunch.data.flags.c_contiguous
    assert bunch.data.flags.writeable
    assert bunch.images.shape == (n, 28, 28)
    assert np.shares_memory(bunch.data, bunch.images)
    assert bunch.target.shape == (n,)
    assert bunch.target.dtype == np.int64
    assert bunch.target.flags.writeable
    assert bunch.target_names == CLASS_NAMES
    assert bunch.target_names is not CLASS_NAMES
    assert bunch.feature_names == [f"pixel{i + 1}" for i in range(784)]
    assert bunch.frame is None
    assert bunch.DESCR.startswith(".. _fashion_mnist_dataset:")


def test_fetch_all_has_train_rows_first(cached):
    train, test, both = (
        fetch_fashion_mnist(subset=subset) for subset in ("train", "test", "all")
    )
    np.testing.assert_array_equal(both.data, np.vstack([train.data, test.data]))
    np.testing.assert_array_equal(both.target, np.hstack([train.target, test.target]))


@pytest.mark.parametrize("load", [fetch_fashion_mnist, load_fashion_mnist_sample])
def test_return_X_y_and_as_frame(cached, load):
    bunch = load()
    X, y = load(return_X_y=True)
    np.testing.assert_array_equal(X, bunch.data, strict=True)
    np.testing.assert_array_equal(y, bunch.target, strict=True)

    framed = load(as_frame=True)
    assert isinstance(framed.data, pd.DataFrame)
    assert isinstance(framed.target, pd.Series)
    assert list(framed.data.columns) == bunch.feature_names
    assert (framed.data.dtypes == np.uint8).all()
    assert framed.target.name == "target"
    assert framed.target.dtype == np.int64
    np.testing.assert_array_equal(framed.data, bunch.data)
    np.testing.assert_array_equal(framed.images, bunch.images)
    expected = pd.concat([framed.data, framed.target], axis=1)
    pd.testing.assert_frame_equal(framed.frame, expected)

    X, y = load(return_X_y=True, as_frame=True)
    pd.testing.assert_frame_equal(X, framed.data)
    pd.testing.assert_series_equal(y, framed.target)


@pytest.mark.parametrize("load", [fetch_fashion_mnist, load_fashion_mnist_sample])
@pytest.mark.parametrize(
    ("parameter", "value"),
    [("subset", "valid"), ("subset", None), ("as_frame", "yes"), ("return_X_y", 2)],
)
def test_invalid_parameters(load, parameter, value):
    message = f"'{parameter}' parameter of {load.__name__} must be .* Got {value!r}"
    with pytest.raises(ValueError, match=message):
        load(**{parameter: value})


@pytest.mark.parametrize(
    ("parameter", "value"),
    [("n_retries", -1), ("delay", -0.5), ("data_home", 1), ("download_if_missing", 3)],
)
def test_invalid_parameters_of_fetch(parameter, value):
    with pytest.raises(ValueError, match=f"'{parameter}' .* Got {value!r} instead"):
        fetch_fashion_mnist(**{parameter: value})


def test_pandas_is_imported_for_frames_only(monkeypatch):
    """The import itself does without, too: see test_import_arrows.py."""
    monkeypatch.setitem(sys.modules, "pandas", None)
    load_fashion_mnist_sample()
    with pytest.raises(ImportError, match="pandas"):
        load_fashion_mnist_sample(as_frame=True)


# Local sources


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


# Downloads


def test_download_once(mirrors, contents, cache):
    bunch = fetch_fashion_mnist(subset="train")
    assert bunch.source == mirrors[0].url
    assert idx(bunch.images) == contents["train-images-idx3-ubyte"]
    assert names(cache) == ["train-images-idx3-ubyte", "train-labels-idx1-ubyte"]
    fetch_fashion_mnist(subset="all")
    assert sorted(mirrors[0].requests) == [f"/{name}.gz" for name in sorted(contents)]
    assert not mirrors[1].requests
    again = fetch_fashion_mnist(subset="all", download_if_missing=False)
    assert again.source == str(cache)
    for name in names(cache):
        assert (cache / name).read_bytes() == contents[name]


@pytest.mark.parametrize("failure", FAILURES)
def test_second_mirror(mirrors, contents, failure):
    mirrors[0].fail(failure)
    bunch = fetch_fashion_mnist(n_retries=0)
    assert idx(bunch.images) == contents["train-images-idx3-ubyte"]
    assert mirrors[1].requests == ["/train-images-idx3-ubyte.gz"]


@pytest.mark.parametrize("failure", FAILURES)
def test_retry_then_success(mirrors, contents, failure):
    for mirror in mirrors:
        mirror.fail(failure, times=2)
    with pytest.warns(UserWarning, match="Retrying the download of train-im") as record:
        bunch = fetch_fashion_mnist(n_retries=2, delay=0)
    assert [warning.filename for warning in record] == [__file__] * 2
    assert idx(bunch.images) == contents["train-images-idx3-ubyte"]
    assert len(mirrors[0].requests) == 4
    assert len(mirrors[1].requests) == 2


@pytest.mark.parametrize("failure", FAILURES)
@pytest.mark.parametrize("name", ["train-images-idx3-ubyte", "train-labels-idx1-ubyte"])
def test_failed_download_leaves_no_part(mirrors, contents, cache, failure, name):
    for mirror in mirrors:
        mirror.fail(failure, times=2, name=name)
    with (
        pytest.warns(UserWarning, match="Retrying"),
        pytest.raises(OSError, match="Fashion-MNIST could not be") as caught,
    ):
        fetch_fashion_mnist(n_retries=1, delay=0)
    for mirror in mirrors:
        assert f"{mirror.url}/{name}.gz: " in str(caught.value)
    assert "FASHION_MNIST_DIR" in str(caught.value)
    # The images come first, and stay where only the labels failed.
    assert names(cache) == [
        file for file in ["train-images-idx3-ubyte"] if name != file
    ]
    for path in cache.iterdir():
        assert path.read_bytes() == contents[path.name]


def test_delay_between_retries(mirrors, monkeypatch):
    slept = []
    monkeypatch.setattr("time.sleep", slept.append)
    for mirror in mirrors:
        mirror.fail(not_found, times=3)
    with pytest.warns(UserWarning, match="Retrying"):
        fetch_fashion_mnist(n_retries=3, delay=0.25)
    assert slept == [0.25, 0.5, 1.0]


def test_network_timeout_is_set(mirrors, monkeypatch):
    timeouts = []

    def urlopen(opener, url, timeout):
        timeouts.append(timeout)
        raise TimeoutError("timed out")

    monkeypatch.setattr(urllib.request.OpenerDirector, "open", urlopen)
    with pytest.raises(OSError, match="timed out"):
        fetch_fashion_mnist(n_retries=0)
    assert timeouts == [_sources.TIMEOUT] * 2


class HostileMirror:
    """A server that answers with one piece of bytes, and then another, for ever."""

    def __init__(self, first, again, pause=0.0):
        self.first, self.again, self.pause = first, again, pause
        self.server = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.server.getsockname()[1]}"
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        with suppress(OSError):  # closed, by either side
            while True:
                connection, _ = self.server.accept()
                with connection, suppress(OSError):
                    connection.recv(10_000)
                    connection.sendall(self.first)
                    while True:
                        connection.sendall(self.again)
                        time.sleep(self.pause)


OK = b"HTTP/1.1 200 OK\r\nConnection: close\r\n"
EMPTY_MEMBERS = gzip.compress(b"") * 1000
HOSTILE = {
    "100 Continue": (b"", b"HTTP/1.1 100 Continue\r\n\r\n", 0.01),
    "headers that drip": (b"HTTP/1.1 200 OK\r\nA: ", b"a", 0.05),
    "a body that drips": (OK + b"\r\n" + gzip.compress(b"")[:10], b"", 0.05),
    "empty members": (OK + b"\r\n", EMPTY_MEMBERS, 0.0),
    "padding": (OK + b"\r\n" + gzip.compress(b""), bytes(10_000), 0.0),
    "a negative chunk": (
        OK + b"Transfer-Encoding: chunked\r\n\r\n-1\r\n",
        EMPTY_MEMBERS,
        0.0,
    ),
    "chunks that drip": (
        OK + b"Transfer-Encoding: chunked\r\n\r\n",
        b"1;" + b"x" * 100 + b"\r\n\x1f\r\n",
        0.05,
    ),
    "silence": (b"", b"", 0.05),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_no_server_keeps_a_fetch_for_ever(contents, mirrors, monkeypatch, name):
    hostile = HostileMirror(*HOSTILE[name])
    monkeypatch.setattr(_sources, "MIRRORS", (hostile.url, mirrors[0].url))
    monkeypatch.setattr(_sources, "DEADLINE", 0.4)
    bunch = fetch_fashion_mnist(n_retries=0)
    hostile.server.close()
    assert bunch.source == mirrors[0].url
    assert idx(bunch.images) == contents["train-images-idx3-ubyte"]


def test_there_is_a_deadline_for_all_attempts(mirrors, monkeypatch):
    monkeypatch.setattr(_sources, "TOTAL_DEADLINE", -1)
    with (
        pytest.warns(UserWarning, match="Retrying"),
        pytest.raises(OSError, match="No time was left"),
    ):
        fetch_fashion_mnist(n_retries=1, delay=0)
    assert not mirrors[0].requests


def test_https_is_not_redirected_to_http():
    handler = _download._KeepsHttps()
    request = urllib.request.Request("https://example.org/a")
    for target in ("http://example.org/a", "ftp://example.org/a", "HTTP://x/a"):
        with pytest.raises(OSError, match="from https to"):
            handler.redirect_request(request, None, 302, "", {}, target)
    to = "https://example.org/b"
    assert handler.redirect_request(request, None, 302, "", {}, to).full_url == to


def test_http_after_https_is_told(mirrors, monkeypatch):
    nowhere = "https://127.0.0.1:9"
    monkeypatch.setattr(_sources, "MIRRORS", (nowhere, mirrors[0].url))
    with pytest.warns(UserWarning, match="could not be had over https .*127") as record:
        assert fetch_fashion_mnist(n_retries=0).source == mirrors[0].url
    assert {warning.filename for warning in record} == {__file__}


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


def test_no_download_unless_allowed(mirrors, home):
    with pytest.raises(OSError, match="`download_if_missing` is False"):
        fetch_fashion_mnist(download_if_missing=False)
    assert not mirrors[0].requests
    assert not home.exists()


def corrupt(content):
    return content[:-1] + bytes([content[-1] ^ 1])


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


# IDX


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "bad is not an IDX file"),
        (b"\0\0\x08", "bad is not an IDX file"),
        (b"\0\0\x09\x01\0\0\0\x01x", "bad is not an IDX file"),
        (b"\0\0\x08\x02\0\0\0\x01", "bad is not an IDX file"),
        (b"\0\0\x08\x01\0\0\0\x02x", r"bad has 1 bytes of data for shape \[2\]"),
        (b"\0\0\x08\x01\0\0\0\x02xyz", r"bad has 3 bytes of data for shape \[2\]"),
    ],
)
def test_idx_errors(content, message):
    with pytest.raises(ValueError, match=message):
        _parse_idx(content, "bad")


# The sample


@pytest.mark.parametrize(("subset", "n"), [("train", 600), ("test", 100)], ids=str)
def test_sample_is_stratified(subset, n):
    sample = load_fashion_mnist_sample(subset=subset)
    assert np.bincount(sample.target).tolist() == [n] * 10
    assert sample.data.shape == (10 * n, 784)
    assert sample.data.dtype == np.uint8
    assert sample.images.shape == (10 * n, 28, 28)
    assert sample.source == "bundled sample"
    # Not sorted by class: leading rows serve as a validation part.
    assert len(np.unique(sample.target[:n])) == 10


def test_sample_all_has_train_rows_first():
    train, test, both = (
        load_fashion_mnist_sample(subset=subset) for subset in ("train", "test", "all")
    )
    np.testing.assert_array_equal(both.data, np.vstack([train.data, test.data]))
    np.testing.assert_array_equal(both.target, np.hstack([train.target, test.target]))


def test_damaged_sample(monkeypatch, tmp_path):
    content = (_sample.DATA / _sample.SAMPLE).read_bytes()
    (tmp_path / _sample.SAMPLE).write_bytes(corrupt(content))
    monkeypatch.setattr(_sample, "DATA", tmp_path)
    with pytest.raises(OSError, match=r"npz is damaged: .* Reinstall fmnist-sklearn"):
        load_fashion_mnist_sample()


def test_sample_ships_with_its_licence():
    text = (_sample.DATA / "LICENSE").read_text(encoding="utf-8")
    assert "Copyright © 2017 Zalando SE, https://tech.zalando.com" in text
    assert "The MIT License" in text


# The full data


@needs_full_data
def test_full_data():
    bunch = fetch_fashion_mnist(subset="all", download_if_missing=False)
    assert bunch.source == FULL_DATA
    assert bunch.data.shape == (70_000, 784)
    assert np.bincount(bunch.target[:60_000]).tolist() == [6_000] * 10
    assert np.bincount(bunch.target[60_000:]).tolist() == [1_000] * 10


@needs_full_data
def test_sample_is_what_its_script_draws():
    from fmnist_sklearn.datasets._make_sample import sample_arrays

    drawn = sample_arrays()
    for subset in ("train", "test"):
        sample = load_fashion_mnist_sample(subset=subset)
        np.testing.assert_array_equal(sample.images, drawn[f"X_{subset}"])
        np.testing.assert_array_equal(sample.target, drawn[f"y_{subset}"])


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
