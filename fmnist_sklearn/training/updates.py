"""Updates of the weights that are recorded once, by numbers that change."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from .callbacks import LRSchedule, WeightAverage
from .capturable import cycles_momentum
from .device import sent

_N_COLUMNS = 4


class Updates:
    """The updates of the weights and of their averages, of some steps in a row.

    What differs between steps lies in a table on the device, a row for each step: for
    each group of the optimizer the learning rate, two factors for the momentum and one
    for the weights, and then the share by which the averages move.

    Parameters
    ----------
    net, schedule, average
        As for `CapturedSteps`.
    n_steps : int
        At most so many in a row.
    """

    def __init__(
        self,
        net: Any,
        schedule: LRSchedule | None,
        average: WeightAverage | None,
        n_steps: int,
    ) -> None:
        self.net, self.schedule, self.average = net, schedule, average
        groups = net.optimizer_.param_groups
        changes = cycles_momentum(schedule)
        # Options of the optimizer that may change from step to step.
        self.free = {"lr", "betas"} if changes else {"lr"}
        # Of each group what Adam is told for good, where the schedule changes beta1.
        self._betas = [group["betas"][0] if changes else None for group in groups]
        self._n_taken = [_steps_taken(net.optimizer_, group) for group in groups]
        self._table = torch.zeros(
            (n_steps, _N_COLUMNS * len(groups) + 1),
            dtype=torch.float32,
            device=net.device_,
        )

    def prepare(self, n_steps: int) -> None:
        """Write the table for the next steps, and move the schedule past them."""
        rows = [self._next_row() for _ in range(n_steps)]
        values = torch.tensor(rows, dtype=torch.float32)
        self._table[:n_steps].copy_(sent(values, self._table.device))

    def _next_row(self) -> list[float]:
        row: list[float] = []
        for index, group in enumerate(self.net.optimizer_.param_groups):
            lr, beta = group["lr"], self._betas[index]
            self._n_taken[index] += 1
            if beta is None:
                row += lr, 1, 0, 1
                continue
            # Adam moves its average a towards the gradient g, and divides the result by
            # 1 - beta ** n. Told beta, it does as with the beta of now, where a is made
            # such that beta a + (1 - beta) g is what it would be, and lr for the rest.
            now, n = group["betas"][0], self._n_taken[index]
            shrink = 1 - lr * group["weight_decay"]
            rate = lr * (1 - beta**n) / (1 - now**n)
            row += rate, now / beta, (beta - now) / beta, shrink
        row.append(self.average.next_share() if self.average else 0)
        if self.schedule is not None:
            self.schedule.on_batch_end(self.net, training=True)
        return row

    @torch.no_grad()
    def apply(self, number: int) -> None:
        """Update weights and averages by a row of the table: what is recorded."""
        optimizer = self.net.optimizer_
        *columns, share = self._table[number].unbind()
        rates, *others = (columns[i::_N_COLUMNS] for i in range(_N_COLUMNS))
        groups = optimizer.param_groups
        for group, beta, *factors in zip(groups, self._betas, *others, strict=True):
            if beta is not None:
                self._change_momentum(group, *factors)
        with _told(optimizer, rates, self._betas):
            optimizer.step()
        if self.average is not None:
            averages, tensors = self.average.average_, self.average.tensors_
            moves = torch._foreach_sub(tensors, averages)
            torch._foreach_mul_(moves, share)
            torch._foreach_add_(averages, moves)

    def _change_momentum(
        self, group: dict[str, Any], kept: Tensor, added: Tensor, shrink: Tensor
    ) -> None:
        """Decay the weights of a group, and prepare its averages of gradients."""
        parameters = [p for p in group["params"] if p.grad is not None]
        if not parameters:  # functions of lists refuse empty ones
            return
        grads = [p.grad for p in parameters]
        if group.get("decoupled_weight_decay"):
            torch._foreach_mul_(parameters, shrink)
        elif group["weight_decay"]:
            torch._foreach_add_(grads, parameters, alpha=group["weight_decay"])
        states = [self.net.optimizer_.state[p] for p in parameters]
        if "exp_avg" in states[0]:  # not before the first step ever
            averages = [state["exp_avg"] for state in states]
            torch._foreach_mul_(averages, kept)
            torch._foreach_add_(averages, torch._foreach_mul(grads, added))


def _steps_taken(optimizer: torch.optim.Optimizer, group: dict[str, Any]) -> int:
    """Count the steps that an optimizer took before, where it counts them."""
    states = (optimizer.state.get(p, {}) for p in group["params"])
    return max((int(state["step"]) for state in states if "step" in state), default=0)


@contextmanager
def _told(
    optimizer: torch.optim.Optimizer, rates: list[Tensor], betas: list[float | None]
) -> Iterator[None]:
    """Have an optimizer read its learning rates from tensors, as for recording."""
    groups = optimizer.param_groups
    before = [dict(group) for group in groups]
    is_recording = rates[0].is_cuda and torch.cuda.is_current_stream_capturing()
    for group, rate, beta in zip(groups, rates, betas, strict=True):
        group["lr"] = rate
        if "capturable" in group:
            group["capturable"] = is_recording
        if beta is not None:
            group["betas"] = (beta, group["betas"][1])
            group["weight_decay"] = 0
    try:
        yield
    finally:
        for group, values in zip(groups, before, strict=True):
            group.update(values)
