"""Training steps that Python queues once, and the GPU then repeats by itself.

On a GPU a step of a small network takes Python longer to queue than the GPU to
compute. As a CUDA graph, many steps are queued by one call. A graph repeats exactly
what was recorded, so all that differs from step to step lies in tensors that stay in
place: the rows of the batches, and a table of learning rates and the like.
"""

from __future__ import annotations

import copy
import random
import threading
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from operator import itemgetter
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..modules import Dropout
from ..modules.fast import calls_forward_only
from .batches import Batch, BatchIterator, EpochTotals, resolve_subset
from .callbacks import LRSchedule, WeightAverage
from .device import seeded, sent, state_tensors

# Recording ------------------------------------------------------------------------

_capture_lock = threading.Lock()
# PyTorch's allocator still refers to these after a capture that could not end.
_unfinished: list[Any] = []
_MOST_QUEUED = 2


class GraphRecorder:
    """Records functions as CUDA graphs, on the current stream.

    Parameters
    ----------
    generator : torch.Generator
        Of the device; the functions draw from it, new numbers in each replay.
    """

    def __init__(self, generator: torch.Generator) -> None:
        self._generator = generator
        self._pool: Any = torch.cuda.MemPool()
        self._graphs: list[torch.cuda.CUDAGraph] = []
        self._queued: deque[torch.cuda.Event] = deque()

    def record(self, function: Callable[[], None]) -> Callable[[], None]:
        """Return a function that repeats on the device what ``function`` does.

        The graphs of a recorder share their memory, so that none may rely on what
        another leaves there. ``torch.cuda.graph`` would wait for the whole device.
        """
        graph = torch.cuda.CUDAGraph()
        graph.register_generator_state(self._generator)
        with _capture_lock:
            _unfinished.append((graph, self._pool))
            graph.capture_begin(self._pool.id, capture_error_mode="thread_local")
            try:
                function()
            finally:
                graph.capture_end()
                # Not reached where that fails.
                _unfinished.pop()
                self._graphs.append(graph)
        return graph.replay

    def keep_queue_short(self) -> None:
        """Wait, for this stream only, until at most two blocks of steps are queued."""
        event = torch.cuda.Event(blocking=True)
        event.record()
        self._queued.append(event)
        if len(self._queued) > _MOST_QUEUED:
            self._queued.popleft().synchronize()

    def close(self) -> None:
        """Release the graphs and their memory."""
        torch.cuda.current_stream().synchronize()
        with _capture_lock:
            while self._graphs:
                self._graphs.pop().reset()
            self._pool = None


# Whether steps may be captured ------------------------------------------------------

# A recording takes about as long as the steps that are recorded, and some more.
FEWEST_STEPS = 100

_BATCH_HOOKS = ("on_batch_begin", "on_batch_end", "on_grad_computed")
_METHODS = (
    "run_single_epoch",
    "train_step",
    "train_step_single",
    "get_train_step_accumulator",
    "get_loss",
    "infer",
)
_METHODS_OF_TEACHERS = ("evaluation_step", "infer")


def why_eager(run: Any, batches: Any) -> str | None:
    """Say why each step of a run has to be computed as Python goes along.

    Parameters
    ----------
    run : Training
        In progress, its schedule started.
    batches : iterable
        Of the training.

    Returns
    -------
    str or None
        The reason, for users to read. None where replaying what Python once queued
        does all that Python would do.
    """
    return next(_reasons(run, batches), None)


def _reasons(run: Any, batches: Any) -> Iterator[str]:
    net = run.net
    for listener in (each for hook in _BATCH_HOOKS for each in run.listeners_to(hook)):
        # What these two do after a batch, `Updates` does.
        if type(listener) not in (LRSchedule, WeightAverage):
            yield f"{type(listener).__name__} listens to batches"
    if type(net.criterion_) is not nn.CrossEntropyLoss:
        yield f"the criterion is a {type(net.criterion_).__name__}"
    if type(batches) is not BatchIterator:
        yield "iterator_train is given"
    if callable(net.augment):
        yield "augment is a function"
    if len(batches) * run.n_epochs < FEWEST_STEPS:
        yield f"there are fewer than {FEWEST_STEPS} steps"
    for teacher in run.teaching.networks if run.teaching else ():
        for reason in _reasons_of_network(teacher, _METHODS_OF_TEACHERS):
            yield f"of a teacher, {reason}"
    yield from _reasons_of_network(net, _METHODS)
    yield from _reasons_of_optimizer(net.optimizer_)
    yield from _reasons_of_schedule(run.schedule, net.optimizer_)


