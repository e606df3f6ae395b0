"""One training run: epochs, batches, steps, validation, the best weights kept."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from contextvars import ContextVar
from typing import Any, NamedTuple

import numpy as np
import skorch.callbacks
import torch
from skorch import NeuralNet
from skorch.callbacks import Callback, ProgressBar
from torch import Tensor

from .._glibc import freed_memory_kept
from ..modules import Dropout
from .batches import EpochTotals
from .callbacks import EarlyStopping, LRSchedule, WeightAverage, copy_state
from .cuda_graph import Capture
from .device import own_stream, record_stream, repeatable_cudnn
from .distillation import Teaching

_followers: ContextVar[tuple[Callback, ...]] = ContextVar("followers", default=())


@contextmanager
def extra_callbacks(follower: Callback) -> Iterator[None]:
    """Let a callback follow each training that starts in this thread meanwhile.

    It is told after the callbacks of the net, which knows nothing of it.
    """
    token = _followers.set((*_followers.get(), follower))
    try:
        yield
    finally:
        _followers.reset(token)


class BestState(NamedTuple):
    """What a run leaves behind, whenever it ends: set anew by each finished epoch."""

    n_epochs: int  # in the history
    best_epoch: int  # counted from 1
    state: dict[str, Tensor]  # the weights of the best epoch


class Training:
    """One training run of a net; ``fit`` and ``partial_fit`` make it and drop it.

    Parameters
    ----------
    net : TrainingNet
        With its parts built.
    train, valid : torch.utils.data.Dataset
        The rows to train and to validate on; the second may be None.
    n_epochs : int
        At most so many.
    followers : sequence of skorch.callbacks.Callback
        Called in this run only, after the net's own; those of ``extra_callbacks``
        come last.
    teaching : Teaching, optional
        Whom the net learns from besides the labels.
    """

    def __init__(
        self,
        net: Any,
        train: Any,
        valid: Any,
        n_epochs: int,
        followers: Sequence[Callback] = (),
        teaching: Teaching | None = None,
    ) -> None:
        self.net, self.train, self.valid = net, train, valid
        self.teaching = teaching
        self.n_epochs = n_epochs
        self.followers = (*followers, *_followers.get())
        self.kept: BestState | None = None
        self.is_over = False
        self.stop_requested = False
        self.capture: Any = None  # a Capture, while the run is in progress
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
        with own_stream(self.net.device_):
            for _ in self.steps():
                pass
        record_stream(
            value
            for state in self.net.optimizer_.state.values()
            for value in state.values()
        )

    def steps(self) -> Iterator[None]:
        """Train, and pause after every step, so that several runs can take turns."""
        net = self.net
        net._training = self
        try:
            net.notify("on_train_begin", X=self.train, y=None)
            self.started = time.perf_counter()
            try:
                repeatable = net.repeatable and net.device_.type == "cuda"
                with (
                    own_dropout(net) as generator,
                    freed_memory_kept(),
                    repeatable_cudnn(repeatable),
                ):
                    self.capture = Capture(self, generator)
                    batches = self._training_batches()
                    for _ in range(self.n_epochs):
                        yield from self._epoch(batches)
                        if self.stop_requested:
                            break
                self.is_over = True
            finally:
                # It knows this run: let go, neither waits for the garbage collector.
                capture, self.capture = self.capture, None
                if capture is not None:
                    capture.end()
                self.settle()
                net.notify("on_train_end", X=self.train, y=None)
        finally:
            net.__dict__.pop("_training", None)

    def _training_batches(self) -> Any:
        batches = self.net.get_iterator(self.train, training=True)
        if len(batches) == 0:
            raise ValueError(
                f"batch_size={self.net.batch_size!r} with drop_last leaves no batch of "
                f"n_samples={len(self.train)} rows"
            )
        if self.schedule is not None:
            self.schedule.start(self.net.optimizer_, len(batches))
        return batches

    def _epoch(self, batches: Any) -> Iterator[None]:
        """Train for an epoch, validate, record, and keep the best weights."""
        net, parts = (
            self.net,
            {"dataset_train": self.train, "dataset_valid": self.valid},
        )
        history = net.history_
        history.new_epoch()
        history.new_batch()  # stays empty; skorch's Checkpoint looks for it
        history.record("epoch", len(history))
        valid_batches = None if self.valid is None else net.get_iterator(self.valid)
        with self._progress_bars_told(batches, valid_batches):
            net.notify("on_epoch_begin", **parts)
        net._set_training(True)
        captured = self.capture.steps_of_epoch(batches)
        if captured is None:
            train = yield from self._pass(batches, net.train_step, training=True)
            self._record("train", train)
        else:
            yield from captured.epoch()
        with self.average.applied() if self.average else nullcontext():
            if valid_batches is not None:
                net._set_training(False)
                valid = yield from self._pass(
                    valid_batches, net.validation_step, training=False
                )
            if captured is not None:
                self._record("train", captured.passed())
            if valid_batches is not None:
                self._record("valid", valid)
            try:
                net.notify("on_epoch_end", **parts)
            finally:  # the epoch is over, whatever a callback has to say
                self.kept = self._keep()

    def _pass(
        self, batches: Any, step_fn: Callable[..., dict[str, Tensor]], *, training: bool
    ) -> Generator[None, None, EpochTotals]:
        """Go once over the batches.

        Sums stay on the device until the pass ends: a GPU is not waited for.
        """
        net = self.net
        sums = torch.zeros(3, device=net.device_, dtype=torch.float32)
        loss, hits, total = sums.unbind()
        n_rows, n_batches = 0, 0
        for batch in batches:
            net.notify("on_batch_begin", batch=batch, training=training)
            step = step_fn(batch)
            n = len(step["y_pred"])
            loss += step["loss"].detach() * n
            if not training:
                targets = torch.as_tensor(batch[1], device=net.device_)
                hit = (step["y_pred"].argmax(1) == targets).float()
                weights = getattr(batch, "weights", None)
                hits += hit.sum() if weights is None else (hit * weights).sum()
                total += n if weights is None else weights.sum()
            net.notify("on_batch_end", batch=batch, training=training, **step)
            n_rows += n
            n_batches += 1
            yield
        return EpochTotals(sums, n_rows, n_batches)

    def _record(self, part: str, passed: EpochTotals) -> None:
        """Record the mean loss of a pass, and how many rows it got right."""
        loss, hits, total = passed.sums.tolist()
        self._record_best(f"{part}_loss", loss / passed.n_rows, min)
        if part == "valid":
            self._record_best("valid_acc", hits / total, max)
        self.net.history_.record(f"{part}_batch_count", passed.n_batches)
        self._check_loss(f"{part}_loss")

    def _record_best(self, name: str, value: float, best: Callable) -> None:
        """Record a figure of this epoch and whether it is the best of all epochs."""
        history = self.net.history_
        earlier = [row[name] for row in history[:-1] if name in row]
        history.record(name, value)
        is_best = not earlier or best(value, best(earlier)) == value != best(earlier)
        history.record(f"{name}_best", is_best)

    def _check_loss(self, name: str) -> None:
        row = self.net.history_[-1]
        if not np.isfinite(row[name]):
            lr = self.net.get_params_for("optimizer").get("lr", self.net.lr)
            raise ValueError(
                f"{name} became {row[name]} in epoch {row['epoch']}: the training "
                f"diverged; try a smaller lr (now {lr!r})"
            )

    # How it ends ----------------------------------------------------------------

    def tell_of_earlier_run(self) -> None:
        """Tell the followers of a run that is not needed, as its outcome is known."""
        for follower in self.followers:
            follower.on_train_begin(self.net, X=self.train, y=None)
            follower.on_train_end(self.net, X=self.train, y=None)

    @property
    def was_stopped(self) -> bool:
        """Whether someone else than the net's own patience ended the run early."""
        stopper = self.stopper
        has_run_out = (
            stopper is not None
            and stopper.patience is not None
            and stopper.waited_ >= stopper.patience
        )
        return self.stop_requested and not has_run_out

    def _keep(self) -> BestState:
        """Note what the run would leave behind if it ended here."""
        n_epochs = len(self.net.history_)
        best = self.stopper.best_ if self.stopper else None
        if best is None or best.state is None:  # the last is what is kept
            return BestState(n_epochs, n_epochs, copy_state(self.net.module_))
        return BestState(n_epochs, best.epoch, best.state)

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
        if self.average is not None:
            self.average.forget()
        if self.kept is not None:
            del self.net.history_[self.kept.n_epochs :]
            self.net.module_.load_state_dict(self.kept.state)
            self.net.best_epoch_ = self.kept.best_epoch

    # Those who are told ---------------------------------------------------------

    def notify(self, method_name: str, **cb_kwargs: Any) -> None:
        """Call a hook on those that override it: net, callbacks and followers."""
        for owner in self.listeners_to(method_name):
            try:
                getattr(owner, method_name)(self.net, **cb_kwargs)
            except KeyboardInterrupt:
                # skorch's own callback says "enough" in this way.
                if not isinstance(owner, skorch.callbacks.EarlyStopping):
                    raise
                self.stop_requested = True

    def listeners_to(self, method_name: str) -> list[Any]:
        """Return those that override a hook."""
        if method_name not in self._listeners:
            owners = [(self.net, NeuralNet)]
            owners += [(callback, Callback) for _, callback in self.net.callbacks_]
            owners += [(follower, Callback) for follower in self.followers]
            self._listeners[method_name] = [
                owner
                for owner, base in owners
                if getattr(type(owner), method_name) is not getattr(base, method_name)
            ]
        return self._listeners[method_name]

    @contextmanager
    def _progress_bars_told(self, batches: Any, valid_batches: Any) -> Iterator[None]:
        """Let skorch's progress bars know the number of batches in an epoch.

        They would compute it from ``batch_size``, which may be "auto" and is not the
        size of the batches of the validation.
        """
        bars = [
            callback
            for _, callback in self.net.callbacks_
            if isinstance(callback, ProgressBar)
            and isinstance(callback.batches_per_epoch, str)
        ]
        asked = [bar.batches_per_epoch for bar in bars]
        try:
            for bar in bars:
                bar.batches_per_epoch = len(batches) + len(valid_batches or ())
            yield
        finally:
            for bar, value in zip(bars, asked, strict=True):
                bar.batches_per_epoch = value


@contextmanager
def own_dropout(net: Any) -> Iterator[torch.Generator]:
    """Let a net's dropout draw from a generator of this run, which is returned."""
    generator = torch.Generator(net.device_).manual_seed(net._seeds.dropout)
    layers = [m for m in net.module_.modules() if isinstance(m, Dropout)]
    for layer in layers:
        layer.generator = generator
    try:
        yield generator
    finally:
        for layer in layers:
            layer.generator = None
