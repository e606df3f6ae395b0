"""What "fitted" means: what a pickle holds, and what a failed call puts back."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import torch
from sklearn.utils.validation import check_is_fitted
from torch import Tensor, nn
from torch.utils._pytree import tree_map_only

from ..modules import Dropout
from ..training import resolve_device


class Snapshot:
    """An estimator as it was before a call, to put back should the call fail.

    Parameters
    ----------
    net : ImageClassifier
        The estimator.
    in_place : bool
        Whether the call goes on with its network, whose tensors are copied for that.
        Otherwise the call makes new ones, and the old are left alone.
    """

    def __init__(self, net: Any, *, in_place: bool) -> None:
        self.attributes = net.__dict__.copy()
        self.tensors: list[tuple[Tensor, Tensor]] = []
        self.dropouts: list[tuple[Dropout, float]] = []
        self.optimizer_state: dict[str, Any] | None = None
        if in_place:
            module = net.module_
            self.n_epochs = len(net.history_)
            self.tensors = [
                (tensor, tensor.detach().clone())
                for tensor in (*module.parameters(), *module.buffers())
            ]
            self.dropouts = [
                (m, m.p) for m in module.modules() if isinstance(m, Dropout)
            ]
            if "optimizer_" in self.attributes:
                self.optimizer_state = copy.deepcopy(net.optimizer_.state_dict())

    @torch.no_grad()
    def put_back(self, net: Any) -> None:
        """Make the estimator what it was."""
        net.__dict__.clear()
        net.__dict__.update(self.attributes)
        for tensor, value in self.tensors:
            tensor.copy_(value)
        for layer, p in self.dropouts:
            layer.p = p
        if self.optimizer_state is not None:
            net.optimizer_.load_state_dict(self.optimizer_state)
        if self.tensors:
            del net.history_[self.n_epochs :]


class FittedAttributes:
    """What a fitted estimator says of itself, told from its network and history."""

    module_: Any
    history_: Any

    @property
    def classes_(self) -> np.ndarray:
        """The class labels, sorted, of shape (n_classes,)."""
        try:
            return self.__dict__["_classes"]
        except KeyError:
            raise AttributeError(
                f"This {type(self).__name__} instance is not fitted yet: it has no "
                "attribute 'classes_'"
            ) from None

    @classes_.setter
    def classes_(self, classes: np.ndarray) -> None:
        self._classes = classes

    @property
    def n_parameters_(self) -> int:
        """Number of learnable parameters of the network."""
        check_is_fitted(self)
        return sum(p.numel() for p in self.module_.parameters() if p.requires_grad)

    @property
    def n_iter_(self) -> int:
        """Number of epochs run, over all calls since the weights were drawn."""
        check_is_fitted(self)
        return len(self.history_)

    @property
    def n_classes_(self) -> int:
        """Number of classes."""
        return len(self.classes_)

    @property
    def loss_curve_(self) -> list[float]:
        """Training loss of each epoch, as ``MLPClassifier`` has it."""
        check_is_fitted(self)
        return [row["train_loss"] for row in self.history_]

    @property
    def best_loss_(self) -> float:
        """The lowest training loss of an epoch, as ``MLPClassifier`` has it."""
        return min(self.loss_curve_)

    @property
    def validation_scores_(self) -> list[float] | None:
        """Validation accuracy of each epoch; None where an epoch had no validation."""
        check_is_fitted(self)
        scores = [row.get("valid_acc") for row in self.history_]
        return None if None in scores else scores


class PicklesMixin:
    """Pickles, copies and skorch's files of an estimator, at any moment of its life."""

    device: Any
    device_: torch.device
    warm_start: bool
    _is_partial_fit: bool

    def __getstate__(self) -> dict[str, Any]:
        """Return what a pickle holds: the network on the CPU, no training leftovers.

        The optimizer's state is kept only where training can go on from it: with
        ``warm_start``, or after ``partial_fit``.
        """
        state = self.__dict__.copy()
        state.pop("_training", None)
        optimizer = state.pop("optimizer_", None)
        if optimizer is not None and (self.warm_start or self._is_partial_fit):
            state["_optimizer_state"] = type(optimizer), optimizer.state_dict()
        if "module_" in state and self.device_.type != "cpu":
            for name in ("module_", "criterion_"):
                if isinstance(state.get(name), nn.Module):
                    state[name] = copy.deepcopy(state[name]).cpu()
            if "_optimizer_state" in state:
                state["_optimizer_state"] = tree_map_only(
                    torch.Tensor, Tensor.cpu, state["_optimizer_state"]
                )
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Restore the estimator; the network goes to the device this machine has."""
        self.__dict__.update(state)
        if "module_" in state:
            try:
                self.device_ = resolve_device(self.device)
            except ValueError:
                self.device_ = torch.device("cpu")
            self.place_module()  # type: ignore[attr-defined]
            if isinstance(state.get("criterion_"), nn.Module):
                state["criterion_"].to(self.device_)

    def load_params(self, *args: Any, **kwargs: Any) -> None:
        """Load weights, optimizer or history from files, as skorch does.

        Parameters
        ----------
        *args, **kwargs
            As for ``skorch.NeuralNet.load_params``.
        """
        device = self.device
        self.device = str(getattr(self, "device_", "cpu"))
        try:
            super().load_params(*args, **kwargs)  # type: ignore[misc]
        finally:
            self.device = device