def _reasons_of_network(net: Any, methods: Iterable[str]) -> Iterator[str]:
    for name in methods:
        if not _is_known(getattr(type(net), name)):
            yield f"{name} is overridden"
    for layer in net.module_.modules():
        if not calls_forward_only(layer):
            yield f"a {type(layer).__name__} has hooks or another forward"
        is_other = not isinstance(layer, Dropout)
        if is_other and isinstance(layer, nn.modules.dropout._DropoutNd):
            yield f"a {type(layer).__name__} draws from PyTorch's global generator"
    for name, parameter in net.module_.named_parameters():
        if parameter._backward_hooks or parameter._post_accumulate_grad_hooks:
            yield f"{name} has hooks"


def _is_known(function: Any) -> bool:
    """Whether a function is this package's, skorch's or PyTorch's."""
    package = getattr(function, "__module__", "").partition(".")[0]
    return package in (__name__.partition(".")[0], "skorch", "torch")


def _reasons_of_optimizer(optimizer: torch.optim.Optimizer) -> Iterator[str]:
    name = type(optimizer).__name__
    if type(optimizer) not in (torch.optim.Adam, torch.optim.AdamW, torch.optim.SGD):
        yield f"the optimizer is a {name}"
    if optimizer._optimizer_step_pre_hooks or optimizer._optimizer_step_post_hooks:
        yield f"{name} has hooks"
    for group in optimizer.param_groups:
        if not group.get("fused"):
            yield f"{name} is not fused"
        if group.get("dampening"):
            yield f"{name} has dampening"


def _reasons_of_schedule(
    schedule: Any, optimizer: torch.optim.Optimizer
) -> Iterator[str]:
    scheduler = None if schedule is None else schedule.scheduler_
    kind, lr_scheduler = type(scheduler), torch.optim.lr_scheduler
    is_own = scheduler is not None and kind.__module__ != lr_scheduler.__name__
    # These two are made of others.
    if is_own or kind in (lr_scheduler.SequentialLR, lr_scheduler.ChainedScheduler):
        yield f"lr_schedule gives a {kind.__name__}"
    if _cycles_momentum(schedule) and not all(
        group.get("betas", (0,))[0] and not group["maximize"]
        for group in optimizer.param_groups
    ):  # `Updates` changes the momentum of Adam only
        yield f"{kind.__name__} changes the momentum"


def _cycles_momentum(schedule: Any) -> bool:
    """Whether a schedule changes the momentum from step to step."""
    return schedule is not None and getattr(
        schedule.scheduler_, "cycle_momentum", False
    )


# The steps --------------------------------------------------------------------------

# Images of a block take at most this number of bytes.
_LARGEST_BLOCK = 2**26
_STEPS_AT_ONCE = 20


