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


def batch_loss(losses: Tensor, weights: Tensor | None) -> Tensor:
    """Return the mean of a batch's losses, each times its weight where there are any.

    The weights have mean 1 over the whole part and are not divided by their sum in a
    batch, so that the mean over the batches of an epoch is that over its rows.
    """
    return losses.mean() if weights is None else (losses * weights).mean()
