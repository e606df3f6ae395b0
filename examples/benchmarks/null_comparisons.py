"""How often tests find a difference between models of equal accuracy.

    python examples/benchmarks/null_comparisons.py [N]

N (2,000) times, nearest-centroid classifiers are trained on different columns of the
same normal distribution, so that none is better than another, and scored on the same
folds of 100 rows. Printed is the share of comparisons with p < 0.05, for the ordinary
paired t-test and for the corrected one; then how often the best of several such models
is called better than any other, with Holm's correction over the rows and, as
``compare_models`` does, over all pairs. The status is 1 unless, over random splits, the
corrected test stays within 0.05 +- 0.015 and the ordinary one exceeds 0.15.
"""

import sys
import warnings

import numpy as np
from scipy import stats
from sklearn.model_selection import KFold, RepeatedKFold, ShuffleSplit

from fmnist_sklearn.benchmark import corrected_t_test
from fmnist_sklearn.benchmark.compare import Scored, compare_rows

N_ROWS, N_COLUMNS, SHIFT, LEVEL = 100, 5, 0.3, 0.05
RANDOM = "15 random splits of 20 %"
# Splitter, and rows to train and to test on.
SPLITTERS = {
    RANDOM: (ShuffleSplit(15, test_size=0.2), 80, 20),
    "5 times 5 folds": (RepeatedKFold(n_splits=5, n_repeats=5), 80, 20),
    "5 folds": (KFold(5, shuffle=True), 80, 20),
    "10 folds": (KFold(10, shuffle=True), 90, 10),
}


def score(X, y, folds):
    """Return the accuracy of a nearest-centroid classifier on each fold."""
    scores = []
    for train, test in folds:
        means = [X[train][y[train] == label].mean(axis=0) for label in (0, 1)]
        weights = means[1] - means[0]
        threshold = weights @ (means[0] + means[1]) / 2
        scores.append(np.mean((X[test] @ weights > threshold) == y[test]))
    return np.array(scores)


def simulate(splitter, n_models, seed):
    """Return the scores of equally good models on the same folds."""
    rng = np.random.default_rng(seed)
    y = np.arange(N_ROWS) % 2
    X = rng.normal(size=(n_models, N_ROWS, N_COLUMNS)) + SHIFT * (2 * y[:, None] - 1)
    splitter.random_state = seed
    folds = list(splitter.split(y))
    return [score(columns, y, folds) for columns in X]


def main(n_repeats=2000):
    """Print the shares of false alarms; return the exit status."""
    # scipy warns where a difference is the same in every fold.
    warnings.simplefilter("ignore", RuntimeWarning)
    shares = {}
    for name, (splitter, n_train, n_test) in SPLITTERS.items():
        found = np.zeros(2)
        for seed in range(n_repeats):
            a, b = simulate(splitter, 2, seed)
            corrected = corrected_t_test(a, b, n_train=n_train, n_test=n_test)
            found += stats.ttest_rel(a, b).pvalue < LEVEL, corrected.p_value < LEVEL
        shares[name] = ordinary, corrected = found / n_repeats
        print(f"{name}: ordinary {ordinary:.3f}, corrected {corrected:.3f}", flush=True)
    splitter, n_train, n_test = SPLITTERS[RANDOM]
    for n_models in (4, 8):
        found = np.zeros(2)
        for seed in range(n_repeats // 4):
            rows = [
                Scored("model", values.mean(), 1.0, values, "folds", (n_train, n_test))
                for values in simulate(splitter, n_models, seed)
            ]
            best = int(np.argmax([row.score for row in rows]))
            tables = [compare_rows(rows, given, best=best) for given in (best, None)]
            found += [(table["p_holm"] < LEVEL).any() for table in tables]
        over_rows, over_pairs = found / (n_repeats // 4)
        print(
            f"best of {n_models}: over rows {over_rows:.3f}, pairs {over_pairs:.3f}",
            flush=True,
        )
    ordinary, corrected = shares[RANDOM]
    return 0 if ordinary > 0.15 and abs(corrected - LEVEL) <= 0.015 else 1


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:])))
