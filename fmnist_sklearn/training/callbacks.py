"""skorch callbacks of the estimators: early stopping, schedules, weight averaging."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from contextlib import contextmanager, suppress
from typing import Any, NamedTuple

import torch
from skorch.callbacks import Callback, PrintLog
from torch import Tensor, nn


def copy_state(module: nn.Module) -> dict[str, Tensor]:
    """Copy a module's parameters and buffers."""
    return {name: value.clone() for name, value in module.state_dict().items()}


class _CallbackOfOneRun(Callback):
    """A callback whose attributes that end in ``_`` live for one training run."""

    def __getstate__(self) -> dict[str, Any]:
        """Leave out of pickles and copies what belongs to a run in progress."""
        return {k: v for k, v in self.__dict__.items() if not k.endswith("_")}


class BestEpoch(NamedTuple):
    """The epoch with the lowest validation loss so far, and its weights if kept."""

    loss: float = float("inf")
    epoch: int | None = None  # counted from 1; None without validation
    weights: dict[str, Tensor] | None = None


class EarlyStopping(_CallbackOfOneRun):
    """Keep the weights of the epoch with the lowest validation loss; stop in time.

    "Lowest" is the true minimum, without a tolerance. The training run puts the weights
    back when it ends, whatever ended it.

    Parameters
    ----------
    patience : int or None
        Stop after this number of epochs in a row that did not lower the validation
        loss; None never stops.
    load_best : bool, default=True
        False leaves the weights of the last epoch, and only stops.
    """

    # As before a run.
    best_ = BestEpoch()
    waited_ = 0
    has_run_out_ = False

    def __init__(self, patience: int | None, load_best: bool = True) -> None:
        self.patience = patience
        self.load_best = load_best

    def on_train_begin(self, net, X=None, y=None, **kwargs):
        """Forget earlier fits."""
        self.best_, self.waited_, self.has_run_out_ = BestEpoch(), 0, False

    def on_epoch_end(self, net, dataset_train=None, dataset_valid=None, **kwargs):
        """Copy the weights if they are the best so far, else count."""
        loss = net.history[-1].get("valid_loss")
        if loss is None:
            return
        if loss < self.best_.loss:
            # In one assignment, which no interrupt can leave half done.
            epoch = net.history[-1]["epoch"]
            weights = copy_state(net.module_) if self.load_best else None
            self.best_ = BestEpoch(loss, epoch, weights)
            self.waited_ = 0
        else:
            self.waited_ += 1
            if self.patience is not None and self.waited_ >= self.patience:
                self.has_run_out_ = True
                net.stop_training()

    def on_train_end(self, net, X=None, y=None, **kwargs):
        """Release the copy of the weights."""
        self.best_ = self.best_._replace(weights=None)


# Schedules that have a name in ``lr_schedule``.
SCHEDULES: dict[str, Any] = {
    "one_cycle": torch.optim.lr_scheduler.OneCycleLR,
    "cosine": torch.optim.lr_scheduler.CosineAnnealingLR,
}
# What classes of torch.optim.lr_scheduler call the number of steps that they span.
_SPANS = ("total_steps", "T_max", "total_iters")


