"""Fits that continue, and calls that fail: what is compared, loaded and put back."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..modules import Dropout
from ..training import Training, TrainingNet


class Snapshot:
    """An estimator as it was before a call, to restore if the call fails.

    Parameters
    ----------
    net : TrainingNet
        The estimator.
    in_place : bool
        Whether the call continues with its network, whose tensors are then copied.
        Otherwise the call makes new ones and leaves the old unchanged.

    Attributes
    ----------
    attributes : dict
        The estimator's attributes.
    in_place : bool
        As given.
    run : Training or None
        The run of the call, once there is one.
    """

    def __init__(self, net: TrainingNet, *, in_place: bool) -> None:
        self.attributes = vars(net).copy()
        self.in_place = in_place
        self.run: Training | None = None
        if in_place:
            module, self._history = net.module_, net.history_
            self._n_epochs = len(net.history_)
            tensors = (*module.parameters(), *module.buffers())
            self._tensors = [(each, each.detach().clone()) for each in tensors]
            layers = [m for m in module.modules() if isinstance(m, Dropout)]
            self._dropouts = [(layer, layer.p) for layer in layers]
            self._optimizer = self.attributes.get("optimizer_")
            if self._optimizer is not None:
                self._state = copy.deepcopy(self._optimizer.state_dict())

    @torch.no_grad()
    def restore(self) -> None:
        """Restore what the call changed in place."""
        if not self.in_place:
            return
        for tensor, value in self._tensors:
            tensor.copy_(value)
        for layer, p in self._dropouts:
            layer.p = p
        if self._optimizer is not None:
            self._optimizer.load_state_dict(self._state)
        del self._history[self._n_epochs :]


def same_value(first: Any, second: Any) -> bool:
    """Whether two parameters are equal, be they tuples, lists or arrays."""
    return _as_lists(first) == _as_lists(second)


def _as_lists(value: Any) -> Any:
    if isinstance(value, list | tuple | np.ndarray):
        return [_as_lists(item) for item in value]
    return value


def same_options(state: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether two states of one class of optimizers hold the same kinds of values.

    Options such as ``amsgrad``, and whether there is momentum, decide what an optimizer
    stores for each weight; rates do not.
    """

    def options(group: dict[str, Any]) -> dict[str, Any]:
        return {
            "n_params": len(group["params"]),
            **{
                name: bool(value)
                for name, value in group.items()
                if isinstance(value, bool) or name == "momentum"
            },
        }

    first, second = state["param_groups"], other["param_groups"]
    return list(map(options, first)) == list(map(options, second))


def same_parameters(
    first: torch.optim.Optimizer, second: torch.optim.Optimizer
) -> bool:
    """Whether two optimizers update the same tensors, in the same groups."""
    ids, others = (
        [[id(p) for p in group["params"]] for group in optimizer.param_groups]
        for optimizer in (first, second)
    )
    return ids == others


def load_state(
    optimizer: torch.optim.Optimizer,
    state: dict[str, Any],
    groups: list[dict[str, Any]],
) -> None:
    """Load an optimizer's state for each weight, with other hyper-parameters."""
    optimizer.load_state_dict({"state": state["state"], "param_groups": groups})
    # A fused step visits weights and state in the order of memory.
    for parameter, values in optimizer.state.items():
        for name, value in values.items():
            if isinstance(value, Tensor) and value.shape == parameter.shape:
                laid_out = torch.empty_like(parameter, dtype=value.dtype)
                values[name] = laid_out.copy_(value)


def on_cpu(value: Any) -> Any:
    """Copy the tensors in a state of an optimizer to the CPU."""
    if isinstance(value, Tensor):
        return value.cpu()
    if isinstance(value, dict):
        return {key: on_cpu(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(on_cpu(item) for item in value)
    return value
