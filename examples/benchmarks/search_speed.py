"""Compare a grid search with two jobs, with one, and over plain skorch nets.

    python examples/benchmarks/search_speed.py [--rows N] [--epochs N] [--rounds N]

A 3 x 2 grid over learning rate and batch size with 3 folds of LeNet5 at its defaults,
20 epochs without early stopping, on 12,000 images:

- n_jobs=1, which has all cores for each fit;
- n_jobs=2, in two processes that share them;
- n_jobs=2 over ``skorch.NeuralNetClassifier`` with the same network from PyTorch's own
  layers, the same loss, optimizer, epochs and batch sizes, and pixels scaled to floats
  beforehand.

The processes are started, and have imported everything, before a time is taken; there
is no refit. Medians of the rounds are printed, and their ratios.
"""

import argparse
import warnings
from functools import partial

import numpy as np
import torch
from contenders import parse_arguments, plain_lenet5, scaled, stopwatch
from joblib import Parallel, delayed
from sklearn.model_selection import GridSearchCV, StratifiedKFold
from skorch import NeuralNetClassifier

from fmnist_sklearn import LeNet5Classifier, fetch_fashion_mnist

GRID = {"lr": [0.001, 0.003, 0.01], "batch_size": [64, 128]}
FOLDS = StratifiedKFold(3, shuffle=True, random_state=0)


def plain(n_epochs):
    """Return a net as skorch's users write it, for floats of shape (n, 1, 28, 28)."""
    return NeuralNetClassifier(
        plain_lenet5,
        criterion=torch.nn.CrossEntropyLoss,
        optimizer=torch.optim.Adam,
        max_epochs=n_epochs,
        iterator_train__shuffle=True,
        verbose=0,
    )


def warm_up(number):
    """Import the package, so that this is not timed later."""
    import fmnist_sklearn  # noqa: F401


def main():
    """Measure all searches in turn and print the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=12_000)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=1)
    arguments = parse_arguments(parser)
    warnings.simplefilter("ignore")
    X, y = fetch_fashion_mnist(return_X_y=True)
    X, y = X[: arguments.rows], y[: arguments.rows].astype(np.int64)
    ours = LeNet5Classifier(max_epochs=arguments.epochs, patience=None, random_state=0)
    searches = {
        "n_jobs=1": (ours, X, 1),
        "n_jobs=2": (ours, X, 2),
        "skorch, n_jobs=2": (plain(arguments.epochs), scaled(X).numpy(), 2),
    }
    Parallel(n_jobs=2)(delayed(warm_up)(number) for number in range(8))
    times = {name: [] for name in searches}
    # All in turn, so that what disturbs the machine disturbs each.
    for _ in range(arguments.rounds):
        for name, (net, rows, n_jobs) in searches.items():
            search = GridSearchCV(net, GRID, cv=FOLDS, n_jobs=n_jobs, refit=False)
            times[name].append(stopwatch(partial(search.fit, rows, y)))
    medians = {name: float(np.median(values)) for name, values in times.items()}
    for name, median in medians.items():
        values = ", ".join(f"{value:.1f}" for value in times[name])
        ratio = medians["n_jobs=2"] / median
        print(f"{name:18} {median:7.1f} s ({values}); n_jobs=2 takes {ratio:.2f} of it")


if __name__ == "__main__":
    main()
