"""A server of the files, and what may go wrong with its answers."""

import gzip
import threading
from collections import defaultdict
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


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
