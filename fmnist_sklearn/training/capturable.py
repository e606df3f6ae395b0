"""Whether training steps may be recorded and replayed, or why not."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

from ..modules.cpu.plain import has_hooks, nothing_intervenes
from .adam import step_is_torch_s
from .batches import BatchIterator, resolve_subset
from .callbacks import LRSchedule, WeightAverage
from .device import RECORDERS
from .losses import CrossEntropy

# A recording takes about as long as the steps that are recorded, and some more.
FEWEST_STEPS = 100

_BATCH_HOOKS = ("on_batch_begin", "on_batch_end", "on_grad_computed")
_OPTIMIZERS = (torch.optim.Adam, torch.optim.AdamW, torch.optim.SGD)
_METHODS = (
    "train_step",
    "train_step_single",
    "get_train_step_accumulator",
    "get_loss",
    "infer",
    "_training_loss",
    "_training_precision",
    "_set_training",
    "_step_optimizer",
    "_zero_grad_optimizer",
)

_METHODS_OF_TEACHERS = ("evaluation_step", "infer", "_training_precision")


def why_eager(run: Any, batches: Any) -> str | None:
    """Tell why each step has to be computed as Python goes along.

    Parameters
    ----------
    run : Training
        In progress, its schedule started.
    batches : iterable
        Of the training.

    Returns
    -------
    str or None
        The reason, for people to read. None where replaying what Python once asked the
        device for does all that Python would do.
    """
    net = run.net
    if net.device_.type not in RECORDERS:
        return f"the device is {net.device_}"
    listeners = [owner for hook in _BATCH_HOOKS for owner in run.listeners_to(hook)]
    own = [
        callback
        for callback in (run.schedule, run.average)
        if type(callback) in (LRSchedule, WeightAverage)
    ]
    for listener in listeners:
        if all(listener is not callback for callback in own):
            return f"{type(listener).__name__} listens to batches"
    overridden = _overridden(net, _METHODS)
    if overridden is not None:
        return overridden
    if type(net.criterion_) is not CrossEntropy or has_hooks(net.criterion_):
        return f"the criterion is a {type(net.criterion_).__name__}"
    return (
        _of_batches(net, batches, run.n_epochs)
        or _of_module(net.module_)
        or _of_teaching(run.teaching)
        or _of_optimizer(net.optimizer_)
        or _of_schedule(run.schedule, net.optimizer_)
    )


def _overridden(net: Any, methods: Iterable[str]) -> str | None:
    for name in methods:
        if not _is_known(getattr(type(net), name)) or name in vars(net):
            return f"{name} is overridden"
    return None


def _is_known(function: Any) -> bool:
    """Whether a function is this package's, skorch's or PyTorch's."""
    package = getattr(function, "__module__", None) or ""
    return package.partition(".")[0] in (__name__.partition(".")[0], "skorch", "torch")


def _of_batches(net: Any, batches: Any, n_epochs: int) -> str | None:
    if type(batches) is not BatchIterator:
        return "iterator_train is given"
    if callable(net.augment):
        return "augment is a function"
    base, _ = resolve_subset(batches.dataset)
    if base.images.device.type != net.device_.type:
        return "the images are not on the device"
    if len(batches) * n_epochs < FEWEST_STEPS:
        return f"there are fewer than {FEWEST_STEPS} steps"
    return None


def _of_module(module: nn.Module) -> str | None:
    if not nothing_intervenes():
        return "hooks or modes of PyTorch watch the computation"
    for layer in module.modules():
        kind = type(layer)
        if not _is_known(kind.forward) or "forward" in vars(layer):
            return f"a layer is a {kind.__name__}"
        if has_hooks(layer):
            return f"a {kind.__name__} has hooks"
        if isinstance(layer, nn.modules.dropout._DropoutNd):
            return f"a {kind.__name__} draws from PyTorch's global generator"
    for name, parameter in module.named_parameters():
        if parameter._backward_hooks or parameter._post_accumulate_grad_hooks:
            return f"{name} has hooks"
    return None


def _of_teaching(teaching: Any) -> str | None:
    """Look at the teachers that each step asks."""
    for net in () if teaching is None else teaching.networks:
        reason = _overridden(net, _METHODS_OF_TEACHERS) or _of_module(net.module_)
        if reason is not None:
            return f"of a teacher, {reason}"
    return None


def _of_optimizer(optimizer: torch.optim.Optimizer) -> str | None:
    name = type(optimizer).__name__
    if type(optimizer) not in _OPTIMIZERS:
        return f"the optimizer is a {name}"
    if not step_is_torch_s(optimizer):
        return f"{name} has a step of its own, or hooks"
    for group in optimizer.param_groups:
        if not group.get("fused"):
            return f"{name} is not fused"
        if group.get("dampening"):
            return f"{name} has dampening"
        if isinstance(group["lr"], torch.Tensor):
            return f"the learning rate of {name} is a tensor"
    return None


def _of_schedule(schedule: Any, optimizer: torch.optim.Optimizer) -> str | None:
    scheduler = None if schedule is None else schedule.scheduler_
    if scheduler is None:
        return None
    for each in _with_parts(scheduler):
        if type(each).__module__ != "torch.optim.lr_scheduler":
            return f"lr_schedule gives a {type(each).__name__}"
    if cycles_momentum(schedule) and not all(
        map(_may_change_momentum, optimizer.param_groups)
    ):
        return f"{type(scheduler).__name__} changes the momentum"
    return None


def _with_parts(scheduler: Any) -> Iterable[Any]:
    """Return a scheduler and those that it is made of."""
    yield scheduler
    for part in getattr(scheduler, "_schedulers", ()):
        yield from _with_parts(part)


def cycles_momentum(schedule: Any) -> bool:
    """Whether a schedule changes the momentum from step to step."""
    scheduler = None if schedule is None else schedule.scheduler_
    return scheduler is not None and any(
        getattr(each, "cycle_momentum", False) for each in _with_parts(scheduler)
    )


def _may_change_momentum(group: dict[str, Any]) -> bool:
    """Whether ``Updates`` can change a group's momentum: Adam's, and not always."""
    return bool(group.get("betas", (0,))[0]) and not group["maximize"]
