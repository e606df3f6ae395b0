"""Training steps that Python asks for once, and the device then repeats by itself.

On a GPU a step of a small network takes Python longer to ask for than the GPU to
compute. As a CUDA graph, many steps are asked for by one call. A graph repeats exactly
what was recorded, so all that differs from step to step lies in tensors that stay in
place: the rows of the batches, and a table of learning rates and the like.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from operator import itemgetter
from typing import Any

import torch
from torch import Tensor

from ..modules import Dropout
from .batches import Batch, BatchIterator, Pass, resolve_subset
from .callbacks import LRSchedule, WeightAverage
from .capturable import why_eager
from .device import RECORDERS
from .updates import Updates

# Images of a block take at most so many bytes.
_LARGEST_BLOCK = 2**26
_STEPS_AT_ONCE = 20


def steps_at_once(dataset: Any, batch_size: int, device: torch.device) -> int:
    """Choose how many steps are recorded together; 1 where none are."""
    if device.type not in RECORDERS:
        return 1
    base, _ = resolve_subset(dataset)
    n_bytes = base.images[0].nbytes * batch_size
    return min(max(_LARGEST_BLOCK // n_bytes, 1), _STEPS_AT_ONCE)


class Capture:
    """Whether the steps of a training run are captured, and if so, they themselves.

    Parameters
    ----------
    run : Training
        In progress.
    generator : torch.Generator
        What dropout draws from.
    """

    def __init__(self, run: Any, generator: torch.Generator) -> None:
        self.run, self.generator = run, generator
        self.steps: CapturedSteps | None = None
        self.eager_because: str | None = None

    def steps_of_epoch(self, batches: Any) -> CapturedSteps | None:
        """Return the steps to take; None where they are to be computed eagerly.

        What was recorded before serves again. Once eager, a run stays so.
        """
        run = self.run
        if self.eager_because is None:
            self.eager_because = why_eager(run, batches)
        if self.eager_because is None:
            drawn = self.generator.get_state()
            try:
                if self.steps is None:
                    self.steps = CapturedSteps(
                        run.net, batches, run.schedule, run.average, self.generator
                    )
                self.steps.record()
            except Exception as error:
                self.eager_because = "recording failed"
                warnings.warn(
                    f"the training steps could not be recorded ({error}); they are "
                    "computed one by one, which takes longer",
                    stacklevel=2,
                )
                self._renew_generator(drawn)
        if self.eager_because is not None:
            self.end()
        self._tell()
        return self.steps

    def _renew_generator(self, state: Tensor) -> None:
        """Draw on from another generator: a failed recording may have spoilt this."""
        generator = torch.Generator(self.generator.device).set_state(state)
        for layer in self.run.net.module_.modules():
            if isinstance(layer, Dropout) and layer.generator is self.generator:
                layer.generator = generator

    def _tell(self) -> None:
        net = self.run.net
        before = vars(net).get("steps_")
        net.steps_ = "eager" if self.steps is None else "captured"
        is_news = len(net.history_) == 1 or net.steps_ != before
        if net.verbose and is_news and net.device_.type in RECORDERS:
            reason = f" ({self.eager_because})" if self.eager_because else ""
            print(f"training steps: {net.steps_}{reason}")

    def end(self) -> None:
        """Let go of all that was recorded."""
        steps, self.steps = self.steps, None
        if steps is not None:
            steps.close()


class CapturedSteps:
    """The training steps of one run, recorded and replayed.

    Parameters
    ----------
    net : TrainingNet
        Ready to train, its network in training mode.
    batches : BatchIterator
        Of the training.
    schedule, average : LRSchedule, WeightAverage or None
        What changes the learning rate, and what averages the weights.
    generator : torch.Generator
        What dropout draws from.
    """

    def __init__(
        self,
        net: Any,
        batches: BatchIterator,
        schedule: LRSchedule | None,
        average: WeightAverage | None,
        generator: torch.Generator,
    ) -> None:
        self.net, self.batches, self.average = net, batches, average
        self.generator = generator
        size = batches.batch_size
        n_full, rest = divmod(len(batches.dataset), size)
        n_steps = min(batches.block_size, max(n_full, 1))
        # Number of steps and rows of a batch, for all that an epoch is made of.
        self._shapes = [(n_steps, size)] if n_full else []
        if n_full % n_steps:
            self._shapes.append((1, size))
        if rest and not batches.drop_last:
            self._shapes.append((1, rest))
        self._n_steps = n_steps
        self._rows = _room_for(batches, min(n_steps * size, len(batches.dataset)))
        self._updates = Updates(net, schedule, average, n_steps)
        self._sums = torch.zeros(3, dtype=torch.float32, device=net.device_)
        self._recorder = RECORDERS[net.device_.type](generator)
        self._programs: dict[tuple[int, int], Callable[[], None]] = {}
        self._recorded_for: Any = None

    def record(self) -> None:
        """Record the steps, unless they are and all that Python reads is the same."""
        if self._recorded_for == self._what_python_reads():
            return
        if self._programs:
            self.close()
            self._recorder = RECORDERS[self.net.device_.type](self.generator)
        with _nothing_learned(self.net, self.average, self.generator):
            # PyTorch sets up much at first use, which may not be recorded.
            for _, n_rows in (self._shapes[0], *self._shapes):
                self._step(0, n_rows)
        self._sums.zero_()
        for n_steps, n_rows in self._shapes:
            program = partial(self._step_often, n_steps, n_rows)
            self._programs[n_steps, n_rows] = self._recorder.record(program)
        self._recorded_for = self._what_python_reads()

    def epoch(self) -> Iterator[None]:
        """Train for an epoch, and pause after each block of steps."""
        self._sums.zero_()
        n_rows = self._n_steps * self.batches.batch_size
        for block in self.batches.blocks():
            for part in block.split(n_rows):
                if len(part[0]) == n_rows:
                    self._run(part, self._n_steps)
                    continue
                for batch in part.split(self.batches.batch_size):
                    self._run(batch, 1)
            self._recorder.keep_queue_short()
            yield

    def passed(self) -> Pass:
        """Return what the last epoch came to."""
        n_batches = len(self.batches)
        n_rows = min(n_batches * self.batches.batch_size, len(self.batches.dataset))
        return Pass(self._sums.clone(), n_rows, n_batches)

    def close(self) -> None:
        """Let go of all that was recorded, and of the memory it used."""
        self._programs.clear()
        self.net.optimizer_.zero_grad(set_to_none=True)  # lies in that memory
        self._recorder.close()

    def _run(self, batches: Batch, n_steps: int) -> None:
        """Take some steps, on as many batches."""
        n_rows = len(batches[0])
        here, there = self._rows.tensors(), batches.tensors()
        for place, values in zip(here, there, strict=True):
            place[:n_rows].copy_(values)
        self._updates.prepare(n_steps)
        self._programs[n_steps, n_rows // n_steps]()

    def _step_often(self, n_steps: int, n_rows: int) -> None:
        for number in range(n_steps):
            self._step(number, n_rows)

    def _step(self, number: int, n_rows: int) -> None:
        """Train on one of the batches in place: what is recorded."""
        net = self.net
        first = number * n_rows
        batch = self._rows.map(itemgetter(slice(first, first + n_rows)))
        net.optimizer_.zero_grad(set_to_none=True)
        step = net.train_step_single(batch)
        self._updates.apply(number)
        self._sums[0].add_(step["loss"].detach(), alpha=n_rows)

    def _what_python_reads(self) -> Any:
        """Tell what a step has of Python's: a recorded one does not see it change.

        Callbacks may freeze layers, replace them or set other numbers between epochs.
        """
        net, plain = self.net, (bool, int, float, str, tuple, type(None))
        layers = [*net.module_.modules(), net.criterion_]
        tensors = [*net.module_.parameters(), *net.module_.buffers()]
        for state in net.optimizer_.state.values():
            tensors += [value for value in state.values() if isinstance(value, Tensor)]
        fixed = [
            {k: v for k, v in group.items() if k not in {"params", *self._updates.free}}
            for group in net.optimizer_.param_groups
        ]
        return (
            [
                (id(layer), {k: v for k, v in vars(layer).items() if type(v) in plain})
                for layer in layers
            ],
            [(tensor.data_ptr(), tensor.requires_grad) for tensor in tensors],
            fixed,
        )


def _room_for(batches: BatchIterator, n_rows: int) -> Batch:
    """Make room for rows of a training as they are when they were augmented."""
    base, _ = resolve_subset(batches.dataset)
    rows = Batch(base.images, base.targets, base.weights, base.answers)
    row = next(rows.split(1))
    row = row.augmented(batches.augment, batches.mixup, torch.Generator("cpu"))
    return row.map(lambda values: values.new_zeros((n_rows, *values.shape[1:])))


@contextmanager
def _nothing_learned(
    net: Any, average: WeightAverage | None, generator: torch.Generator
) -> Iterator[None]:
    """Take back all that steps inside do to a training run."""
    optimizer = net.optimizer_
    averages = average.average_ if average is not None else ()
    tensors = [*net.module_.parameters(), *net.module_.buffers(), *averages]
    before = [tensor.detach().clone() for tensor in tensors]
    gathered = {
        (parameter, name): value.clone()
        for parameter, state in optimizer.state.items()
        for name, value in state.items()
        if isinstance(value, Tensor)
    }
    drawn = generator.get_state()
    try:
        yield
    finally:
        generator.set_state(drawn)
        optimizer.zero_grad(set_to_none=True)
        with torch.no_grad():
            for tensor, value in zip(tensors, before, strict=True):
                tensor.copy_(value)
            # Optimizers make their state in the first step; zeros are what it was.
            for parameter, state in optimizer.state.items():
                for name, value in state.items():
                    if (parameter, name) in gathered:
                        value.copy_(gathered[parameter, name])
                    elif isinstance(value, Tensor):
                        value.zero_()
