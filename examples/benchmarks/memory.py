"""Measure what fitting and predicting add to the memory of the process.

The peak of the resident memory is compared with its state after imports and loading
(Linux only)::

    python examples/benchmarks/memory.py fit --model lenet5
    python examples/benchmarks/memory.py predict --rows 600000
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from contenders import ESTIMATORS, print_machine

from fmnist_sklearn import fetch_fashion_mnist


def resident_mb(field: str) -> float:
    """Return the resident memory in MB: "VmRSS" is now, "VmHWM" the peak so far."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field):
            return int(line.split()[1]) * 1024 / 1e6
    raise OSError(f"/proc/self/status has no {field}")


def main() -> None:
    """Parse the command line and print the additional memory."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("job", choices=["fit", "predict"])
    parser.add_argument("--model", choices=sorted(ESTIMATORS), default="lenet5")
    parser.add_argument("--rows", type=int, default=60_000)
    arguments = parser.parse_args()
    print_machine()
    X, y = fetch_fashion_mnist(return_X_y=True)
    estimator = ESTIMATORS[arguments.model](max_epochs=1, patience=None)
    if arguments.job == "fit":
        X, y = X[: arguments.rows], y[: arguments.rows]
        before = resident_mb("VmRSS")
        estimator.fit(X, y)
        in_and_out = 0.0
    else:
        estimator.fit(X[:1000], y[:1000])
        rows = np.empty((arguments.rows, X.shape[1]), dtype=X.dtype)
        for start in range(0, len(rows), len(X)):
            rows[start : start + len(X)] = X[: len(rows) - start]
        X = rows
        before = resident_mb("VmRSS")
        in_and_out = estimator.predict_proba(X).nbytes / 1e6  # the input is there
    added = resident_mb("VmHWM") - before - in_and_out
    print(f"{arguments.job} of {len(X):,} uint8 images adds {added:.0f} MB")


if __name__ == "__main__":
    main()
