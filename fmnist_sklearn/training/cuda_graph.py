"""Training steps that Python asks for once, and the device then repeats by itself.

On a GPU a step of a small network takes Python longer to ask for than the GPU to
compute. As a CUDA graph, many steps are asked for by one call. A graph repeats exactly
what was recorded, so all that differs from step to step lies in tensors that stay in
place: the rows of the batches, and a table of learning rates and the like.
"""

from __future__ import annotations

import threading
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from operator import itemgetter
from typing import Any

import torch
from torch import Tensor, nn

from ..modules import Dropout
from ..modules.fast import calls_forward_only
from .batches import Batch, BatchIterator, CrossEntropy, EpochTotals, resolve_subset
from .callbacks import LRSchedule, WeightAverage
from .device import sent
from .optimizer import step_is_torch_s

# Recording ----

_capture_lock = threading.Lock()
# What a capture that failed leaves in PyTorch's allocator refers to these.
_failed: list[Any] = []
_MOST_QUEUED = 2


class GraphRecorder:
    """Records functions as CUDA graphs, on the stream of now.

    Parameters
    ----------
    generator : torch.Generator
        Of the device; what the functions draw comes from it, in each replay anew.
    """

    def __init__(self, generator: torch.Generator) -> None:
        self._generator = generator
        self._pool: Any = torch.cuda.MemPool()
        self._graphs: list[torch.cuda.CUDAGraph] = []
        self._queued: deque[torch.cuda.Event] = deque()

    def record(self, function: Callable[[], None]) -> Callable[[], None]:
        """Return what does again, on the device alone, what the function does.

        The graphs of a recorder share their memory, so that none may rely on what
        another leaves there. ``torch.cuda.graph`` would wait for the whole device.
        """
        graph = torch.cuda.CUDAGraph()
        graph.register_generator_state(self._generator)
        self._graphs.append(graph)
        has_ended = False
        with _capture_lock:
            try:
                graph.capture_begin(self._pool.id, capture_error_mode="thread_local")
                try:
                    function()
                finally:
                    graph.capture_end()
                    has_ended = True
            finally:
                if not has_ended:
                    self._graphs.remove(graph)
                    _failed.append((graph, self._pool))
                    # PyTorch before 2.12 leaves this undone where the end fails, and
                    # then ends the process when the next pool goes; others refuse.
                    with suppress(RuntimeError):
                        device = torch.cuda.current_device()
                        torch._C._cuda_endAllocateToPool(device, self._pool.id)
        return graph.replay

    def keep_queue_short(self) -> None:
        """Wait, for this stream only, until little of what was asked for is left."""
        event = torch.cuda.Event(blocking=True)
        event.record()
        self._queued.append(event)
        if len(self._queued) > _MOST_QUEUED:
            self._queued.popleft().synchronize()

    def close(self) -> None:
        """Let go of the graphs and of their memory."""
        torch.cuda.current_stream().synchronize()
        with _capture_lock:
            while self._graphs:
                self._graphs.pop().reset()
            self._pool = None


# How steps are recorded, by the type of the device; on others they are computed as
# Python goes along.
RECORDERS: dict[str, Callable[[torch.Generator], Any]] = {"cuda": GraphRecorder}


# Whether --

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
    if type(net.criterion_) is not CrossEntropy or not calls_forward_only(
        net.criterion_
    ):
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
    for layer in module.modules():
        kind = type(layer)
        if not _is_known(kind.forward):
            return f"a layer is a {kind.__name__}"
        if not calls_forward_only(layer):
            return f"a {kind.__name__} has hooks or another forward"
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


# Steps --

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

    def passed(self) -> EpochTotals:
        """Return what the last epoch came to."""
        n_batches = len(self.batches)
        n_rows = min(n_batches * self.batches.batch_size, len(self.batches.dataset))
        return EpochTotals(self._sums.clone(), n_rows, n_batches)

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
