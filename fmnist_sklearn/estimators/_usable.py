"""Whether ``fit`` would take an estimator's parameters, asked without fitting."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ..training import ImageDataset
from ..training.batches import row_losses
from ..training.callbacks import LRSchedule
from . import _images as images
from ._data import weights_of_classes
from ._schema import MAX_VALUES, check_network

# Of an epoch in the rehearsal: enough for any share of them to warm up in. A schedule
# that divides by a number of steps finds 0 with few, and hardly with a prime number.
_N_STEPS = 10_007


def check_usable(net: Any, architecture: dict[str, Any]) -> None:
    """Hold a fitted estimator's parameters to what a next ``fit`` asks of them.

    Parameters
    ----------
    net : ImageClassifier
        Fitted; it is as before afterwards.
    architecture : dict
        Arguments of its network, for those that the parameters do not give.

    Raises
    ------
    Exception
        Whatever ``fit`` would raise, and ValueError for sizes beyond all reason, which
        it would find out about by running out of memory.
    """
    net._check_params()
    for name, value in net.get_params().items():
        _check_numbers(name, value)
        if isinstance(value, type) and name != "optimizer":
            raise ValueError(f"{name} is a class of optimizers")
    _check_device(net.device)
    given = net._module_arguments()
    check_network(net.module, given.pop("image_shape"), {**architecture, **given})
    if net.image_shape is not None:
        shape = images.check_image_shape(net.image_shape, math.prod(net.image_shape))
        if math.prod(shape) > MAX_VALUES:
            raise ValueError(f"image_shape={shape} is far beyond small images")
    if isinstance(net.augment, Mapping):
        for name in ("shift", "erase"):
            strength = net.augment.get(name, 0)
            if strength > 10 * max(net.image_shape_):
                raise ValueError(
                    f"augment[{name!r}]={strength!r} is far beyond images of shape "
                    f"{net.image_shape_}"
                )
    if isinstance(net.class_weight, dict):
        weights_of_classes(net.class_weight, net.classes_, net.classes_)
    before = dict(vars(net))
    try:
        _rehearse(net)
    finally:
        vars(net).clear()
        vars(net).update(before)


def _check_device(device: Any) -> None:
    """Refuse what is no device anywhere; one of another machine may be back there."""
    if device != "auto":
        try:
            torch.device(device)
        except (RuntimeError, TypeError) as error:
            raise ValueError(f"device={device!r} is none: {error}") from error


def _check_numbers(name: str, value: Any) -> None:
    """Refuse numbers that no parameter means."""
    if isinstance(value, Mapping):
        value = [*value.keys(), *value.values()]
    if isinstance(value, list | tuple):
        for item in value:
            _check_numbers(name, item)
    elif isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{name} holds {value}, expected finite numbers")
    elif isinstance(value, int) and name != "class_weight" and abs(value) >= 2**32:
        raise ValueError(f"{name} holds an integer of more than 32 bits")


def _rehearse(net: Any) -> None:
    """Build all that a fit builds around its network, and compute a loss."""
    rows = torch.zeros((2, 1, 1, 1), dtype=torch.uint8, device=net.device_)
    targets = torch.zeros(2, dtype=torch.int64, device=net.device_)
    dataset = ImageDataset(rows, targets)
    for training in (True, False):
        len(net.get_iterator(dataset, training=training))
    net.initialize_criterion()
    logits = torch.zeros((2, len(net.classes_)), device=net.device_)
    losses = row_losses(net.criterion_, logits.float(), targets)
    if not (isinstance(losses, Tensor) and torch.isfinite(losses).all()):
        raise ValueError("criterion__... gives losses that are not finite numbers")
    net._initialize_callbacks()
    net.optimizer = _without_compiler(net.optimizer)
    net.initialize_optimizer()
    for name, callback in net.callbacks_:
        if isinstance(callback, LRSchedule):
            try:
                callback.start(net.optimizer_, _N_STEPS)
            except Exception as error:
                raise ValueError(f"{name}: {error}") from error


def _without_compiler(optimizer: Any) -> Any:
    """Return a class like an optimizer's whose instances cost next to nothing.

    PyTorch loads its compiler, which takes seconds, for the first group of parameters
    that any optimizer is given.
    """

    def add_param_group(self: Any, param_group: dict[str, Any]) -> None:
        params = list(param_group["params"])
        self.param_groups.append({**self.defaults, **param_group, "params": params})

    return type(optimizer.__name__, (optimizer,), {"add_param_group": add_param_group})
