"""Compare candidates for the recipe "accurate" by validation on the training images.

Every candidate trains on 48,000 of the training images and is judged on the other
12,000, by the epoch of the lowest validation loss; the test images are not read. The
results go to ``docs/recipe_choice.csv``; a candidate that is there is not repeated::

    python examples/benchmarks/recipe_choice.py --model lenet5
"""

from __future__ import annotations

import argparse
import csv
from typing import Any

import torch
from contenders import ESTIMATORS
from records import MODEL_NAMES, RECIPE_CHOICE

from fmnist_sklearn import RECIPES, fetch_fashion_mnist

SEED = 100  # one that no recorded run has

# The columns that tell a candidate, and the parameters in them. Of the two ways to
# decay weights, one that is left out is 0.
COLUMNS = {
    "max_epochs": "max_epochs",
    "batch_size": "batch_size",
    "lr": "lr",
    "warm_up": "lr_schedule__pct_start",
    "weight_decay": "weight_decay",
    "decay_of_all": "optimizer__weight_decay",
    "dropout": "dropout",
    "label_smoothing": "label_smoothing",
    "ema_decay": "ema_decay",
    "augment": "augment",
}


def _first(max_epochs, batch_size, lr, dropout, label_smoothing, **augment):
    """Return a candidate of the first choice, when biases decayed as well."""
    return {
        "optimizer": torch.optim.AdamW,
        "optimizer__weight_decay": 0.01,
        "lr_schedule": "one_cycle",
        "lr_schedule__pct_start": 0.3,
        "ema_decay": 0.999,
        "max_epochs": max_epochs,
        "batch_size": batch_size,
        "lr": lr,
        "dropout": dropout,
        "label_smoothing": label_smoothing,
        "augment": augment,
    }


def _like(recipe, **changes):
    """Return a candidate that is the recipe of today but for some parameters."""
    return {**RECIPES["accurate"][recipe], "batch_size": 128, **changes}


# In the order in which they were tried: short trainings first.
CANDIDATES = {
    "lenet5": [
        _first(20, 128, 0.01, 0.05, 0.05, flip=0.5, shift=1),
        _first(20, 128, 0.01, 0.0, 0.0, flip=0.5, shift=1),
        _first(20, 128, 0.02, 0.0, 0.05, flip=0.5, shift=1),
        _first(60, 128, 0.01, 0.05, 0.05, flip=0.5, shift=1),
        _first(60, 128, 0.01, 0.05, 0.0, flip=0.5, shift=1),
        _first(60, 128, 0.01, 0.05, 0.05, flip=0.5, shift=1, erase=6),
        _first(60, 128, 0.01, 0.1, 0.05, shift=1, erase=4),
        _like("LeNet5Classifier", max_epochs=60),
        _like("LeNet5Classifier", max_epochs=60, augment={"shift": 1, "erase": 4}),
        _like("LeNet5Classifier", max_epochs=60, weight_decay=0.01),
        _like("LeNet5Classifier"),
    ],
    "minivgg": [
        _first(8, 128, 0.0025, 0.4, 0.1, flip=0.5, shift=2),
        _first(8, 128, 0.0025, 0.4, 0.05, flip=0.5, shift=1),
        _first(8, 64, 0.003, 0.4, 0.05, shift=1),
        _first(16, 64, 0.003, 0.5, 0.05, shift=1),
        _first(28, 64, 0.003, 0.5, 0.05, shift=1),
        _like("MiniVGGClassifier", max_epochs=16),
        _like("MiniVGGClassifier", max_epochs=16, dropout=0.5),
        _like("MiniVGGClassifier", max_epochs=16, weight_decay=0.01),
        _like("MiniVGGClassifier"),
    ],
}


def row_of(model: str, candidate: dict[str, Any]) -> dict[str, str]:
    """Write a candidate as the first columns of its row."""
    augment = ", ".join(
        f"{name} {value}" for name, value in candidate["augment"].items()
    )
    told = {**candidate, "augment": augment}
    return {
        "network": MODEL_NAMES[model],
        **{column: str(told.get(name, 0)) for column, name in COLUMNS.items()},
    }


def judge(model: str, candidate: dict[str, Any], X: Any, y: Any) -> dict[str, Any]:
    """Train a candidate and return what validation says of it."""
    params = {**candidate, "random_state": SEED, "validation_fraction": 0.2}
    estimator = ESTIMATORS[model](**params)
    history = estimator.fit(X, y).history_
    best = history[estimator.best_epoch_ - 1]
    return {
        "best_epoch": estimator.best_epoch_,
        "validation_accuracy": f"{best['valid_acc']:.4f}",
        "validation_loss": f"{best['valid_loss']:.4f}",
        "training_loss": f"{history[-1]['train_loss']:.4f}",
    }


def read_choice() -> list[dict[str, str]]:
    """Read the candidates that were judged, a row each."""
    with RECIPE_CHOICE.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def main() -> None:
    """Judge what has no row yet."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", choices=sorted(MODEL_NAMES), required=True)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    X, y = fetch_fashion_mnist(return_X_y=True)
    for candidate in CANDIDATES[arguments.model]:
        row = row_of(arguments.model, candidate)
        if not any(row.items() <= judged.items() for judged in read_choice()):
            row |= judge(arguments.model, candidate, X, y)
            with RECIPE_CHOICE.open("a", encoding="utf-8", newline="") as file:
                csv.DictWriter(file, row, lineterminator="\n").writerow(row)
        print(row, flush=True)


if __name__ == "__main__":
    main()
