"""Recipes: values of the estimators' parameters that were chosen together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

# The published protocol exactly. Values equal to a default are listed too, so that a
# changed default does not change what "published" means.
_PUBLISHED = {
    "optimizer": torch.optim.SGD,
    "optimizer__momentum": 0.9,
    "optimizer__nesterov": True,
    "lr": 0.001,
    "weight_decay": 0.0,
    "lr_schedule": None,
    "augment": None,
    "max_epochs": 150,
    "patience": 10,
    "load_best": True,
    "validation_fraction": 0.2,
    "shuffle": False,
    "label_smoothing": 0.0,
    "ema_decay": None,
    "pixel_scaling": "symmetric",
    "precision": "float32",
}

# One cycle of the learning rate to its end, with the weights of its last epoch: over
# many epochs the validation loss is lowest long before the accuracy is highest.
_ONE_CYCLE = {"lr_schedule": "one_cycle", "patience": None, "load_best": False}

# A few epochs reach the accuracy of the published protocol, which takes 50 and more.
_FAST = {
    **_ONE_CYCLE,
    "optimizer": torch.optim.Adam,
    "weight_decay": 0.0,
    "augment": None,
    "validation_fraction": 0.1,
    "label_smoothing": 0.0,
    "ema_decay": None,
}

# Long training, with averaged weights.
_ACCURATE = {
    **_ONE_CYCLE,
    "optimizer": torch.optim.AdamW,
    "label_smoothing": 0.02,
}

# Recipe -> class name -> keyword arguments, such as LeNet5Classifier(
# **RECIPES["fast"]["LeNet5Classifier"]). Batch size and seed are not part of a recipe.
RECIPES: Mapping[str, Mapping[str, Mapping[str, Any]]] = {
    "accurate": {
        "LeNet5Classifier": {
            **_ACCURATE,
            # Only to monitor the fit: the weights kept do not depend on these rows.
            "validation_fraction": 0.01,
            "lr": 0.006,
            "lr_schedule__pct_start": 0.1,
            "max_epochs": 300,
            # A small network overfits little.
            "dropout": 0.05,
            "weight_decay": 0.005,
            "ema_decay": 0.9995,
            "augment": {"shift": 1, "rotate": 4, "erase": 4, "mixup": 0.1},
        },
        "MiniVGGClassifier": {
            **_ACCURATE,
            "validation_fraction": 0.05,
            "lr": 0.002,
            "lr_schedule__pct_start": 0.3,
            "max_epochs": 100,
            "dropout": 0.3,
            "weight_decay": 0.05,
            "ema_decay": 0.999,
            "augment": {"flip": 0.5, "shift": 1, "erase": 8},
        },
    },
    "fast": {
        # A few epochs overfit little, so dropout would only slow down learning.
        "LeNet5Classifier": {
            **_FAST,
            "optimizer": torch.optim.AdamW,
            "weight_decay": 0.02,
            "lr": 0.01,
            "max_epochs": 5,
            "dropout": 0.0,
        },
        "MiniVGGClassifier": {
            **_FAST,
            # Without batch normalisation it needs a lower rate than LeNet-5.
            "lr": 0.003,
            "max_epochs": 3,
            "dropout": 0.0,
        },
    },
    "published": {
        # The published runs used this head, not that of the published layer table.
        "LeNet5Classifier": {
            **_PUBLISHED,
            "dropout": 0.5,
            "module__hidden_units": (128, 64),
        },
        "MiniVGGClassifier": {**_PUBLISHED, "dropout": 0.0},
    },
}
