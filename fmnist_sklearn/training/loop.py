"""One training run: epochs, batches, steps, validation, the best weights kept."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from contextvars import ContextVar
from typing import Any

import skorch.callbacks
import torch
from skorch import NeuralNet
from skorch.callbacks import Callback, ProgressBar

from ..modules import Dropout
from .callbacks import BestEpoch, EarlyStopping, LRSchedule, WeightAverage, copy_state
from .device import (
    freed_memory_kept,
    own_stream,
    record_stream,
    repeatable_cudnn,
    seeded,
)

_extra_callbacks: ContextVar[tuple[Callback, ...]] = ContextVar(
    "extra_callbacks", default=()
)


@contextmanager
def extra_callbacks(*callbacks: Callback) -> Iterator[None]:
    """Add callbacks to each training that starts in this thread meanwhile.

    They are called after the net's own callbacks; the net does not store them.
    """
    token = _extra_callbacks.set((*_extra_callbacks.get(), *callbacks))
    try:
        yield
    finally:
        _extra_callbacks.reset(token)


MIN_BATCHES = 300  # that training to the end takes, of very few rows


class Training:
    """One training run of a net; ``fit`` and ``partial_fit`` make it and drop it.

    Parameters
    ----------
    net : TrainingNet
        With its parts built.
    train, valid : torch.utils.data.Dataset
        The rows to train and to validate on; the second may be None.
    n_epochs : int
        Maximum number of epochs.
    callbacks : sequence of skorch.callbacks.Callback
        Called in this run only, after the net's own; those of ``extra_callbacks`` come
        last.
    teaching : Teaching, optional
        Teachers that the net learns from besides the labels.
    """

    def __init__(
        self,
        net: Any,
        train: Any,
        valid: Any,
        n_epochs: int,
        callbacks: Sequence[Callback] = (),
        teaching: Any = None,
    ) -> None:
        self.net, self.train, self.valid = net, train, valid
        self.n_epochs, self.n_run = n_epochs, 0
        self.teaching = teaching
        self.callbacks = (*callbacks, *_extra_callbacks.get())
        # What the run leaves if it ends now; each finished epoch replaces it: the
        # number of epochs in the history, and the best of them.
        self.kept: tuple[int, BestEpoch] | None = None
        self.is_over = False
        self.stop_requested = False
        self._listeners: dict[str, list[Any]] = {}
        self.schedule = self._find(LRSchedule)
        self.average = self._find(WeightAverage)
        self.stopper = self._find(EarlyStopping)

    def _find(self, kind: type) -> Any:
        """Return the net's first callback of a kind, or None."""
        found = (callback for _, callback in self.net.callbacks_)
        return next((each for each in found if isinstance(each, kind)), None)

    def run(self) -> None:
        """Train to the end.

        Raises
        ------
        ValueError
            If the loss of an epoch is not a finite number.
        """
        net = self.net
        net._training = self
        try:
            with own_stream(net.device_):
                net.notify("on_train_begin", X=self.train, y=None)
                self.started = time.perf_counter()
                try:
                    self._run_epochs()
                    self.is_over = True
                finally:
                    self.settle()
                    net.notify("on_train_end", X=self.train, y=None)
        finally:
            net.__dict__.pop("_training", None)
        record_stream(net.optimizer_)

    def _run_epochs(self) -> None:
        net = self.net
        repeatable = net.repeatable and net.device_.type == "cuda"
        with (
            own_dropout(net) as generator,
            freed_memory_kept(),
            repeatable_cudnn() if repeatable else nullcontext(),
            ExitStack() as stack,
        ):
            batches = net.get_iterator(self.train, training=True)
            if len(batches) == 0:
                raise ValueError(
                    f"batch_size={net.batch_size!r} with drop_last leaves no batch of "
                    f"n_samples={len(self.train)} rows"
                )
            self.n_batches = len(batches)
            if self.schedule is not None:
                self.schedule.start(net.optimizer_, self.n_epochs * self.n_batches)
            capture: Any = None
            if net.device_.type in net._captures_on:
                from .cuda_graph import Capture

                capture = Capture(self, batches, generator)
                stack.callback(capture.close)
            else:
                net.steps_ = "eager"
            while True:
                self._run_epoch(batches, capture)
                if self.n_run >= self.n_epochs or self.stop_requested:
                    break

    def _run_epoch(self, batches: Any, capture: Any) -> None:
        """Train for an epoch, validate, record, and keep the best weights."""
        self.n_run += 1
        net, history = self.net, self.net.history_
        datasets = {"dataset_train": self.train, "dataset_valid": self.valid}
        history.new_epoch()
        history.new_batch()  # stays empty; skorch's Checkpoint looks for it
        history.record("epoch", len(history))
        valid_batches = None if self.valid is None else net.get_iterator(self.valid)
        with self._progress_bars_of(len(batches) + len(valid_batches or ())):
            net.notify("on_epoch_begin", **datasets)
        net._set_training(True)
        captured = None if capture is None else capture.run_epoch()
        if captured is None:
            net.run_single_epoch(batches, True, "train", net.train_step)
        with self.average.applied() if self.average else nullcontext():
            if valid_batches is not None:
                net._set_training(False)
                net.run_single_epoch(valid_batches, False, "valid", net.validation_step)
            if captured is not None:  # only now, so that Python waits once an epoch
                net.record_totals("train", captured)
            try:
                net.notify("on_epoch_end", **datasets)
            finally:  # the epoch is over, whatever a callback raises
                self.kept = self._keep()

    # How it ends ----------------------------------------------------------------

    def end_early(self) -> None:
        """End after this epoch, or shorten the rest of a schedule to a quarter.

        A schedule that is cut off leaves weights much worse than at its end. So each
        batch moves it by several of its steps. With the patience of the defaults, at
        least ``MIN_BATCHES`` are trained in all.
        """
        if self.schedule is None:
            self.stop_requested = True
        elif left := self.n_epochs - self.n_run:
            n_more = math.ceil(left / 4)
            if self.net.patience == "auto":
                n_least = math.ceil(MIN_BATCHES / self.n_batches) - self.n_run
                n_more = min(max(n_more, n_least), left)
            self.schedule.stride_ = math.ceil(left / n_more)
            self.n_epochs = self.n_run + n_more

    def skip(self) -> None:
        """Call this run's own callbacks as for a run whose outcome is known already."""
        for callback in self.callbacks:
            callback.on_train_begin(self.net, X=self.train, y=None)
            callback.on_train_end(self.net, X=self.train, y=None)

    @property
    def was_stopped(self) -> bool:
        """Whether something else than the net's own patience ended the run early."""
        has_run_out = self.stopper is not None and self.stopper.has_run_out_
        return self.stop_requested and not (has_run_out and self.schedule is None)

    def _keep(self) -> tuple[int, BestEpoch]:
        """Note what the run would leave behind if it ended here."""
        n_epochs = len(self.net.history_)
        best = self.stopper.best_ if self.stopper else BestEpoch()
        if best.weights is None:  # the last epoch is the one kept
            best = BestEpoch(n_epochs, copy_state(self.net.module_))
        return n_epochs, best

    def leaves_something_after(self, error: BaseException) -> bool:
        """Whether finished epochs are kept: from Ctrl-C, but not from an error."""
        return self.kept is not None and (
            self.is_over or not isinstance(error, Exception)
        )

    def settle(self) -> None:
        """Put the kept weights in place, and forget an epoch that was cut off.

        May be called again, should an interrupt have cut the first call off.
        """
        self.net.fit_time_ = time.perf_counter() - self.started
        self.net._fit_ended = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        self.net._set_training(False)
        if self.kept is not None:
            n_epochs, best = self.kept
            del self.net.history_[n_epochs:]
            self.net.module_.load_state_dict(best.weights)
            self.net.best_epoch_ = best.epoch

    # Callbacks ------------------------------------------------------------------

    def notify(self, method_name: str, **cb_kwargs: Any) -> None:
        """Call a hook on those that override it: net, its callbacks, this run's."""
        for owner in self.listeners_to(method_name):
            try:
                getattr(owner, method_name)(self.net, **cb_kwargs)
            except KeyboardInterrupt:
                # skorch's EarlyStopping raises it to end the training.
                if not isinstance(owner, skorch.callbacks.EarlyStopping):
                    raise
                self.stop_requested = True

    def listeners_to(self, method_name: str) -> list[Any]:
        """Return those that override a hook."""
        if method_name not in self._listeners:
            callbacks = [callback for _, callback in self.net.callbacks_]
            owners = [(each, Callback) for each in (*callbacks, *self.callbacks)]
            self._listeners[method_name] = [
                owner
                for owner, base in [(self.net, NeuralNet), *owners]
                if getattr(type(owner), method_name) is not getattr(base, method_name)
            ]
        return self._listeners[method_name]

    @contextmanager
    def _progress_bars_of(self, n_batches: int) -> Iterator[None]:
        """Set the number of batches in skorch's progress bars that compute it.

        They would compute it from ``batch_size``, which may be "auto" and is not the
        size of the batches of the validation.
        """
        with ExitStack() as stack:
            for _, bar in self.net.callbacks_:
                given = getattr(bar, "batches_per_epoch", None)
                if isinstance(bar, ProgressBar) and isinstance(given, str):
                    stack.callback(setattr, bar, "batches_per_epoch", given)
                    bar.batches_per_epoch = n_batches
            yield


@contextmanager
def own_dropout(net: Any) -> Iterator[torch.Generator]:
    """Have a net's dropout draw from a generator of this run, which is returned.

    What else a user's network draws comes from PyTorch's global generators.
    """
    seed = net._seeds.dropout
    generator = torch.Generator(net.device_).manual_seed(seed)
    layers = [m for m in net.module_.modules() if isinstance(m, Dropout)]
    for layer in layers:
        layer.generator = generator
    try:
        with nullcontext() if net._has_known_module else seeded(seed):
            yield generator
    finally:
        for layer in layers:
            layer.generator = None
