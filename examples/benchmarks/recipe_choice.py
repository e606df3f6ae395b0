"""Compare candidates for a recipe by validation on the training images.

Every candidate trains on 48,000 of the training images and is scored on the other
12,000, by the mean over three seeds of the weights that it keeps: those of the epoch
with the lowest validation loss, or of the last one. The test images are not read. The
results go to ``docs/recipe_choice.csv``; a recorded candidate is not repeated::

    python examples/benchmarks/recipe_choice.py --recipe accurate --model lenet5
"""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np
import torch
from contenders import ESTIMATORS, parse_arguments
from records import MODEL_NAMES, RECIPE_CHOICE, add_row, is_recorded

from fmnist_sklearn import RECIPES, fetch_fashion_mnist

# Seeds that no recorded run uses.
SEEDS = (100, 101, 102)

# The columns that identify a candidate, and their parameters. A missing one of the two
# ways to decay weights is 0.
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
        "patience": None,
        "load_best": True,
        "ema_decay": 0.999,
        "max_epochs": max_epochs,
        "batch_size": batch_size,
        "lr": lr,
        "dropout": dropout,
        "label_smoothing": label_smoothing,
        "augment": augment,
    }


def _like(name, **changes):
    """Return a candidate that is "accurate" as it is but for some parameters."""
    return {**RECIPES["accurate"][name], "batch_size": 128, **changes}


def _fast(max_epochs, lr, dropout=0.0, weight_decay=0.0):
    """Return a candidate for "fast"."""
    return {
        "optimizer": torch.optim.AdamW if weight_decay else torch.optim.Adam,
        "lr_schedule": "one_cycle",
        "load_best": True,
        "augment": None,
        "label_smoothing": 0.0,
        "ema_decay": None,
        "max_epochs": max_epochs,
        "batch_size": 64,
        "lr": lr,
        "dropout": dropout,
        "weight_decay": weight_decay,
    }


# In the order in which they were tried: short trainings first.
CANDIDATES = {
    ("fast", "lenet5"): [
        _fast(8, 0.01, dropout=0.1),
        _fast(6, 0.01, dropout=0.1),
        _fast(6, 0.015),
        _fast(6, 0.01),
        _fast(6, 0.007),
        _fast(6, 0.01, weight_decay=0.02),
        _fast(5, 0.01),
        _fast(5, 0.01, weight_decay=0.02),
    ],
    ("fast", "minivgg"): [_fast(4, 0.003), _fast(3, 0.003), _fast(2, 0.003)],
    ("accurate", "lenet5"): [
        _first(20, 128, 0.01, 0.05, 0.05, flip=0.5, shift=1),
        _first(20, 128, 0.01, 0.0, 0.0, flip=0.5, shift=1),
        _first(20, 128, 0.02, 0.0, 0.05, flip=0.5, shift=1),
        _first(60, 128, 0.01, 0.05, 0.05, flip=0.5, shift=1),
        _first(60, 128, 0.01, 0.05, 0.0, flip=0.5, shift=1),
        _first(60, 128, 0.01, 0.05, 0.05, flip=0.5, shift=1, erase=6),
        _first(60, 128, 0.01, 0.1, 0.05, shift=1, erase=4),
        _like("LeNet5Classifier", max_epochs=200),
        _like("LeNet5Classifier"),
    ],
    ("accurate", "minivgg"): [
        _first(8, 128, 0.0025, 0.4, 0.1, flip=0.5, shift=2),
        _first(8, 128, 0.0025, 0.4, 0.05, flip=0.5, shift=1),
        _first(8, 64, 0.003, 0.4, 0.05, shift=1),
        _first(16, 64, 0.003, 0.5, 0.05, shift=1),
        _first(28, 64, 0.003, 0.5, 0.05, shift=1),
    ],
}


def row_of(recipe: str, model: str, candidate: dict[str, Any]) -> dict[str, str]:
    """Write a candidate as the first columns of its row."""
    params = {"lr_schedule__pct_start": 0.3, **candidate}
    params["augment"] = ", ".join(
        f"{name} {value}" for name, value in (params["augment"] or {}).items()
    )
    params["ema_decay"] = params["ema_decay"] or 0
    return {
        "recipe": recipe,
        "network": MODEL_NAMES[model],
        **{column: str(params.get(name, 0)) for column, name in COLUMNS.items()},
    }


def judge(model: str, candidate: dict[str, Any], seed: int, X: Any, y: Any) -> Any:
    """Train a candidate; return epoch, accuracy and losses of what it keeps."""
    params = {**candidate, "random_state": seed, "validation_fraction": 0.2}
    estimator = ESTIMATORS[model](**params)
    history = estimator.fit(X, y).history_
    kept = history[estimator.best_epoch_ - 1]
    losses = kept["valid_loss"], history[-1]["train_loss"]
    return estimator.best_epoch_, kept["valid_acc"], *losses


def columns_of(figures: Any) -> dict[str, Any]:
    """Write the means over the seeds as the last columns of a row."""
    epoch, accuracy, valid_loss, train_loss = np.mean(figures, axis=0)
    return {
        "seeds": len(figures),
        "kept_epoch": f"{epoch:.3g}",
        "validation_accuracy": f"{accuracy:.4f}",
        "validation_loss": f"{valid_loss:.4f}",
        "training_loss": f"{train_loss:.4f}",
    }


def main() -> None:
    """Train the candidates that are not recorded yet."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--recipe", choices=["accurate", "fast"], required=True)
    parser.add_argument("--model", choices=sorted(MODEL_NAMES), required=True)
    arguments = parse_arguments(parser)
    X, y = fetch_fashion_mnist(return_X_y=True)
    kind = arguments.recipe, arguments.model
    for candidate in CANDIDATES[kind]:
        row = row_of(*kind, candidate)
        if not is_recorded(RECIPE_CHOICE, row):
            figures = [judge(arguments.model, candidate, seed, X, y) for seed in SEEDS]
            add_row(RECIPE_CHOICE, row | columns_of(figures))


if __name__ == "__main__":
    main()
