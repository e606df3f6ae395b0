"""Small files in Fashion-MNIST's format, and servers that fail to send them."""

import gzip
import socket
import threading
import time
from collections import defaultdict
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

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


class Mirror:
    """A web server of the files, whose next answers a test can replace."""

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
        # A short poll interval, since shutdown waits for its end.
        serve = threading.Thread(target=self.server.serve_forever, args=[0.01])
        serve.start()

    def fail(self, answer, times=1, name="train-images-idx3-ubyte"):
        self.answers[f"/{name}.gz"] += [answer] * times


def whole(right):
    return 200, right, len(right)


def other(content):
    """Return an answer with other content, compressed."""
    body = gzip.compress(content)
    return 200, body, len(body)


# What a server sends instead of the right body: status, body and Content-Length.
FAILURES = {
    "not found": lambda right: (404, b"", 0),
    "cut in mid-body": lambda right: (200, right[: len(right) // 2], len(right)),
    "damaged gzip": lambda right: (200, right[:20] + bytes(20) + right[40:], None),
    "other content": lambda right: other(bytes(len(gzip.decompress(right)))),
    "web page": lambda right: (200, b"<html>Log in to this network</html>", None),
}


class HostileMirror:
    """A server that sends first one piece of bytes, and then another for ever."""

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
                    while not self.is_closed():
                        connection.sendall(self.again)
                        time.sleep(self.pause)

    def is_closed(self):
        return self.server.fileno() < 0


OK = b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n"
HOSTILE = {
    "a body without end": (OK, gzip.compress(b"") * 1000, 0.0),
    "silence": (b"", b"", 0.05),
}
