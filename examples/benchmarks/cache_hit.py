"""What it costs to read a fit back from ``memory``, beside training it.

    python examples/benchmarks/cache_hit.py [--model lenet5]

Fits 60,000 images with the defaults but one epoch, and again three times, when it is
read back. The whole call is timed, with checking and hashing the images and the split,
and the median printed. The share is that of the *shortest* fit there can be, one epoch;
the defaults stop after several times as many, of which the hit is so much less.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
import warnings
from typing import Any

from contenders import ESTIMATORS, print_machine

from fmnist_sklearn import FitCache, fetch_fashion_mnist


def time_fit(estimator: Any, X: Any, y: Any) -> float:
    """Return the seconds that a call of ``fit`` takes."""
    start = time.perf_counter()
    estimator.fit(X, y)
    return time.perf_counter() - start


def main() -> None:
    """Parse the command line, and print the times."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", choices=sorted(ESTIMATORS), default="lenet5")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    print_machine()
    X, y = fetch_fashion_mnist(return_X_y=True)
    make = ESTIMATORS[arguments.model]
    with tempfile.TemporaryDirectory() as folder:
        # What the first call in a process does once is in neither time.
        make(max_epochs=1, random_state=0, memory=folder).fit(X[:1000], y[:1000])
        estimator = make(max_epochs=1, random_state=1, memory=folder)
        trained = time_fit(estimator, X, y)
        training_alone = estimator.fit_time_
        read = [time_fit(estimator, X, y) for _ in range(3)]
        assert estimator.fit_time_ == training_alone
        size = FitCache(folder).entries()[-1].n_bytes
    hit = statistics.median(read)
    n_epochs = make().max_epochs
    print(
        f"one epoch of {len(X):,} images: {trained:.2f} s, of which training "
        f"{training_alone:.2f} s\n"
        f"read back: {hit:.3f} s ({min(read):.3f} to {max(read):.3f}), "
        f"{hit / trained:.1%} of one epoch, {hit / (n_epochs * trained):.2%} of the "
        f"{n_epochs} that the defaults may train\n"
        f"size of the entry: {size / 1e6:.1f} MB"
    )


if __name__ == "__main__":
    main()
