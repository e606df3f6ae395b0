"""Compare a race with the grid: the winner's score, and the time.

    python examples/benchmarks/racing.py [--rows N] [--seeds N]

24 candidates of LeNet5 in 3 folds, at its defaults otherwise. Both searches use one
cache (``fits``), so that the race trains its short fits only; the times are those of
all trainings that a search needs. "behind": how much lower the race's winner is in the
grid.
"""

import argparse
import warnings

import numpy as np
from contenders import parse_arguments
from sklearn.model_selection import GridSearchCV, train_test_split

from fmnist_sklearn import LeNet5Classifier, RacingSearchCV, fetch_fashion_mnist

GRID = {"lr": [3e-4, 1e-3, 3e-3, 1e-2], "batch_size": [32, 64, 128]}
GRID["dropout"] = [0.0, 0.3]


def main():
    """Run both searches for each seed of the data, and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=12_000)
    parser.add_argument("--seeds", type=int, default=3)
    arguments = parse_arguments(parser)
    warnings.simplefilter("ignore")
    X, y = fetch_fashion_mnist(return_X_y=True)
    for seed in range(arguments.seeds):
        rows = {"train_size": arguments.rows, "stratify": y, "random_state": seed}
        X_some, _, y_some, _ = train_test_split(X, y, **rows)
        net = LeNet5Classifier(memory="fits", random_state=0)
        times, searches = [], []
        for kind in (GridSearchCV, RacingSearchCV):
            seconds = []

            def score(net, X, y, seconds=seconds):
                seconds.append(net.fit_time_)
                return net.score(X, y)

            search = kind(net, GRID, cv=3, scoring=score).fit(X_some, y_some)
            times.append(sum(seconds) + search.best_estimator_.fit_time_)
            searches.append(search)
        scores = searches[0].cv_results_["mean_test_score"]
        behind = np.max(scores) - scores[searches[1].best_index_]
        n_folds = np.bincount(searches[1].n_folds_, minlength=4)
        print(
            f"seed {seed}: behind {behind:.4f}, time {times[1] / times[0]:.2f}, "
            f"candidates of 0 to 3 folds {n_folds}",
            flush=True,
        )


if __name__ == "__main__":
    main()
