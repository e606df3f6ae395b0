"""How long a grid search takes: with two jobs, with one, and over plain skorch nets.

    python examples/benchmarks/search_speed.py [--rows N] [--epochs N] [--rounds N]

A 3 x 2 grid over learning rate and batch size with 3 folds of LeNet5 at its defaults,
20 epochs without early stopping, on 12,000 images:

- n_jobs=1, which has all cores for each fit;
- n_jobs=2, in two processes that share them;
- n_jobs=2 over ``skorch.NeuralNetClassifier`` with the same network from PyTorch's own
  layers, the same loss, optimizer, epochs and batch sizes, and pixels scaled to floats
  beforehand.

The processes are started, and have imported everything, before a time is taken; none is
that of the refit. Told are the medians of the rounds, and their ratios. It fails if a
process trains with another number of threads than its share of the cores, or gets the
images as a copy and not as a memory map.
"""

import argparse
import sys
import time
import warnings

import joblib
import numpy as np
import torch
from contenders import plain_lenet5, print_machine
from joblib import Parallel, delayed
from sklearn.model_selection import GridSearchCV, StratifiedKFold
from skorch import NeuralNetClassifier

from fmnist_sklearn import LeNet5Classifier, fetch_fashion_mnist
from fmnist_sklearn import load_fashion_mnist_sample as load_sample

GRID = {"lr": [0.001, 0.003, 0.01], "batch_size": [64, 128]}
FOLDS = StratifiedKFold(3, shuffle=True, random_state=0)


def images(n_rows):
    """Return so many images, of the full data where it is or of the sample."""
    try:
        X, y = fetch_fashion_mnist(subset="train", return_X_y=True)
    except OSError:
        X, y = load_sample(return_X_y=True)
    repeats = -(-n_rows // len(X))
    return np.tile(X, (repeats, 1))[:n_rows], np.tile(y, repeats)[:n_rows]


def ours(n_epochs):
    """Return a net of this package, that takes bytes."""
    return LeNet5Classifier(max_epochs=n_epochs, patience=None, random_state=0)


def plain(n_epochs):
    """Return a net as skorch's users write it, that takes floats of (n, 1, 28, 28)."""
    return NeuralNetClassifier(
        plain_lenet5,
        criterion=torch.nn.CrossEntropyLoss,
        optimizer=torch.optim.Adam,
        max_epochs=n_epochs,
        iterator_train__shuffle=True,
        verbose=0,
    )


def search_time(net, X, y, n_jobs):
    """Return the seconds of a grid search."""
    search = GridSearchCV(net, GRID, cv=FOLDS, n_jobs=n_jobs, refit=False)
    start = time.perf_counter()
    search.fit(X, y)
    return time.perf_counter() - start


def look_around(X):
    """Tell the threads of this process and whether an array is mapped into it."""
    import fmnist_sklearn  # noqa: F401, so that this is not timed later

    return torch.get_num_threads(), isinstance(X, np.memmap)


def warm_up(X):
    """Start the processes; tell what is wrong with them."""
    share = max(joblib.cpu_count() // 2, 1)
    seen = Parallel(n_jobs=2)(delayed(look_around)(X) for _ in range(8))
    wrong = []
    if {threads for threads, _ in seen} != {share}:
        wrong.append(f"threads {sorted({t for t, _ in seen})}, expected {share}")
    # joblib maps arrays from 1 MB on.
    if X.nbytes > 1e6 and not all(is_mapped for _, is_mapped in seen):
        wrong.append("the images were copied into the processes")
    return wrong


def main(n_rows, n_epochs, n_rounds):
    """Measure and print; return whether something is wrong."""
    warnings.simplefilter("ignore")
    print_machine()
    X, y = images(n_rows)
    floats = (X.reshape(-1, 1, 28, 28) / np.float32(255)).astype(np.float32)
    y = y.astype(np.int64)
    searches = {
        "n_jobs=1": (ours(n_epochs), X, 1),
        "n_jobs=2": (ours(n_epochs), X, 2),
        "skorch, n_jobs=2": (plain(n_epochs), floats, 2),
    }
    wrong = warm_up(X)
    times = {name: [] for name in searches}
    # All in turn, so that what disturbs the machine disturbs each.
    for _ in range(n_rounds):
        for name, (net, rows, n_jobs) in searches.items():
            times[name].append(search_time(net, rows, y, n_jobs))
    medians = {name: float(np.median(values)) for name, values in times.items()}
    for name, median in medians.items():
        values = ", ".join(f"{value:.1f}" for value in times[name])
        ratio = medians["n_jobs=2"] / median
        print(f"{name:18} {median:7.1f} s ({values}); n_jobs=2 takes {ratio:.2f} of it")
    for message in wrong:
        print(message)
    return bool(wrong)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=12_000)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=1)
    args = parser.parse_args()
    sys.exit(main(args.rows, args.epochs, args.rounds))
