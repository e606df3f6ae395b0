"""Kill processes in the middle of writing, and look at what they leave.

Children save a model, fetch the data and write a benchmark, over and over, and each
is killed at a random moment (SIGKILL). The old file or the new one must be there,
whole, and the next write must leave no temporary file behind::

    python examples/benchmarks/killed_saves.py --rounds 100
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import itertools
import os
import random
import signal
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import torch

from fmnist_sklearn import LeNet5Classifier, load_model, run_benchmark, save_model
from fmnist_sklearn.datasets import _sources

torch.set_num_threads(1)
warnings.simplefilter("ignore")

# A function that writes once, a function that finds the faults of what lies there, and
# the longest time to wait for the end of a child.
Job = tuple[Callable[[], object], Callable[[], list[str]], float]


def save_job(folder: Path) -> Iterator[Job]:
    """Save two nets in turn under one name."""
    X = np.random.default_rng(0).integers(0, 256, (12, 64), dtype=np.uint8)
    # Weights of some megabytes take long enough to be killed in.
    wide = {"module__hidden_units": (3000, 300)}
    nets = [
        LeNet5Classifier(max_epochs=1, patience=None, random_state=seed, **wide).fit(
            X, np.arange(12) % 2
        )
        for seed in range(2)
    ]
    path, turns = folder / "net", itertools.cycle(nets)
    whole = set()
    for net in nets:
        save_model(net, path)
        whole.add(path.read_bytes())

    def faults() -> list[str]:
        load_model(path)
        return [] if path.read_bytes() in whole else ["neither the old net nor the new"]

    yield lambda: save_model(next(turns), path), faults, 0.3


def fetch_job(folder: Path) -> Iterator[Job]:
    """Fetch two files from a server in this process, the cache emptied before."""
    contents = {
        f"file-{i}": np.random.default_rng(i).bytes(2 * 10**6) for i in range(2)
    }
    wanted = [
        _sources.IdxFile(name, len(content), hashlib.sha256(content).hexdigest())
        for name, content in contents.items()
    ]
    packed = {f"/{name}.gz": gzip.compress(c, 1) for name, c in contents.items()}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            """Send a file."""
            self.send_response(200)
            self.end_headers()
            self.wfile.write(packed[self.path])

        def log_message(self, *args: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.handle_error = lambda *args: None  # type: ignore[method-assign]
    threading.Thread(target=server.serve_forever, daemon=True).start()
    os.environ["no_proxy"] = "127.0.0.1"
    _sources.MIRRORS = (f"http://127.0.0.1:{server.server_port}",)
    _sources.SYSTEM_FOLDER = folder / "nowhere"
    os.environ.pop("FASHION_MNIST_DIR", None)
    cache = folder / "fashion_mnist"

    def fetch() -> None:
        for name in contents:
            (cache / name).unlink(missing_ok=True)
        _sources.read_files(wanted, folder, True, 0, 0.0)

    def faults() -> list[str]:
        return [
            f"{name} is not what was sent"
            for name, content in contents.items()
            if (cache / name).exists() and (cache / name).read_bytes() != content
        ]

    fetch()
    yield fetch, faults, 0.3
    server.shutdown()


def benchmark_job(folder: Path) -> Iterator[Job]:
    """Write the table and figures of one small benchmark again and again."""
    out = folder / "results"
    result = run_benchmark(
        data="sample", models=["LeNet5"], batch_size=[128], recipe="fast", out=out
    )
    result.write(out)

    def faults() -> list[str]:
        empty = [path.name for path in result.paths if not path.stat().st_size]
        endings = {".json": "}", ".svg": "</svg>", ".csv": ""}
        cut = [
            path.name
            for path in result.paths
            if path.suffix in endings
            and not path.read_text("utf-8").rstrip().endswith(endings[path.suffix])
        ]
        return [f"{name} is not whole" for name in empty + cut]

    yield lambda: result.write(out), faults, 2.0


JOBS = {"save": save_job, "fetch": fetch_job, "benchmark": benchmark_job}


def kill_once(write: Callable[[], object], seconds: float) -> None:
    """Let a child write until it is killed."""
    child = os.fork()
    if child == 0:
        while True:
            write()
    time.sleep(seconds)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)


def attack(name: str, rounds: int, seed: int) -> list[str]:
    """Kill so many children of a job; return what went wrong."""
    rng, failures, left = random.Random(seed), [], 0
    with tempfile.TemporaryDirectory() as text:
        folder = Path(text)
        for write, faults, longest in JOBS[name](folder):
            for _ in range(rounds):
                kill_once(write, rng.uniform(0, longest))
                failures += faults()
                left += bool(list(folder.rglob(".*.tmp")))
                write()
                after = [path.name for path in folder.rglob(".*.tmp")]
                failures += [f"{name} stays" for name in after] + faults()
    print(f"{name}: {rounds} killed, {left} left a part, {len(failures)} failures")
    return failures


def main() -> int:
    """Parse the command line, kill, and tell what was left."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--jobs", nargs="+", choices=JOBS, default=list(JOBS))
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    failures = []
    for name in arguments.jobs:
        failures += attack(name, arguments.rounds, arguments.seed)
    for failure in failures[:20]:
        print(failure)
    return bool(failures)


if __name__ == "__main__":
    sys.exit(main())
