"""What ``ImageClassifier`` costs over a bare loop with the same network of one's own.

A plain module is trained in turn by ``fit``, whose clock includes the checks of the
input and the set-up, and by a loop over the same rows with the same scaling of pixels,
batches and optimizer. The ratio is the median of the rounds'::

    python examples/benchmarks/own_network.py --model lenet5
    python examples/benchmarks/own_network.py --model minivgg --rows 4800
"""

from __future__ import annotations

import argparse
from functools import partial
from statistics import median

import numpy as np
import torch
from contenders import (
    AS_PLAIN,
    PLAIN_NETWORKS,
    Job,
    parse_arguments,
    plain_epoch,
    stopwatch,
    time_in_turn,
)
from torch import nn

from fmnist_sklearn import ImageClassifier, fetch_fashion_mnist
from fmnist_sklearn.training.device import freed_memory_kept

MOST = 1.05


class PlainNetwork(nn.Module):
    """One of the hand-written networks, as a class."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.layers = PLAIN_NETWORKS[name]()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Compute logits of scaled images."""
        return self.layers(x)


def load(n_rows: int) -> tuple[np.ndarray, np.ndarray]:
    """Return uint8 rows and int64 labels."""
    X, y = fetch_fashion_mnist(return_X_y=True)
    return X[:n_rows], y[:n_rows].astype(np.int64)


def estimator(name: str, batch_size: int) -> ImageClassifier:
    """Make an estimator that trains as the loop does."""
    return ImageClassifier(
        module=PlainNetwork,
        module__name=name,
        max_epochs=1,
        validation_fraction=0,
        batch_size=batch_size,
        device="cpu",
        **AS_PLAIN,
    )


def fitted(name: str, batch_size: int, n_rows: int) -> Job:
    """Fit the estimator."""
    X, y = load(n_rows)
    return lambda: stopwatch(lambda: estimator(name, batch_size).fit(X, y))


def looped(name: str, batch_size: int, n_rows: int) -> Job:
    """Train a network such as the estimator builds by hand."""
    X, y = load(n_rows)
    images, labels = torch.from_numpy(X).view(-1, 1, 28, 28), torch.from_numpy(y)
    network = estimator(name, batch_size).fit(X[:64], y[:64]).module_.train()

    def run() -> float:
        optimizer = torch.optim.Adam(network.parameters(), lr=1e-3, fused=True)
        with freed_memory_kept():
            return stopwatch(
                lambda: plain_epoch(network, optimizer, images, labels, batch_size)
            )

    return run


def main() -> None:
    """Parse the command line and print the comparison."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", choices=sorted(PLAIN_NETWORKS), default="lenet5")
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--rows", type=int, default=19200)
    parser.add_argument("--rounds", type=int, default=7)
    given = parse_arguments(parser)
    task = given.model, given.batch_size, given.rows
    contenders = {"fit": partial(fitted, *task), "loop": partial(looped, *task)}
    seconds = time_in_turn(contenders, given.rounds, given.threads)
    for name, rounds in seconds.items():
        print(f"{name:5} {given.rows / median(rounds):8.0f} images/s")
    pairs = zip(seconds["fit"], seconds["loop"], strict=True)
    ratio = median(fit / loop for fit, loop in pairs)
    print(f"fit takes {ratio:.3f} of the loop's time; at most {MOST} is the aim")


if __name__ == "__main__":
    main()
