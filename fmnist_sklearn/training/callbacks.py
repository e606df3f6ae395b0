"""skorch callbacks: early stopping, schedules, averages, lines, scikit-learn's own."""

from __future__ import annotations

import copy
import inspect
import logging
import math
import os
import time
from collections.abc import Callable
from contextlib import contextmanager, suppress
from typing import Any, NamedTuple

import torch
from skorch.callbacks import Callback, PrintLog
from skorch.callbacks.logging import filter_log_keys
from torch import Tensor, nn

from .._sklearn import warn_user

try:
    from sklearn.callback import CallbackSupportMixin, with_callbacks
except ImportError:  # scikit-learn before 1.9 has no callbacks

    class CallbackSupportMixin:  # type: ignore[no-redef]
        """Stand in for scikit-learn's class."""

    def with_callbacks(method):
        """Return the method unchanged."""
        return method


_logger = logging.getLogger("fmnist_sklearn")


def copy_state(module: nn.Module) -> dict[str, Tensor]:
    """Copy a module's parameters and buffers."""
    return {name: value.clone() for name, value in module.state_dict().items()}


class _CallbackOfOneRun(Callback):
    """A callback whose attributes that end in ``_`` live for one training run."""

    def __getstate__(self) -> dict[str, Any]:
        """Leave out of pickles and copies what belongs to a run in progress."""
        return {k: v for k, v in self.__dict__.items() if not k.endswith("_")}


class BestEpoch(NamedTuple):
    """The best epoch so far, and its weights if kept."""

    epoch: int | None = None  # counted from 1; None without validation
    weights: dict[str, Tensor] | None = None


