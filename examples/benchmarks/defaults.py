"""Time the estimators as they come, ``LeNet5Classifier().fit(X, y)``, on all images.

The 60,000 training images are fitted, a tenth of which the estimator keeps to stop by,
and the 10,000 test images are scored once. A line a fit goes to ``docs/defaults.csv``,
which is written again. Nothing else should run meanwhile::

    python examples/benchmarks/defaults.py --seeds 0 1 2
"""

from __future__ import annotations

import argparse

from contenders import ESTIMATORS, parse_arguments, stopwatch
from records import DEFAULTS, MODEL_NAMES, write_rows

from fmnist_sklearn import fetch_fashion_mnist


def main() -> None:
    """Fit both estimators with each seed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    arguments = parse_arguments(parser)
    X, y = fetch_fashion_mnist(return_X_y=True)
    X_test, y_test = fetch_fashion_mnist(subset="test", return_X_y=True)
    rows = []
    for model in sorted(ESTIMATORS):
        for seed in arguments.seeds:
            estimator = ESTIMATORS[model](random_state=seed)
            seconds = stopwatch(lambda estimator=estimator: estimator.fit(X, y))
            row = {
                "estimator": f"{MODEL_NAMES[model]}Classifier()",
                "seed": seed,
                "threads": arguments.threads,
                "epochs": len(estimator.history_),
                "seconds": round(seconds),
                "test accuracy": f"{estimator.score(X_test, y_test):.4f}",
            }
            print(row, flush=True)
            rows.append(row)
    write_rows(DEFAULTS, rows)


if __name__ == "__main__":
    main()