class LRSchedule(_CallbackOfOneRun):
    """Change the learning rate after every batch, over a planned number of steps.

    Parameters
    ----------
    policy : {"one_cycle", "cosine"} or callable
        ``torch.optim.lr_scheduler.OneCycleLR`` or ``CosineAnnealingLR``, another class
        of ``torch.optim.lr_scheduler``, or a function called as
        ``policy(optimizer, total_steps, **kwargs)``.
    n_epochs : int
        Number of epochs that the schedule spans.
    kwargs : dict
        Further arguments of the scheduler.
    """

    # As outside of a run.
    scheduler_: Any = None
    steps_left_ = 0

    def __init__(
        self,
        policy: str | Callable[..., Any],
        n_epochs: int,
        kwargs: dict[str, Any],
    ) -> None:
        self.policy = policy
        self.n_epochs = n_epochs
        self.kwargs = kwargs

    def start(self, optimizer: torch.optim.Optimizer, steps_per_epoch: int) -> None:
        """Build the scheduler, once the number of steps is known."""
        total_steps = self.n_epochs * steps_per_epoch
        self.scheduler_, self.steps_left_ = None, total_steps
        policy: Any = self.policy
        if isinstance(policy, str):
            if total_steps == 1:
                return  # a single step is taken at the full rate
            policy = SCHEDULES[policy]
        if isinstance(policy, type):
            self.scheduler_ = self._make(policy, optimizer, total_steps)
        else:
            self.scheduler_ = policy(optimizer, total_steps, **self.kwargs)

    def _make(
        self, cls: Any, optimizer: torch.optim.Optimizer, total_steps: int
    ) -> Any:
        """Build a scheduler of one of PyTorch's classes, for a number of steps."""
        if issubclass(cls, torch.optim.lr_scheduler.ReduceLROnPlateau):
            raise ValueError(
                "lr_schedule=ReduceLROnPlateau follows a metric and not the steps; use "
                "skorch.callbacks.LRScheduler(policy='ReduceLROnPlateau', "
                "monitor='valid_loss') in callbacks instead"
            )
        parameters = inspect.signature(cls).parameters
        kwargs: dict[str, Any] = {k: total_steps for k in _SPANS if k in parameters}
        if "max_lr" in parameters:
            kwargs["max_lr"] = [group["lr"] for group in optimizer.param_groups]
        if "cycle_momentum" in parameters:
            has_momentum = {"momentum", "betas"} & optimizer.defaults.keys()
            kwargs["cycle_momentum"] = bool(has_momentum)
        try:
            return cls(optimizer, **{**kwargs, **self.kwargs})
        except ZeroDivisionError as error:
            raise ValueError(
                f"lr_schedule={self.policy!r} cannot divide {total_steps} steps with "
                f"{self.kwargs!r}; train longer or change lr_schedule__pct_start"
            ) from error

    def on_batch_end(self, net, batch=None, training=False, **kwargs):
        """Move to the learning rate of the next step."""
        if training and self.scheduler_ is not None:
            self.steps_left_ -= 1
            if self.steps_left_ > 0:
                self.scheduler_.step()

    def on_train_end(self, net, X=None, y=None, **kwargs):
        """Release the optimizer."""
        self.scheduler_ = None


class WeightAverage(_CallbackOfOneRun):
    """Keep an exponential moving average of the weights, and judge the net by it.

    Parameters
    ----------
    decay : float
        Share of the average that stays at each step, at most: early on it is
        ``(1 + t) / (10 + t)`` at step t, so that the first weights fade soon.

    References
    ----------
    Polyak and Juditsky, "Acceleration of Stochastic Approximation by Averaging", SIAM
    Journal on Control and Optimization 30 (4), 1992.
    """

    # As outside of a run.
    tensors_: tuple[Tensor, ...] = ()
    average_: tuple[Tensor, ...] = ()
    n_steps_ = 0

    def __init__(self, decay: float) -> None:
        self.decay = decay

    def on_train_begin(self, net, X=None, y=None, **kwargs):
        """Start from the weights as they are."""
        # Floating-point buffers too, batch normalisation's among them.
        values = net.module_.state_dict().values()
        self.tensors_ = tuple(v for v in values if v.is_floating_point())
        self.average_ = tuple(tensor.clone() for tensor in self.tensors_)
        self.n_steps_ = 0

    @torch.no_grad()
    def on_batch_end(self, net, batch=None, training=False, **kwargs):
        """Move the average towards the weights."""
        if training and self.tensors_:
            # One operation for all tensors; one for each would take longer than the
            # optimizer's step.
            torch._foreach_lerp_(self.average_, self.tensors_, self.next_share())

    def next_share(self) -> float:
        """Count a step; return how far the average moves to the weights in it."""
        self.n_steps_ += 1
        return 1 - min(self.decay, (1 + self.n_steps_) / (10 + self.n_steps_))

    @contextmanager
    def applied(self):
        """Put the average in the weights' place for a while."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    def forget(self) -> None:
        """Release the weights and their average."""
        self.tensors_, self.average_ = (), ()

    @torch.no_grad()
    def _swap(self) -> None:
        for tensor, average in zip(self.tensors_, self.average_, strict=True):
            kept = tensor.clone()
            tensor.copy_(average)
            average.copy_(kept)


class EpochLog(PrintLog):
    """skorch's table of epochs; without a usable stdout the training goes on.

    ``sys.stdout`` is None in services and programs without a console, and a pipe or
    file behind it may be closed.
    """

    def on_epoch_end(self, net, **kwargs):
        """Print the epoch if ``verbose``; another `sink` than print takes all."""
        if self.sink is not print:
            super().on_epoch_end(net, **kwargs)
        elif net.verbose and sys.stdout is not None:
            with suppress(OSError, ValueError):  # ValueError: the file is closed
                super().on_epoch_end(net, **kwargs)
