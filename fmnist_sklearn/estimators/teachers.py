"""The parameter ``teacher``: classifiers whose probabilities a network learns.

This is knowledge distillation: their probabilities are part of its loss.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.base import BaseEstimator
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from ..training.batches import Batch, batch_loss, resolve_subset, with_soft_targets
from ..training.device import resolve_precision
from ..training.net import TrainingNet


def check_teachers(teacher: Any) -> list[Any]:
    """Turn the parameter into a list of fitted classifiers.

    Raises
    ------
    ValueError
        If the list is empty, or one of them gives no probabilities.
    sklearn.exceptions.NotFittedError
        If one is not fitted.
    """
    teachers = list(teacher) if isinstance(teacher, list | tuple) else [teacher]
    if not teachers or not all(hasattr(each, "predict_proba") for each in teachers):
        raise ValueError(
            "teacher must be one or more fitted classifiers with predict_proba, or "
            f"None, got {teacher!r}"
        )
    for each in teachers:
        try:
            if isinstance(each, BaseEstimator):
                check_is_fitted(each)
        except NotFittedError as error:
            raise NotFittedError(
                f"teacher must be fitted, and {type(each).__name__} is not. clone, "
                "which searches and cross-validation call, returns unfitted copies: "
                "fit it first and pass teacher=sklearn.frozen.FrozenEstimator(it)"
            ) from error
    return teachers


def start_teaching(net: TrainingNet, train: Any) -> tuple[Any, Teaching]:
    """Prepare a net's teachers for a training run, and compute fixed soft targets.

    Parameters
    ----------
    net : ImageClassifier
        The one that is to learn, with its parts built.
    train : ImageDataset or Subset of one
        The rows to train on.

    Returns
    -------
    train : ImageDataset or Subset of one
        The same rows, with the soft targets of the teachers that predict them once.
    teaching : Teaching
        The other teachers, which predict each batch.

    Raises
    ------
    ValueError
        If a teacher has other classes or images of another size, or returns values
        that are not probabilities.
    """
    teachers = check_teachers(net.teacher)
    networks, others = [], []
    for teacher in teachers:
        known = getattr(teacher, "classes_", None)
        if known is None or not np.array_equal(known, net.classes_):
            raise ValueError(
                f"teacher {type(teacher).__name__} must know the classes that y holds, "
                f"{net.classes_!r}, got one with classes_={known!r}"
            )
        network = _network_in(teacher)
        # Without augmentation each epoch would bring the same images.
        if network is not None and net.augment:
            networks.append(_copy_on_device(network, net))
        else:
            others.append(teacher)
    if others:
        base, rows = resolve_subset(train)
        images = base.images
        if rows is not None:
            images = images[rows.to(images.device)]
        # Without the zeros that fill up the last row of a square.
        pixels: Any = images.flatten(1)[:, : net.n_features_in_].numpy(force=True)
        soft = [
            soften(_probabilities(each, net, pixels), net.distillation_temperature)
            for each in others
        ]
        train = with_soft_targets(train, torch.stack(soft).sum(0).float())
    return train, Teaching(
        tuple(networks),
        len(teachers),
        net.distillation_weight,
        net.distillation_temperature,
    )


def _network_in(teacher: Any) -> Any:
    """Return the net inside a frozen estimator or search; None for other classifiers.

    Not that inside a Pipeline, whose first steps change what it sees.
    """
    while not isinstance(teacher, TrainingNet):
        if isinstance(teacher, FrozenEstimator):
            teacher = teacher.estimator
        elif hasattr(teacher, "best_estimator_"):
            teacher = teacher.best_estimator_
        else:
            return None
    return teacher


def _copy_on_device(network: Any, net: TrainingNet) -> TrainingNet:
    """Copy a fitted net to the device of another, which learns from it."""
    if np.prod(network.image_shape_) != np.prod(net.image_shape_):
        raise ValueError(
            f"teacher {type(network).__name__} was fitted to images of shape "
            f"{network.image_shape_}, but these are of shape {net.image_shape_}"
        )
    precision = resolve_precision(
        network.precision, net.device_, network._bfloat16_pays
    )
    copy = network._twin_with_own_network(device_=net.device_, precision_=precision)
    copy.place_module()
    copy.module_.eval()
    return copy


def _probabilities(teacher: Any, net: TrainingNet, pixels: Any) -> Tensor:
    """Return a teacher's probabilities for rows of pixels, in double precision."""
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


# The loss --------------------------------------------------------------------------


class Teaching(NamedTuple):
    """The teachers of a training run, and their weight in the loss.

    References
    ----------
    Hinton, Vinyals and Dean, "Distilling the Knowledge in a Neural Network",
    arXiv:1503.02531, 2015.
    """

    networks: tuple[Any, ...]  # predict each batch as it is trained on
    n_teachers: int  # with those whose soft targets the batches carry
    weight: float
    temperature: float

    def loss(self, logits: Tensor, batch: Batch, label_loss: Tensor) -> Tensor:
        """Return the loss of a batch: that of the labels, and that of the teachers.

        Parameters
        ----------
        logits : Tensor of shape (n, n_classes)
            Of the network that learns.
        batch : Batch
            What they were computed of.
        label_loss : Tensor of shape ()
            By the labels alone.
        """
        soft = self._soft_targets(batch).to(logits.device)
        log_probabilities = F.log_softmax(logits / self.temperature, dim=1)
        divergences = F.kl_div(log_probabilities, soft, reduction="none").sum(1)  # (n,)
        # The factor keeps gradients at their size, whatever the temperature is.
        losses = self.temperature**2 * divergences
        soft_loss = batch_loss(losses, batch.blended_weights)
        return (1 - self.weight) * label_loss + self.weight * soft_loss

    def _soft_targets(self, batch: Batch) -> Tensor:
        """Return the mean of the teachers' probabilities, of shape (n, n_classes)."""
        soft_targets = [] if batch.soft_targets is None else [batch.soft_targets]
        images = torch.as_tensor(batch[0])
        for net in self.networks:
            laid_out = images.reshape(len(images), *net.image_shape_)
            with net._training_precision():
                logits = net.evaluation_step((laid_out,))
            soft_targets.append((logits.float() / self.temperature).softmax(1))
        return torch.stack(soft_targets).sum(0) / self.n_teachers


def soften(probabilities: Tensor, temperature: float) -> Tensor:
    """Return the probabilities of logits that are divided by ``temperature``."""
    return (probabilities.log() / temperature).softmax(1)
