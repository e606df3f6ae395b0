"""Time an epoch of the published protocol in a hand-written PyTorch loop.

The loop over resident float tensors is the strongest that one would write by hand. An
epoch trains on 48,000 images and validates on 12,000, with the published optimizer; the
whole training takes as many as ``accuracy.py --recipe published`` recorded. The seconds
go to ``docs/published_plain.csv``. Nothing else should run meanwhile::

    python examples/benchmarks/published_plain.py --rounds 3
"""

from __future__ import annotations

import argparse
import statistics

import torch
from contenders import (
    PLAIN_NETWORKS,
    plain_epoch,
    plain_lenet5,
    print_machine,
    scaled,
    stopwatch,
)
from records import PLAIN_SECONDS, write_rows
from torch.nn.functional import cross_entropy

from fmnist_sklearn import fetch_fashion_mnist

N_VALID = 12_000


def main() -> None:
    """Time the four rows, one after the other."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    X, y = fetch_fashion_mnist(return_X_y=True)
    images, labels = scaled(X), torch.from_numpy(y).long()
    networks = {
        "lenet5": lambda: plain_lenet5((128, 64)),
        "minivgg": PLAIN_NETWORKS["minivgg"],
    }
    print_machine()
    rows = []
    for model, build in networks.items():
        for batch_size in (64, 128):
            run = make_epoch(build(), images, labels, batch_size)
            run()
            times = [stopwatch(run) for _ in range(arguments.rounds)]
            row = {
                "model": model,
                "batch_size": batch_size,
                "threads": arguments.threads,
                "rounds": arguments.rounds,
                "seconds": round(statistics.median(times), 2),
                "shortest": round(min(times), 2),
                "longest": round(max(times), 2),
            }
            print(row, flush=True)
            rows.append(row)
    write_rows(PLAIN_SECONDS, rows)


def make_epoch(network, images, labels, batch_size):
    """Return a function that trains for one epoch and validates."""
    optimizer = torch.optim.SGD(
        network.parameters(), lr=0.001, momentum=0.9, nesterov=True, fused=True
    )
    x_valid, t_valid = images[:N_VALID], labels[:N_VALID]

    def epoch() -> None:
        network.train()
        plain_epoch(network, optimizer, images[N_VALID:], labels[N_VALID:], batch_size)
        network.eval()
        with torch.no_grad():
            for start in range(0, N_VALID, 1000):
                rows = slice(start, start + 1000)
                cross_entropy(network(x_valid[rows]), t_valid[rows])

    return epoch


if __name__ == "__main__":
    main()
