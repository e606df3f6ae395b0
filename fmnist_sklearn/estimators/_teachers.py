"""The parameter ``teacher``: fitted classifiers, made ready to be asked."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from sklearn.base import BaseEstimator
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.utils.validation import check_is_fitted

from ..training import (
    Teaching,
    TrainingNet,
    resolve_precision,
    resolve_subset,
    soften,
    with_answers,
)


def check_teachers(teacher: Any) -> list[Any]:
    """Turn the parameter into a list of fitted classifiers.

    Raises
    ------
    ValueError
        If it names none, or one that gives no probabilities.
    sklearn.exceptions.NotFittedError
        If one is not fitted.
    """
    teachers = list(teacher) if isinstance(teacher, list | tuple) else [teacher]
    if not teachers:
        raise ValueError(
            f"teacher={teacher!r} names none; pass a fitted classifier, or None"
        )
    for each in teachers:
        name = type(each).__name__
        if not hasattr(each, "predict_proba"):
            raise ValueError(
                f"teacher must be fitted classifiers with predict_proba, got {name}"
            )
        try:
            if isinstance(each, BaseEstimator):
                check_is_fitted(each)
        except NotFittedError as error:
            raise NotFittedError(
                f"teacher must be fitted, and {name} is not. clone, which searches and "
                "cross-validation call, returns unfitted copies: fit it first and pass "
                "teacher=sklearn.frozen.FrozenEstimator(it)"
            ) from error
    return teachers


def start_teaching(net: Any, train: Any) -> tuple[Any, Teaching | None]:
    """Make a net's teachers ready for a training run, and ask those that can be asked.

    Parameters
    ----------
    net : ImageClassifier
        The one that is to learn, with its parts built.
    train : ImageDataset or Subset of one
        The rows to train on.

    Returns
    -------
    train : ImageDataset or Subset of one
        The same rows, with the answers about them.
    teaching : Teaching or None
        None without teachers.

    Raises
    ------
    ValueError
        If a teacher knows other classes or images of another size, or gives what are
        no probabilities.
    """
    if net.teacher is None or net.distillation_weight == 0:
        return train, None
    teachers = check_teachers(net.teacher)
    networks, asked_once = [], []
    for teacher in teachers:
        _check_classes(teacher, net.classes_)
        network = _network_in(teacher)
        # Without augmentation each epoch would bring the same questions.
        if network is not None and net.augment:
            networks.append(_beside(network, net))
        else:
            asked_once.append(teacher)
    if asked_once:
        train = _with_answers_of(asked_once, net, train)
    return train, Teaching(
        tuple(networks),
        len(teachers),
        net.distillation_weight,
        net.distillation_temperature,
    )


def _check_classes(teacher: Any, classes: np.ndarray) -> None:
    known = getattr(teacher, "classes_", None)
    if known is None or not np.array_equal(known, classes):
        raise ValueError(
            f"teacher {type(teacher).__name__} must know the classes that y holds, "
            f"{classes!r}, got one with classes_={known!r}"
        )


def _network_in(teacher: Any) -> Any:
    """Return the net that answers for a teacher; None if it is none of ours."""
    while not isinstance(teacher, TrainingNet):
        if isinstance(teacher, FrozenEstimator):
            teacher = teacher.estimator
        elif hasattr(teacher, "best_estimator_"):
            teacher = teacher.best_estimator_
        else:
            return None
    return teacher


def _beside(network: Any, net: Any) -> Any:
    """Return a copy of a fitted net on the device of another, to be asked there."""
    if np.prod(network.image_shape_) != np.prod(net.image_shape_):
        raise ValueError(
            f"teacher {type(network).__name__} was fitted to images of shape "
            f"{network.image_shape_}, but these are of shape {net.image_shape_}"
        )
    copy = network._twin_with_own_network(device_=net.device_)
    copy.precision_ = resolve_precision(
        copy.precision, copy.device_, copy._bfloat16_pays
    )
    copy.place_module()
    copy.module_.eval()
    return copy


def _with_answers_of(teachers: list[Any], net: Any, train: Any) -> Any:
    """Ask teachers about the rows to train on, each once."""
    base, rows = resolve_subset(train)
    images = base.images if rows is None else base.images[rows.to(base.images.device)]
    pixels: Any = images.flatten(1)[:, : net.n_features_in_].numpy(force=True)
    answers = sum(
        soften(_probabilities(teacher, net, pixels), net.distillation_temperature)
        for teacher in teachers
    )
    return with_answers(train, answers.float())  # type: ignore[union-attr]


def _probabilities(teacher: Any, net: Any, pixels: Any) -> torch.Tensor:
    """Return what a teacher says of rows of pixels, in double precision."""
    columns = getattr(net, "feature_names_in_", None)
    if columns is not None and hasattr(teacher, "feature_names_in_"):
        import pandas as pd

        pixels = pd.DataFrame(pixels, columns=columns)
    found = np.asarray(teacher.predict_proba(pixels))
    if (
        found.shape != (len(pixels), len(net.classes_))
        or not np.isfinite(found).all()
        or (found < 0).any()
        or not found.any(axis=1).all()
    ):
        raise ValueError(
            f"teacher {type(teacher).__name__} must give a probability for each of "
            f"{len(pixels)} rows and {len(net.classes_)} classes, got an array of "
            f"shape {found.shape} with values from {found.min()} to {found.max()}"
        )
    return torch.from_numpy(found.astype(np.float64))
