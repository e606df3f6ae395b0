"""Time classifiers from short to long training: test accuracy against training seconds.

Each contender is trained on the 60,000 training images at several sizes, its epochs or
iterations, and scored on the 10,000 test images. Each fit adds a row to
``docs/frontier.csv``; a recorded fit is not repeated. Nothing else should run
meanwhile::

    python examples/benchmarks/frontier.py --seeds 0 1 2

Seconds are those of ``fit``, on images in memory in the form that the contender takes.
"accurate" takes hours on two cores and runs with ``--long`` only.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from itertools import product
from typing import Any, NamedTuple

import numpy as np
import torch
from contenders import parse_arguments, plain_lenet5, plain_mini_vgg, stopwatch
from records import FRONTIER, add_row, is_recorded
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPClassifier
from skorch import NeuralNetClassifier

from fmnist_sklearn import fetch_fashion_mnist
from fmnist_sklearn.models import find_model


class Contender(NamedTuple):
    """A kind of classifier, in several sizes."""

    make: Callable[[int, int], Any]  # of size and seed
    sizes: tuple[int, ...]
    takes: str = "bytes"  # or "rows" or "images", both of 0..1 in float32


def _recipe(recipe: str, model: str, batch_size: int, sizes: tuple[int, ...]) -> Any:
    def make(size: int, seed: int) -> Any:
        return find_model(model).make(
            recipe, batch_size=batch_size, max_epochs=size, random_state=seed
        )

    return Contender(make, sizes)


def _skorch(network: Any, sizes: tuple[int, ...]) -> Any:
    def make(size: int, seed: int) -> Any:
        torch.manual_seed(seed)
        return NeuralNetClassifier(
            network,
            criterion=torch.nn.CrossEntropyLoss,
            optimizer=torch.optim.Adam,
            lr=1e-3,
            max_epochs=size,
            batch_size=64,
            iterator_train__shuffle=True,
            train_split=None,
            verbose=0,
        )

    return Contender(make, sizes, "images")


CONTENDERS = {
    "LeNet5Classifier, fast": _recipe("fast", "lenet5", 64, (2, 4, 8, 16)),
    "MiniVGGClassifier, fast": _recipe("fast", "minivgg", 64, (1, 2, 4, 8)),
    "skorch, layers of LeNet5": _skorch(plain_lenet5, (2, 4, 8, 16)),
    "skorch, layers of MiniVGG": _skorch(plain_mini_vgg, (1, 2, 4, 8)),
    "MLPClassifier": Contender(
        lambda size, seed: MLPClassifier(max_iter=size, random_state=seed),
        (5, 10, 20, 40),
        "rows",
    ),
    "HistGradientBoostingClassifier": Contender(
        lambda size, seed: HistGradientBoostingClassifier(
            max_iter=size, early_stopping=False, random_state=seed
        ),
        (10, 30, 100),
    ),
    "LogisticRegression": Contender(
        lambda size, seed: LogisticRegression(max_iter=size), (10, 30, 100), "rows"
    ),
}
LONG = {
    "LeNet5Classifier, accurate": _recipe("accurate", "lenet5", 128, (20, 60, 200)),
    "MiniVGGClassifier, accurate": _recipe("accurate", "minivgg", 128, (10, 30, 100)),
}


def as_taken(X: np.ndarray) -> dict[str, np.ndarray]:
    """Return images in each form that a contender takes."""
    rows = X.astype(np.float32) / 255
    return {"bytes": X, "rows": rows, "images": rows.reshape(-1, 1, 28, 28)}


def measure(contender: Contender, size: int, seed: int, data: Any) -> dict[str, str]:
    """Fit a contender, once on few images to warm up; return seconds and accuracy."""
    (X, y), (X_test, y_test) = data
    contender.make(1, seed).fit(X[contender.takes][:500], y[:500])
    model = contender.make(size, seed)
    seconds = stopwatch(lambda: model.fit(X[contender.takes], y))
    accuracy = model.score(X_test[contender.takes], y_test)
    return {"seconds": f"{seconds:.1f}", "accuracy": f"{accuracy:.4f}"}


def main() -> None:
    """Fit what has no line yet."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--contenders", nargs="+", choices=list(CONTENDERS))
    parser.add_argument("--long", action="store_true", help="with recipe accurate")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    arguments = parse_arguments(parser)
    X, y = fetch_fashion_mnist(return_X_y=True)
    X_test, y_test = fetch_fashion_mnist(subset="test", return_X_y=True)
    data = (as_taken(X), y), (as_taken(X_test), y_test)
    names = arguments.contenders or CONTENDERS
    chosen = {name: CONTENDERS[name] for name in names}
    for name, contender in (chosen | (LONG if arguments.long else {})).items():
        for size, seed in product(contender.sizes, arguments.seeds):
            row = {"contender": name, "size": size, "seed": seed}
            if not is_recorded(FRONTIER, row):
                row["threads"] = arguments.threads
                add_row(FRONTIER, row | measure(contender, size, seed, data))


if __name__ == "__main__":
    main()