class EarlyStopping(_CallbackOfOneRun):
    """Keep the weights of the best epoch, and end the training in time.

    The training run puts the weights back when it ends, whatever ended it.

    Parameters
    ----------
    patience : int or None
        Number of epochs in a row without a lower validation loss after which the
        training ends: at once, or, where the learning rate follows a schedule, after
        the rest of the schedule in a quarter of its epochs. None never ends it.
    load_best : {"loss", "accuracy", None}
        Which epoch is the best: that with the lowest validation loss, a true minimum
        without tolerance; or the last whose validation accuracy is within one standard
        error, and at least one row, of the highest. None leaves the weights of the last
        epoch.

    References
    ----------
    Breiman, Friedman, Olshen and Stone, "Classification and Regression Trees", 1984,
    section 3.4.3: the rule of one standard error.
    """

    # As before a run.
    best_ = BestEpoch()
    loss_ = float("inf")
    accuracy_ = 0.0
    waited_ = 0
    has_run_out_ = False

    def __init__(self, patience: int | None, load_best: str | None = "loss") -> None:
        self.patience = patience
        self.load_best = load_best

    def on_train_begin(self, net, X=None, y=None, **kwargs):
        """Forget earlier fits."""
        self.__dict__ = self.__getstate__()

    def on_epoch_end(self, net, dataset_train=None, dataset_valid=None, **kwargs):
        """Copy the weights if they are the best so far; count epochs without gain."""
        row = net.history[-1]
        if "valid_loss" not in row:
            return
        is_lowest = row["valid_loss"] < self.loss_
        if self.load_best == "loss":
            is_best = is_lowest
        elif self.load_best == "accuracy":
            self.accuracy_ = p = max(row["valid_acc"], self.accuracy_)
            n = len(dataset_valid)
            error = max(math.sqrt(p * (1 - p) / n), 1 / n)
            is_best = row["valid_acc"] >= p - error - 1e-9
        else:
            is_best = False
        if is_best:
            # In one assignment, which no interrupt can leave half done.
            self.best_ = BestEpoch(row["epoch"], copy_state(net.module_))
        self.loss_ = min(row["valid_loss"], self.loss_)
        self.waited_ = 0 if is_lowest else self.waited_ + 1
        if self.waited_ == self.patience and not self.has_run_out_:
            self.has_run_out_ = True
            net._training.end_early()

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
    kwargs : dict
        Further arguments of the scheduler.
    """

    # As outside of a run.
    scheduler_: Any = None
    steps_left_ = 0
    stride_ = 1

    def __init__(
        self, policy: str | Callable[..., Any], kwargs: dict[str, Any]
    ) -> None:
        self.policy = policy
        self.kwargs = kwargs

    def start(self, optimizer: torch.optim.Optimizer, total_steps: int) -> None:
        """Build the scheduler, once the number of steps is known."""
        self.scheduler_, self.steps_left_, self.stride_ = None, total_steps, 1
        policy: Any = self.policy
        if isinstance(policy, str):
            if total_steps == 1:
                return  # a single step is taken at the full rate
            policy = SCHEDULES[policy]
        is_class = isinstance(policy, type)
        if not is_class:
            self.scheduler_ = policy(optimizer, total_steps, **self.kwargs)
            return
        if issubclass(policy, torch.optim.lr_scheduler.ReduceLROnPlateau):
            raise ValueError(
                "lr_schedule=ReduceLROnPlateau follows a metric and not the steps; use "
                "skorch.callbacks.LRScheduler(policy='ReduceLROnPlateau', "
                "monitor='valid_loss') in callbacks instead"
            )
        parameters = inspect.signature(policy).parameters
        kwargs: dict[str, Any] = {k: total_steps for k in _SPANS if k in parameters}
        if "max_lr" in parameters:
            kwargs["max_lr"] = [group["lr"] for group in optimizer.param_groups]
        if "cycle_momentum" in parameters:
            has_momentum = {"momentum", "betas"} & optimizer.defaults.keys()
            kwargs["cycle_momentum"] = bool(has_momentum)
        try:
            self.scheduler_ = policy(optimizer, **{**kwargs, **self.kwargs})
        except ZeroDivisionError as error:
            raise ValueError(
                f"lr_schedule={self.policy!r} cannot divide {total_steps} steps with "
                f"{self.kwargs!r}; train longer or change lr_schedule__pct_start"
            ) from error

    def on_batch_end(self, net, batch=None, training=False, **kwargs):
        """Move to the learning rate of the next step."""
        if training and self.scheduler_ is not None:
            for _ in range(min(self.stride_, self.steps_left_ - 1)):
                self.scheduler_.step()
            self.steps_left_ -= self.stride_

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

    def on_train_end(self, net, X=None, y=None, **kwargs):
        """Release the weights and their average."""
        self.tensors_, self.average_ = (), ()

    @torch.no_grad()
    def _swap(self) -> None:
        for tensor, average in zip(self.tensors_, self.average_, strict=True):
            kept = tensor.clone()
            tensor.copy_(average)
            average.copy_(kept)


class BusyMachine(Callback):
    """Warn, once in a run, if its threads wait for each other on a busy machine."""

    def on_train_begin(self, net, X=None, y=None, **kwargs):
        """Note the times."""
        self.begin_ = time.perf_counter(), time.process_time()

    def on_epoch_end(self, net, dataset_train=None, dataset_valid=None, **kwargs):
        """Compare the time on processors with that of all threads, after 2 s."""
        n_threads, (wall, cpu) = torch.get_num_threads(), self.begin_
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        # Undisturbed, they are nearly equal, as threads wait in a loop.
        if wall < 2 or n_threads == 1 or cpu > 0.6 * wall * n_threads:
            return
        # Of many threads, some have nothing to do; they are not missing a processor.
        if hasattr(os, "getloadavg") and os.getloadavg()[0] < n_threads:
            return
        sleep = {"GOMP_SPINCOUNT", "OMP_WAIT_POLICY"} & os.environ.keys()
        if net.device_.type == "cpu" and net.iterator_train is None and not sleep:
            self.begin_ = math.inf, 0.0  # once
            warn_user(
                "other processes, or the limit of a container, take processors from "
                f"PyTorch's {n_threads} threads, which may then need many times as long"
                " as one. Set GOMP_SPINCOUNT=1000 before Python starts, or call "
                "torch.set_num_threads(1)"
            )


class EpochLog(_CallbackOfOneRun, PrintLog):
    """Report each epoch in a line, as "epoch 3 of 28: train_loss 0.61, ..., 0:40 left".

    If ``verbose``, it is printed. The logger "fmnist_sklearn" and a `sink` other than
    print take it in any case. A stdout that is missing or closed does not end the
    training.

    Parameters
    ----------
    keys_ignored, sink, floatfmt
        As in skorch's class. Its other parameters are those of a table, and ignored.
    """

    def on_epoch_end(self, net, dataset_train=None, dataset_valid=None, **kwargs):
        """Print and log the epoch."""
        row, epoch, run = net.history[-1], len(net.history), net._training
        # Without what marks the best values, which skorch colours.
        shown = {key: row[key] for key in filter_log_keys(row, self.keys_ignored_)}
        n_left = run.n_epochs - run.n_run
        left = round(shown.pop("dur", 0) * n_left)
        values = [f"{key} {self.format_row(shown, key, None)}" for key in shown]
        values.append(f"{left // 60}:{left % 60:02} left")
        line = f"epoch {epoch} of {epoch + n_left}: {', '.join(values)}"
        _logger.info(line)
        if self.sink is not print:
            self.sink(line)
        elif net.verbose:
            with suppress(OSError, ValueError):  # ValueError: the file is closed
                print(line, flush=True)


class FitTasks(Callback):
    """Report a fit and its epochs to scikit-learn's callbacks.

    Parameters
    ----------
    net : ImageClassifier
        The estimator that is fitted, with callbacks set by ``set_callbacks``.
    X, y : array-like
        What ``fit`` received, validated.
    sample_weight : ndarray or None
        Weights of the rows.
    n_epochs : int
        Epochs, at most.
    """

    def __init__(
        self, net: Any, X: Any, y: Any, sample_weight: Any, n_epochs: int
    ) -> None:
        metadata = None if sample_weight is None else {"sample_weight": sample_weight}
        self.data_ = {"X": X, "y": y, "metadata": metadata}
        self.fit_context_ = net._init_callback_context(max_subtasks=n_epochs)
        self.fit_context_.call_on_fit_task_begin(estimator=net, **self.data_)

    def on_epoch_begin(self, net, dataset_train=None, dataset_valid=None, **kwargs):
        """Open the task of an epoch."""
        self.epoch_context_ = self.fit_context_.subcontext(task_name="epoch")
        self.epoch_context_.call_on_fit_task_begin(estimator=net, **self.data_)

    def on_epoch_end(self, net, dataset_train=None, dataset_valid=None, **kwargs):
        """Close the task; a callback that returns True ends the training."""
        if self._close(self.epoch_context_, net):
            net.stop_training()

    def end_fit(self, net: Any) -> None:
        """Close the task of the fit, once the best weights are in place."""
        self._close(self.fit_context_, net)

    def _close(self, context: Any, net: Any) -> bool:
        return context.call_on_fit_task_end(
            estimator=net,
            # A copy, because training continues in the network itself.
            reconstruction_attributes=lambda: {"module_": copy.deepcopy(net.module_)},
            **self.data_,
        )
