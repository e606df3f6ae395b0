"""What the comparisons share: the hand-written networks, and timing in turn."""

from __future__ import annotations

import argparse
import multiprocessing
import os
import time
from collections.abc import Callable, Mapping
from multiprocessing.connection import Connection

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from fmnist_sklearn.benchmark import describe_hardware, describe_versions
from fmnist_sklearn.models import MODELS


def plain_lenet5() -> nn.Module:
    """Build the network of ``LeNet5`` from PyTorch's own layers, in textbook order."""
    return nn.Sequential(
        nn.Conv2d(1, 6, 5, padding=2),
        nn.BatchNorm2d(6),
        nn.ELU(),
        nn.MaxPool2d(2),
        nn.Conv2d(6, 16, 5),
        nn.BatchNorm2d(16),
        nn.ELU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(400, 120),
        nn.ELU(),
        nn.Dropout(0.15),
        nn.Linear(120, 84),
        nn.ELU(),
        nn.Dropout(0.15),
        nn.Linear(84, 10),
    )


def plain_mini_vgg() -> nn.Module:
    """Build the network of ``MiniVGG`` from PyTorch's own layers, in textbook order."""
    return nn.Sequential(
        nn.Conv2d(1, 32, 3, padding=3),
        nn.ReLU(),
        nn.Conv2d(32, 32, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(32, 64, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(64, 64, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(4096, 512),
        nn.ReLU(),
        nn.Dropout(0.1),
        nn.Linear(512, 10),
    )


ESTIMATORS = {name.lower(): model.cls for name, model in MODELS.items()}
PLAIN_NETWORKS = {"lenet5": plain_lenet5, "minivgg": plain_mini_vgg}
# Settings of the estimators that leave out what the plain loop does not do either.
AS_PLAIN = {
    "optimizer": torch.optim.Adam,
    "lr_schedule": None,
    "augment": None,
    "label_smoothing": 0,
    "ema_decay": None,
}
AVERAGED = {**AS_PLAIN, "label_smoothing": 0.05, "ema_decay": 0.999}


def scaled(images: np.ndarray) -> Tensor:
    """Scale uint8 rows to [-1, 1] float32 images of shape (n, 1, 28, 28)."""
    pixels = torch.from_numpy(images).view(-1, 1, 28, 28)
    return pixels.float().div_(127.5).sub_(1)


def plain_epoch(
    network: Callable[[Tensor], Tensor],
    optimizer: torch.optim.Optimizer,
    images: Tensor,
    labels: Tensor,
    batch_size: int,
    schedule: torch.optim.lr_scheduler.LRScheduler | None = None,
) -> None:
    """Train for an epoch by hand: shuffled once, then contiguous slices."""
    order = torch.randperm(len(images))
    x, t = images[order], labels[order]
    for start in range(0, len(x), batch_size):
        rows = slice(start, start + batch_size)
        optimizer.zero_grad()
        cross_entropy(network(x[rows]), t[rows]).backward()
        optimizer.step()
        if schedule is not None:
            schedule.step()


# A contender prepares its job once, in its own process, and the job is then timed again
# and again. A contender whose library is missing returns None.
Job = Callable[[], float]
Contender = Callable[[], Job | None]


def time_in_turn(
    contenders: Mapping[str, Contender], rounds: int, threads: int
) -> dict[str, list[float]]:
    """Run every contender once to warm up, then all of them in turn, several times.

    Each has a process of its own, so that no contender inherits memory or threads of
    another: a loop in a process with one of our fits would run faster than alone,
    because a fit makes the C library keep freed memory. While one runs, the others
    wait.

    Parameters
    ----------
    contenders : mapping of str to callable
        Called once, in its process; returns a job that runs and returns the seconds
        that count. Must be picklable.
    rounds : int
        How often each is timed.
    threads : int
        Threads, and on Linux processors, that each may use.

    Returns
    -------
    dict of str to list of float
        Seconds of each round, for each contender that is installed.
    """
    os.environ["OMP_NUM_THREADS"] = str(threads)
    workers: dict[str, Connection] = {}
    for name, contender in contenders.items():
        worker = _start(contender, threads)
        if worker.recv():
            workers[name] = worker
        else:
            print(f"{name}: not installed, skipped", flush=True)
    seconds: dict[str, list[float]] = {name: [] for name in workers}
    for _ in range(rounds):
        for name, worker in workers.items():
            worker.send(True)
            seconds[name].append(worker.recv())
    for worker in workers.values():
        worker.close()  # which ends its process
    return seconds


def _start(contender: Contender, threads: int) -> Connection:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(
        target=_serve, args=(theirs, contender, threads), daemon=True
    )
    process.start()
    theirs.close()
    return ours


def _serve(connection: Connection, contender: Contender, threads: int) -> None:
    """Report whether there is a job, after a first run; then run it on request."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])
    torch.set_num_threads(threads)
    job = contender()
    if job is not None:
        job()
    connection.send(job is not None)
    try:
        while job is not None and connection.recv():
            connection.send(job())
    except EOFError:
        return


def stopwatch(job: Callable[[], object]) -> float:
    """Return the seconds that a job takes."""
    start = time.perf_counter()
    job()
    return time.perf_counter() - start


def print_machine() -> None:
    """Print the hardware and the versions to which the figures belong."""
    hardware, versions = describe_hardware(), describe_versions()
    print(", ".join(f"{key}: {value}" for key, value in hardware.items() if value))
    print(", ".join(f"{name} {number}" for name, number in versions.items()))


def parse_arguments(parser: argparse.ArgumentParser) -> argparse.Namespace:
    """Parse the command line with ``--threads`` added; print the machine."""
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    print_machine()
    return arguments
