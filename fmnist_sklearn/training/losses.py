"""The loss: cross-entropy of each row, and its mean over a batch."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor


class CrossEntropy(torch.nn.CrossEntropyLoss):
    """PyTorch's cross-entropy, which also tells the loss of each row."""

    def of_rows(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Return the loss of each row, of shape (n,), before any reduction."""
        return F.cross_entropy(
            logits,
            targets,
            weight=self.weight,
            ignore_index=self.ignore_index,
            reduction="none",
            label_smoothing=self.label_smoothing,
        )


def row_losses(criterion: Any, logits: Tensor, targets: Tensor) -> Tensor:
    """Return the loss of each row by a net's criterion.

    Parameters
    ----------
    criterion : CrossEntropy or callable
        Anything else was built with ``reduction="none"``.
    logits : Tensor of shape (n, n_classes)
        What the network gives.
    targets : Tensor of shape (n,), int64
        Class indices.
    """
    if isinstance(criterion, CrossEntropy):
        return criterion.of_rows(logits, targets)
    return criterion(logits, targets)


def distillation_losses(logits: Tensor, soft: Tensor, temperature: float) -> Tensor:
    """Return how far each row is from what its teachers say of it.

    Parameters
    ----------
    logits : Tensor of shape (n, n_classes)
        Of the network that learns.
    soft : Tensor of shape (n, n_classes)
        Probabilities that the teachers give at this temperature.
    temperature : float
        What logits are divided by.

    Returns
    -------
    Tensor of shape (n,)
        Kullback-Leibler divergence times ``temperature ** 2``, so that gradients keep
        their size at any temperature.
    """
    log_probabilities = F.log_softmax(logits / temperature, dim=1)
    divergence = F.kl_div(log_probabilities, soft, reduction="none").sum(1)
    return temperature**2 * divergence


def batch_loss(losses: Tensor, weights: Tensor | None) -> Tensor:
    """Return the mean of a batch's losses, each times its weight where there are any.

    The weights have mean 1 over the whole part and are not divided by their sum in a
    batch, so that the mean over the batches of an epoch is that over its rows.
    """
    return losses.mean() if weights is None else (losses * weights).mean()
