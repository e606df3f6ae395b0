"""What the speed comparisons share: the hand-written networks, and timing in turn."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from fmnist_sklearn import LeNet5Classifier, MiniVGGClassifier
from fmnist_sklearn.environment import describe_hardware, describe_versions


def plain_lenet5(hidden_units: tuple[int, int] = (120, 84)) -> nn.Module:
    """Build the network of ``LeNet5`` from PyTorch's own layers, in textbook order."""
    first, second = hidden_units
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
        nn.Linear(400, first),
        nn.ELU(),
        nn.Dropout(0.5),
        nn.Linear(first, second),
        nn.ELU(),
        nn.Dropout(0.5),
        nn.Linear(second, 10),
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
        nn.Linear(512, 10),
    )


ESTIMATORS = {"lenet5": LeNet5Classifier, "minivgg": MiniVGGClassifier}
PLAIN_NETWORKS = {"lenet5": plain_lenet5, "minivgg": plain_mini_vgg}


def scaled(images: np.ndarray) -> Tensor:
    """Scale uint8 rows to [-1, 1] float32 images of shape (n, 1, 28, 28)."""
    pixels = torch.from_numpy(images).view(-1, 1, 28, 28)
    return pixels.float().div_(127.5).sub_(1)


def plain_epoch(
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    images: Tensor,
    labels: Tensor,
    batch_size: int,
) -> None:
    """Train for an epoch by hand: shuffled once, then contiguous slices."""
    order = torch.randperm(len(images))
    x, t = images[order], labels[order]
    for start in range(0, len(x), batch_size):
        rows = slice(start, start + batch_size)
        optimizer.zero_grad()
        cross_entropy(network(x[rows]), t[rows]).backward()
        optimizer.step()


def time_in_turn(
    contenders: Mapping[str, Callable[[], float]], rounds: int
) -> dict[str, list[float]]:
    """Run every contender once to warm up, then all of them in turn, several times.

    Parameters
    ----------
    contenders : mapping of str to callable
        Each runs its job once and returns the seconds that count.
    rounds : int
        How often each is timed.

    Returns
    -------
    dict of str to list of float
        Seconds of each round.
    """
    for run in contenders.values():
        run()
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, run in contenders.items():
            seconds[name].append(run())
    return seconds


def stopwatch(job: Callable[[], object]) -> float:
    """Return the seconds that a job takes."""
    start = time.perf_counter()
    job()
    return time.perf_counter() - start


def print_rates(
    title: str, seconds: Mapping[str, list[float]], n_rows: int, baseline: str
) -> None:
    """Print rows a second (median and range) and the ratio to the baseline."""
    reference = statistics.median(seconds[baseline])
    print(f"\n{title}")
    print(f"{'contender':<44} {'rows/s':>9} {'min':>9} {'max':>9} {'ratio':>6}")
    for name, times in seconds.items():
        median = statistics.median(times)
        low, high = n_rows / max(times), n_rows / min(times)
        print(
            f"{name:<44} {n_rows / median:>9,.0f} {low:>9,.0f} {high:>9,.0f} "
            f"{reference / median:>6.2f}"
        )


def print_machine() -> None:
    """Print the hardware and the versions that the figures belong to."""
    hardware, versions = describe_hardware(), describe_versions()
    print(", ".join(f"{key}: {value}" for key, value in hardware.items() if value))
    print(", ".join(f"{name} {number}" for name, number in versions.items()))
