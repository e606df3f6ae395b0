"""Distillation: a network also learns from the probabilities of other classifiers."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from .batches import Batch, batch_loss


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
