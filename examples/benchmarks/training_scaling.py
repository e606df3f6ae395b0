"""Measure how the time of an epoch grows with the number of rows.

Fits of 6,000 to 48,000 rows run in turn, and the second epoch of each is timed, as the
history has it; the seconds of each round go to ``docs/training_scaling.csv``, in place
of those of the same networks. Nothing else should run meanwhile::

    python examples/benchmarks/training_scaling.py
"""

from __future__ import annotations

import argparse

import torch
from contenders import ESTIMATORS, print_machine
from records import replace_rows
from speed_records import SCALING, scaling_table

from fmnist_sklearn import fetch_fashion_mnist

ROWS = (6_000, 12_000, 24_000, 48_000)


def seconds_of_an_epoch(model: str, X, y) -> float:
    """Fit two epochs without validation and time the second."""
    net = ESTIMATORS[model](max_epochs=2, batch_size=64, validation_fraction=0)
    return net.fit(X, y).history_[-1]["dur"]


def main() -> None:
    """Time all sizes in turn, after one fit to warm up."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", nargs="+", default=sorted(ESTIMATORS))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    X, y = fetch_fashion_mnist(return_X_y=True)
    print_machine()
    rows = []
    for model in arguments.models:
        seconds_of_an_epoch(model, X[: ROWS[0]], y[: ROWS[0]])
        for number in range(arguments.rounds):
            for n in ROWS:
                rows.append(
                    {
                        "model": model,
                        "rows": n,
                        "round": number,
                        "threads": arguments.threads,
                        "seconds": round(seconds_of_an_epoch(model, X[:n], y[:n]), 3),
                    }
                )
    replace_rows(SCALING, "model", rows)
    print(scaling_table().to_string(index=False))


if __name__ == "__main__":
    main()
