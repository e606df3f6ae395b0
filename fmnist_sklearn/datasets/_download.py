"""Reading from a web server that may be slow, broken or hostile, but not for ever."""

from __future__ import annotations

import io
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from threading import Timer
from typing import Any
from urllib.error import URLError
from urllib.request import (
    HTTPHandler,
    HTTPRedirectHandler,
    HTTPSHandler,
    build_opener,
)


class BoundedStream(io.RawIOBase):
    """A stream that ends in an error after so many bytes, or at a point in time.

    Parameters
    ----------
    response : file object
        What to read from.
    n_bytes : int
        The most that may come.
    deadline : float
        As ``time.monotonic`` counts.
    """

    def __init__(self, response: Any, n_bytes: int, deadline: float) -> None:
        self.response = response
        self.n_bytes = self.bytes_left = n_bytes
        self.deadline = deadline

    def readable(self) -> bool:
        """Whether it can be read: always."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Read what fits into a buffer."""
        # Not response.read, which a negative chunk size makes read all there is.
        n_read = self.response.readinto(buffer)
        self.bytes_left -= n_read
        if self.bytes_left < 0:
            raise ValueError(f"more than {self.n_bytes:,} bytes came")
        if time.monotonic() > self.deadline:
            raise TimeoutError("it took too long")
        return n_read


class _KeepsHttps(HTTPRedirectHandler):
    """Follows redirections, but not from https to http."""

    def redirect_request(
        self, req: Any, fp: Any, code: Any, msg: Any, headers: Any, newurl: str
    ) -> Any:
        if req.type == "https" and not newurl.lower().startswith("https:"):
            raise URLError(f"{req.full_url} redirects from https to {newurl[:200]!r}")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


class _Watched:
    """A handler of urllib that keeps the sockets of its connections."""

    def __init__(self, sockets: list[socket.socket]) -> None:
        super().__init__()
        self.sockets = sockets

    def do_open(self, http_class: Any, req: Any, **kwargs: Any) -> Any:
        def make(*args: Any, **kwargs: Any) -> Any:
            connection = http_class(*args, **kwargs)
            connect = connection.connect

            def connect_watched() -> None:
                connect()
                self.sockets.append(connection.sock)

            connection.connect = connect_watched
            return connection

        return super().do_open(make, req, **kwargs)  # type: ignore[misc]


class _WatchedHttp(_Watched, HTTPHandler):
    pass


class _WatchedHttps(_Watched, HTTPSHandler):
    pass


@contextmanager
def open_url(
    url: str, *, timeout: float, seconds: float, n_bytes: int
) -> Iterator[BoundedStream]:
    """Open a URL to read, for so long and so much.

    Parameters
    ----------
    url : str
        Of the scheme http or https; one of https is not redirected to http.
    timeout : float
        Seconds without a byte.
    seconds : float
        Seconds in all, those of the headers included.
    n_bytes : int
        The most that may come.

    Yields
    ------
    stream : BoundedStream
        The body.

    Raises
    ------
    OSError, ValueError, http.client.HTTPException
        If it cannot be had within these bounds.
    """
    sockets: list[socket.socket] = []
    expired = []

    def hang_up() -> None:
        expired.append(True)
        for each in sockets:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    # What the library reads by itself, such as one "100 Continue" after the other,
    # ends only if somebody hangs up.
    timer = Timer(seconds, hang_up)
    timer.daemon = True
    opener = build_opener(_WatchedHttp(sockets), _WatchedHttps(sockets), _KeepsHttps())
    deadline = time.monotonic() + seconds
    timer.start()
    try:
        with opener.open(url, timeout=min(timeout, seconds)) as response:
            yield BoundedStream(response, n_bytes, deadline)
    except Exception as error:
        if expired:
            raise TimeoutError(f"it took more than {seconds:.0f} s") from error
        raise
    finally:
        timer.cancel()
