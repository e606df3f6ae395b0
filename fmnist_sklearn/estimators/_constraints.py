"""What values each parameter of the constructors may have."""

from __future__ import annotations

import os
from collections.abc import Mapping
from numbers import Integral, Real
from typing import Any

import joblib
import torch
from sklearn.utils._param_validation import HasMethods, Interval, Options, StrOptions

from ..storage import FitCache
from ..training import SCHEDULES

CONSTRAINTS: dict[str, list[Any]] = {
    "lr": [Interval(Real, 0, None, closed="neither")],
    "batch_size": [
        Interval(Integral, 1, None, closed="left"),
        Options(Integral, {-1}),
        StrOptions({"auto"}),
    ],
    "max_epochs": [Interval(Integral, 1, None, closed="left")],
    "patience": [
        Interval(Integral, 1, None, closed="left"),
        StrOptions({"auto"}),
        None,
    ],
    "load_best": ["boolean"],
    "validation_fraction": [Interval(Real, 0, 1, closed="left")],
    "shuffle": ["boolean"],
    "dropout": [Interval(Real, 0, 1, closed="left")],
    "optimizer": [callable],
    "weight_decay": [Interval(Real, 0, None, closed="left")],
    "lr_schedule": [StrOptions(set(SCHEDULES)), callable, None],
    "augment": [Mapping, callable, None],
    "label_smoothing": [Interval(Real, 0, 1, closed="left")],
    "ema_decay": [Interval(Real, 0, 1, closed="left"), None],
    "teacher": [HasMethods("predict_proba"), list, tuple, None],
    "distillation_weight": [Interval(Real, 0, 1, closed="both")],
    "distillation_temperature": [Interval(Real, 0, None, closed="neither")],
    "predict_flip": ["boolean"],
    "pixel_scaling": [StrOptions({"standardize", "symmetric"})],
    "image_shape": ["array-like", None],
    "class_weight": [dict, StrOptions({"balanced"}), None],
    "device": [str, torch.device],
    "precision": [StrOptions({"auto", "float32", "bfloat16"})],
    "random_state": ["random_state"],
    "warm_start": ["boolean"],
    "callbacks": [list, tuple, StrOptions({"disable"}), None],
    "train_split": [callable, None],
    "iterator_train": [callable, None],
    "iterator_valid": [callable, None],
    "memory": [str, os.PathLike, joblib.Memory, FitCache, None],
    "verbose": ["verbose"],
}
