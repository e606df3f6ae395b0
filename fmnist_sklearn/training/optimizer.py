"""The step of ``torch.optim.Adam`` and ``AdamW``, without the calls around it.

PyTorch's ``step`` looks for hooks, tells its profiler and sorts the parameters anew
each time. With a network as small as LeNet-5 that costs more than the arithmetic.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.optim.adam import adam
from torch.optim.optimizer import (
    _global_optimizer_post_hooks,
    _global_optimizer_pre_hooks,
)

_UNUSUAL = ("amsgrad", "maximize", "capturable", "differentiable")


def takes_quick_step(optimizer: torch.optim.Optimizer) -> bool:
    """Whether ``quick_step`` does all that ``optimizer.step()`` would do.

    Parameters
    ----------
    optimizer : torch.optim.Optimizer
        Any; only ``torch.optim.Adam`` and ``AdamW`` with ``fused=True`` qualify,
        without options that change their arithmetic, without hooks, and once each
        parameter has a state.
    """
    groups = optimizer.param_groups
    return (
        type(optimizer) in (torch.optim.Adam, torch.optim.AdamW)
        and len(optimizer.state) == sum(len(group["params"]) for group in groups)
        and all(
            group.get("fused") and not any(group.get(name) for name in _UNUSUAL)
            for group in groups
        )
        and step_is_torch_s(optimizer)
    )


def step_is_torch_s(optimizer: torch.optim.Optimizer) -> bool:
    """Whether nobody put a ``step`` of their own in place, or hooks around it.

    PyTorch's schedulers do, to see that steps are taken; ``quick_step`` tells them.
    """
    step = vars(optimizer).get("step")
    return (
        (step is None or hasattr(step, "_wrapped_by_lr_sched"))
        and not optimizer._optimizer_step_pre_hooks
        and not optimizer._optimizer_step_post_hooks
        and not _global_optimizer_pre_hooks
        and not _global_optimizer_post_hooks
    )


@torch.no_grad()
def quick_step(optimizer: torch.optim.Optimizer) -> None:
    """Update the parameters and the state of an optimizer that takes a quick step.

    Parameters
    ----------
    optimizer : torch.optim.Adam or torch.optim.AdamW
        See ``takes_quick_step``. Parameters without a gradient stay as they are.
    """
    for group in optimizer.param_groups:
        parameters = [p for p in group["params"] if p.grad is not None]
        states: list[dict[str, Any]] = [optimizer.state[p] for p in parameters]
        beta1, beta2 = group["betas"]
        adam(
            parameters,
            [p.grad for p in parameters],
            [state["exp_avg"] for state in states],
            [state["exp_avg_sq"] for state in states],
            [],
            [state["step"] for state in states],
            fused=True,
            amsgrad=False,
            beta1=beta1,
            beta2=beta2,
            lr=group["lr"],
            weight_decay=group["weight_decay"],
            eps=group["eps"],
            maximize=False,
            decoupled_weight_decay=group["decoupled_weight_decay"],
        )
    optimizer._opt_called = True  # type: ignore[attr-defined] # for schedulers
