"""Compare a race with the grid: the winner's score, and the time.

    python examples/benchmarks/racing.py [--rows N] [--seeds SEED ...]

24 candidates of LeNet5 in 3 folds, at its defaults otherwise. Both searches use one
cache (``fits``), so that the race trains its short fits only; the times are those of
all trainings that a search needs, whenever they ran. "behind": how much lower the
race's winner is in the grid. Each seed of the rows is a row of ``docs/racing.csv``;
those that are there are skipped.
"""

import argparse
import warnings

import numpy as np
from contenders import parse_arguments
from records import RACING, add_row, is_recorded
from sklearn.model_selection import GridSearchCV, train_test_split

from fmnist_sklearn import LeNet5Classifier, RacingSearchCV, fetch_fashion_mnist

GRID = {"lr": [1e-3, 3e-3, 1e-2, 3e-2], "batch_size": [64, 128, 256]}
GRID["dropout"] = [0.0, 0.3]


def main():
    """Run both searches for each seed of the data."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=12_000)
    parser.add_argument("--seeds", type=int, nargs="+", default=range(10))
    arguments = parse_arguments(parser)
    warnings.simplefilter("ignore")
    X, y = fetch_fashion_mnist(return_X_y=True)
    for seed in arguments.seeds:
        key = {"rows": arguments.rows, "seed": seed}
        if is_recorded(RACING, key):
            continue
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
        grid, race = searches
        scores = grid.cv_results_["mean_test_score"]
        row = {
            "best": round(np.max(scores), 4),
            "behind": round(np.max(scores) - scores[race.best_index_], 4),
            "grid_seconds": round(times[0]),
            "race_seconds": round(times[1]),
        }
        counts = enumerate(np.bincount(race.n_folds_, minlength=4))
        add_row(RACING, key | row | {f"folds_{n}": count for n, count in counts})


if __name__ == "__main__":
    main()
