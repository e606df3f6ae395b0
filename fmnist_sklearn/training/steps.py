"""One step of training, validation or prediction, computed as PyTorch goes along."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
import torch.nn.functional as F
from skorch import NeuralNetClassifier
from torch import Tensor

from .adam import quick_step, takes_quick_step
from .batches import Batch
from .losses import batch_loss, row_losses


class EagerSteps(NeuralNetClassifier):
    """What a net does with a batch; skorch's names, so that subclasses may override."""

    def infer(self, x: Any, **fit_params: Any) -> Tensor:
        """Return the logits of a batch of raw images."""
        return self.module_(torch.as_tensor(x, device=self.device_), **fit_params)

    def get_loss(
        self,
        y_pred: Tensor,
        y_true: Tensor,
        X: Any = None,
        training: bool = False,
        weights: Tensor | None = None,
    ) -> Tensor:
        """Return the mean cross-entropy of a batch, without smoothing in validation.

        Parameters
        ----------
        y_pred : Tensor of shape (n, n_classes)
            Logits.
        y_true : Tensor of shape (n,)
            Class indices.
        X : ignored
            Part of skorch's interface.
        training : bool, default=False
            Whether label smoothing applies.
        weights : Tensor of shape (n,), optional
            Sample weights, of mean 1 over the whole part.
        """
        y_true = torch.as_tensor(y_true, device=self.device_).long()
        losses = (
            row_losses(self.criterion_, y_pred, y_true)
            if training
            else F.cross_entropy(y_pred, y_true, reduction="none")
        )
        return batch_loss(losses, weights)

    def train_step_single(self, batch: Any, **fit_params: Any) -> dict[str, Tensor]:
        """Compute the loss of a batch and its gradients."""
        if not self.module_.training:
            self._set_training(True)
        with self._training_precision():
            logits = self.infer(batch[0], **fit_params)
        loss = self._training_loss(logits.float(), batch)
        loss.backward()
        return {"loss": loss, "y_pred": logits}

    def _training_loss(self, logits: Tensor, batch: Any) -> Tensor:
        """Return the loss of a batch: of both labels of blended images, and teachers'.

        Teachers belong to a run; a step outside of one learns from the labels alone.
        """
        batch = batch if isinstance(batch, Batch) else Batch(*batch)
        images, targets = batch
        loss = self.get_loss(
            logits, targets, X=images, training=True, **_weights_of(batch)
        )
        if batch.mixed_in is not None:
            mixed_in = batch.mixed_in
            others = self.get_loss(
                logits,
                mixed_in.targets,
                X=images,
                training=True,
                **_weights_of(mixed_in),
            )
            loss = torch.lerp(others, loss, mixed_in.share[0].to(loss.dtype))
        if self._training is None or self._training.teaching is None:
            return loss
        return self._training.teaching.loss(logits, batch, loss)

    def validation_step(self, batch: Any, **fit_params: Any) -> dict[str, Tensor]:
        """Compute the loss of a batch, as ``predict`` would see it."""
        if self.module_.training:
            self._set_training(False)
        images, targets = batch
        with torch.no_grad():
            logits = self.infer(images, **fit_params)
            loss = self.get_loss(logits, targets, X=images, **_weights_of(batch))
        return {"loss": loss, "y_pred": logits}

    def evaluation_step(self, batch: Any, training: bool = False) -> Tensor:
        """Return the logits of a batch, in float32."""
        with torch.set_grad_enabled(training):
            images = torch.as_tensor(batch[0], device=self.device_)
            logits = self.infer(images)
            if self.predict_flip and not training:
                logits = (logits + self.infer(images.flip(-1))) / 2
            return logits

    def _training_precision(self) -> AbstractContextManager[Any]:
        if self.precision_ == "float32":
            return nullcontext()
        # The cache of casted weights belongs to all threads: fits side by side on a GPU
        # would read each other's.
        cached = self.device_.type != "cuda"
        return torch.autocast(
            self.device_.type, dtype=torch.bfloat16, cache_enabled=cached
        )

    def _step_optimizer(self, step_fn: Callable[[], Tensor]) -> None:
        if takes_quick_step(self.optimizer_):
            with torch.enable_grad():  # as the optimizer's own step does
                step_fn()
            quick_step(self.optimizer_)
        else:
            super()._step_optimizer(step_fn)


def _weights_of(batch: Any) -> dict[str, Any]:
    """Name a batch's weights, if it has any: skorch's ``get_loss`` knows of none."""
    weights = getattr(batch, "weights", None)
    return {} if weights is None else {"weights": weights}
