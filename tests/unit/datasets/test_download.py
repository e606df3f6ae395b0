"""Downloads: from which server, how often, for how long."""

import gzip
import socket
import threading
import time
import urllib.request
from contextlib import suppress

import pytest

from fmnist_sklearn.datasets import _download, _sources, fetch_fashion_mnist

from .mirrors import FAILURES, not_found
from .tools import idx, names


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


def test_no_download_unless_allowed(mirrors, home):
    with pytest.raises(OSError, match="`download_if_missing` is False"):
        fetch_fashion_mnist(download_if_missing=False)
    assert not mirrors[0].requests
    assert not home.exists()