def steps_at_once(dataset: Any, batch_size: int) -> int:
    """Choose how many steps are recorded together."""
    base, _ = resolve_subset(dataset)
    n_bytes = base.images[0].nbytes * batch_size
    return min(max(_LARGEST_BLOCK // n_bytes, 1), _STEPS_AT_ONCE)


class Capture:
    """The training steps of one run, recorded and replayed if that is possible.

    Parameters
    ----------
    run : Training
        In progress, its schedule started.
    batches : iterable
        Of the training.
    generator : torch.Generator
        What dropout draws from.
    """

    def __init__(self, run: Any, batches: Any, generator: torch.Generator) -> None:
        self.run, self.batches, self.generator = run, batches, generator
        self.net = run.net
        self.eager_because: str | None = None
        self._recorder: Any = None
        self._recorded_for: Any = None

    def run_epoch(self) -> EpochTotals | None:
        """Train for an epoch; None where its steps are to be computed eagerly.

        What was recorded before serves again. Once eager, a run stays so.
        """
        net = self.net
        if self.eager_because is None:
            self.eager_because = why_eager(self.run, self.batches)
        if self.eager_because is None:
            self._record_if_changed()
        if self.eager_because is not None:
            self.close()
        before = vars(net).get("steps_")
        net.steps_ = "eager" if self.eager_because else "captured"
        if net.verbose and (len(net.history_) == 1 or net.steps_ != before):
            reason = f" ({self.eager_because})" if self.eager_because else ""
            print(f"training steps: {net.steps_}{reason}")
        return None if self.eager_because else self._replay_epoch()

    def close(self) -> None:
        """Release all that was recorded, and the memory it used."""
        if self._recorder is not None:
            recorder, self._recorder, self._recorded_for = self._recorder, None, None
            self._programs.clear()
            self.net.optimizer_.zero_grad(set_to_none=True)  # lies in that memory
            recorder.close()

    def _record_if_changed(self) -> None:
        """Record the steps, unless they are and all that Python reads is the same."""
        if self._recorded_for == self._what_python_reads():
            return
        drawn = self.generator.get_state()
        try:
            self.close()
            self.eager_because = self._why_not_repeated()
            if self.eager_because is None:
                self._record()
                self._recorded_for = self._what_python_reads()
        except Exception as error:
            self.eager_because = "recording failed"
            warnings.warn(
                f"the training steps could not be recorded ({error}); they are "
                "computed one by one, which takes longer",
                stacklevel=2,
            )
            # Draw on from another generator: the recording may have spoilt this one.
            generator = torch.Generator(self.generator.device).set_state(drawn)
            for layer in self.net.module_.modules():
                if isinstance(layer, Dropout) and layer.generator is self.generator:
                    layer.generator = generator

    def _record(self) -> None:
        batches, size = self.batches, self.batches.batch_size
        n_full, rest = divmod(len(batches.dataset), size)
        self._n_steps = n_steps = min(batches.block_size, max(n_full, 1))
        # Number of steps and rows of a batch, for all that an epoch is made of.
        shapes = [(n_steps, size)] if n_full else []
        if n_full % n_steps:
            shapes.append((1, size))
        if rest and not batches.drop_last:
            shapes.append((1, rest))
        n_rows = min(n_steps * size, len(batches.dataset))
        # Room for the rows as they are when they were augmented.
        base, _ = resolve_subset(batches.dataset)
        rows = Batch(base.images, base.targets, base.weights, base.soft_targets)
        row = rows.map(itemgetter(slice(1)))
        row = row.augmented(batches.augment, batches.mixup, torch.Generator("cpu"))
        self._rows = row.map(lambda v: v.new_zeros((n_rows, *v.shape[1:])))
        self._updates = Updates(self.run, n_steps)
        self._sums = torch.zeros(3, dtype=torch.float32, device=self.net.device_)
        self._programs: dict[tuple[int, int], Callable[[], None]] = {}
        self._recorder = GraphRecorder(self.generator)
        with self._nothing_learned():
            # PyTorch sets up much at first use, which may not be recorded.
            for _, n_rows in (shapes[0], *shapes):
                self._steps(1, n_rows)
        for shape in shapes:
            self._programs[shape] = self._recorder.record(partial(self._steps, *shape))

    def _replay_epoch(self) -> EpochTotals:
        batches = self.batches
        self._sums.zero_()
        n_rows = self._n_steps * batches.batch_size
        for block in batches.blocks():
            for part in block.split(n_rows):
                if len(part[0]) == n_rows:
                    self._run(part, self._n_steps)
                    continue
                for batch in part.split(batches.batch_size):
                    self._run(batch, 1)
            self._recorder.keep_queue_short()
        n_rows = min(len(batches) * batches.batch_size, len(batches.dataset))
        return EpochTotals(self._sums, n_rows, len(batches))

    def _run(self, batches: Batch, n_steps: int) -> None:
        """Take some steps, on that number of batches."""
        n_rows = len(batches[0])
        here, there = self._rows.tensors(), batches.tensors()
        for place, values in zip(here, there, strict=True):
            place[:n_rows].copy_(values)
        self._updates.prepare(n_steps)
        self._programs[n_steps, n_rows // n_steps]()

    def _steps(self, n_steps: int, n_rows: int) -> None:
        """Train on batches of the rows in place: what is recorded."""
        net = self.net
        for number in range(n_steps):
            rows = slice(number * n_rows, (number + 1) * n_rows)
            net.optimizer_.zero_grad(set_to_none=True)
            step = net.train_step_single(self._rows.map(itemgetter(rows)))
            self._updates.apply(number)
            self._sums[0].add_(step["loss"].detach(), alpha=n_rows)

    @contextmanager
    def _nothing_learned(self) -> Iterator[None]:
        """Undo all that steps inside do to the training."""
        average = self.run.average.average_ if self.run.average else ()
        before = {id(t): t.detach().clone() for t in (*self._tensors(), *average)}
        drawn = self.generator.get_state()
        try:
            yield
        finally:
            self.generator.set_state(drawn)
            self.net.optimizer_.zero_grad(set_to_none=True)
            with torch.no_grad():
                for tensor in (*self._tensors(), *average):
                    if id(tensor) in before:
                        tensor.copy_(before[id(tensor)])
                    else:  # state made in the optimizer's first step; zeros at first
                        tensor.zero_()

    def _tensors(self) -> list[Tensor]:
        """Return the tensors that steps change in place."""
        module, optimizer = self.net.module_, self.net.optimizer_
        return [*module.parameters(), *module.buffers(), *state_tensors(optimizer)]

    def _what_python_reads(self) -> Any:
        """Return what a step has of Python's: a recorded one does not see it change.

        Callbacks may freeze layers, replace them or set other numbers between epochs.
        """
        net = self.net
        in_table = {"params", "lr"}  # the table of `Updates` and not the program
        if _cycles_momentum(self.run.schedule):
            in_table.add("betas")
        groups = [
            {k: v for k, v in group.items() if k not in in_table}
            for group in net.optimizer_.param_groups
        ]
        places = [(t.data_ptr(), t.requires_grad) for t in self._tensors()]
        return _attributes([*net.module_.modules(), net.criterion_]), groups, places

    def _why_not_repeated(self) -> str | None:
        """Say why a network of other code may compute otherwise the next time.

        A copy of it is tried on two images.
        """
        net = self.net
        if all(_is_known(type(layer).forward) for layer in net.module_.modules()):
            return None
        memo = {id(self.generator): torch.Generator(net.device_)}
        layers = [*copy.deepcopy(net.module_, memo).modules()]
        # Kept, so that no tensor gets the id of one that was there before.
        kept = [(*vars(layer).values(), *layer.buffers()) for layer in layers]
        before = _attributes(layers)
        base, _ = resolve_subset(self.batches.dataset)
        with seeded(net._seeds.dropout, alone=True), net._training_precision():
            drawn = _random_states(net.device_)
            layers[0](base.images[:2])
            if drawn != _random_states(net.device_):
                return "the network draws from a global random generator"
        changes = before != _attributes(layers)
        del kept
        return "the network changes attributes of its layers" if changes else None


def _attributes(layers: list[nn.Module]) -> list[Any]:
    """Return the plain values that layers hold, and the ids of their tensors."""
    plain = (bool, int, float, str, tuple, type(None))
    return [
        (id(layer), name, id(value) if isinstance(value, Tensor) else value)
        for layer in layers
        for name, value in (*vars(layer).items(), *layer.named_buffers("", False))
        if isinstance(value, Tensor) or type(value) in plain
    ]


def _random_states(device: torch.device) -> list[Any]:
    """Return the states of the generators that all code shares, to compare."""
    states = [torch.get_rng_state()]
    if device.type == "cuda":
        states.append(torch.cuda.get_rng_state(device))
    of_torch = [state.tolist() for state in states]
    return [random.getstate(), repr(np.random.get_state()), of_torch]


class Updates:
    """The updates of the weights and of their averages, of some steps in a row.

    What differs between steps lies in a table on the device, a row for each step: for
    each group of the optimizer the learning rate, the share by which its momentum moves
    and a factor for its weights, and then the share by which the averages move.

    Parameters
    ----------
    run : Training
        In progress.
    n_steps : int
        Maximum number of steps in a row.
    """

    def __init__(self, run: Any, n_steps: int) -> None:
        self.net, self.schedule, self.average = run.net, run.schedule, run.average
        groups = self.net.optimizer_.param_groups
        self._cycles = _cycles_momentum(run.schedule)
        # Where the schedule changes Adam's beta1: the one that is recorded, and the
        # number of steps taken, each for a group.
        self._betas = [group["betas"][0] for group in groups] if self._cycles else []
        self._n_taken = [self._steps_taken(group) for group in groups]
        self._table = torch.zeros(
            (n_steps, 3 * len(groups) + 1),
            dtype=torch.float32,
            device=self.net.device_,
        )

    def _steps_taken(self, group: dict[str, Any]) -> int:
        """Count the steps that the optimizer took before, where it counts them."""
        states = (self.net.optimizer_.state.get(p, {}) for p in group["params"])
        return max((int(s["step"]) for s in states if "step" in s), default=0)

    def prepare(self, n_steps: int) -> None:
        """Write the table for the next steps, and move the schedule past them."""
        rows = [self._next_row() for _ in range(n_steps)]
        values = torch.tensor(rows, dtype=torch.float32)
        self._table[:n_steps].copy_(sent(values, self._table.device))

    def _next_row(self) -> list[float]:
        row: list[float] = []
        for index, group in enumerate(self.net.optimizer_.param_groups):
            # As a number: a schedule changes a tensor in place.
            lr, move, shrink = float(group["lr"]), 0.0, 1.0
            self._n_taken[index] += 1
            if self._cycles:
                # Adam moves its average a of gradients g to beta a + (1 - beta) g, and
                # divides it by 1 - beta ** n. The recorded step does so with the beta
                # of the recording. It gives the same as with the beta of now where a
                # was moved by 1 - now / beta towards g before, and lr corrects for the
                # divisor; the decay of the weights takes lr as it is.
                beta, now = self._betas[index], group["betas"][0]
                shrink = 1 - lr * group["weight_decay"]
                n = self._n_taken[index]
                lr, move = lr * (1 - beta**n) / (1 - now**n), 1 - now / beta
            row += lr, move, shrink
        row.append(self.average.next_share() if self.average else 0)
        if self.schedule is not None:
            self.schedule.on_batch_end(self.net, training=True)
        return row

    @torch.no_grad()
    def apply(self, number: int) -> None:
        """Update weights and averages by a row of the table: what is recorded."""
        optimizer = self.net.optimizer_
        *columns, share = self._table[number].unbind()
        is_recording = share.is_cuda and torch.cuda.is_current_stream_capturing()
        groups, recorded = optimizer.param_groups, []
        for index, group in enumerate(groups):
            rate, move, shrink = columns[3 * index : 3 * index + 3]
            options: dict[str, Any] = {"lr": rate}
            if "capturable" in group:
                options["capturable"] = is_recording
            if self._cycles:
                self._change_momentum(group, move, shrink)
                options["betas"] = self._betas[index], group["betas"][1]
                options["weight_decay"] = 0  # done by then
            recorded.append({**group, **options})
        # The step reads its options from the groups.
        optimizer.param_groups = recorded
        try:
            optimizer.step()
        finally:
            optimizer.param_groups = groups
        if self.average is not None:
            _move(self.average.average_, self.average.tensors_, share)

    def _change_momentum(
        self, group: dict[str, Any], move: Tensor, shrink: Tensor
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
            _move([state["exp_avg"] for state in states], grads, move)


_Tensors = tuple[Tensor, ...] | list[Tensor]


def _move(tensors: _Tensors, targets: _Tensors, share: Tensor) -> None:
    """Move tensors by a share of the way to others.

    ``torch._foreach_lerp_`` would read the share on the CPU, which cannot be recorded;
    one operation for each tensor would take as long as the optimizer's step.
    """
    moves = torch._foreach_sub(targets, tensors)
    torch._foreach_mul_(moves, share)
    torch._foreach_add_(tensors, moves)
