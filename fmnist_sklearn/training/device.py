"""A GPU that several fits share: streams, graphs, memory and what is copied to it.

Nothing here asks to wait for the whole device, which would be to wait for every other
fit's work.
"""

from __future__ import annotations

import hashlib
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import torch
from torch import Tensor
from torch.utils.weak import TensorWeakRef

# The size of the batches of validation and prediction: on a CPU, where a batch is to
# stay in its cache, and on a GPU, at most.
PREDICTION_BATCH_SIZE = 160
_LARGEST_BATCH = 4096
# For a pixel and what layers make of it: twice what MiniVGG's widest three take.
_BYTES_OF_A_PIXEL = 1024


def evaluation_batch_size(device: torch.device, n_pixels: int) -> int:
    """Choose how many images are predicted at a time.

    Parameters
    ----------
    device : torch.device
        Where.
    n_pixels : int
        Values of an image, over all channels.

    Returns
    -------
    int
        On a GPU what a sixteenth of its memory holds, at most 4096: the same beside
        other fits and alone, and so are the bits; fewer only where less is free.
    """
    if device.type != "cuda":
        return PREDICTION_BATCH_SIZE
    free, total = torch.cuda.mem_get_info(device)
    if free < total // 16:  # asked for only then, as it takes a millisecond
        reserved = torch.cuda.memory_reserved(device)
        free += reserved - torch.cuda.memory_allocated(device)
    n_images = min(free, total // 16) // (n_pixels * _BYTES_OF_A_PIXEL)
    return min(max(n_images, 1), _LARGEST_BATCH)


def sent(values: Tensor, device: torch.device) -> Tensor:
    """Copy values to a device without waiting until they are there."""
    if device.type != "cuda" or values.is_cuda:
        return values.to(device)
    return values.pin_memory().to(device, non_blocking=True)


class SharedCopies:
    """One copy on a device of the data that several fits train on at a time.

    Equal data have one copy, whichever arrays they came in; it goes when the last of
    those who have it lets go.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._copies: dict[Any, TensorWeakRef] = {}

    def get(self, values: Tensor, device: torch.device) -> Tensor:
        """Return the copy of a contiguous CPU tensor; it is not to be written to."""
        content = hashlib.sha256(values.numpy().data).digest()
        key = (str(device), values.dtype, values.shape, content)
        with self._lock:
            copy = self._copies[key]() if key in self._copies else None
            if copy is None:
                # Returns when the copy is there, for whatever stream reads it.
                copy = values.to(device, copy=True)
                for gone in [k for k, ref in self._copies.items() if ref() is None]:
                    del self._copies[gone]
                self._copies[key] = TensorWeakRef(copy)
            return copy


shared_copies = SharedCopies()


# Streams ------------------------------------------------------------------------

# PyTorch has so many and then hands them out again, and two fits on one stream would
# record each other's steps.
_N_STREAMS = 32

_places = threading.BoundedSemaphore(_N_STREAMS)
_streams_lock = threading.Lock()
_idle_streams: dict[int, list[Any]] = {}
_known_streams: set[int] = set()


@contextmanager
def own_stream(device: torch.device) -> Iterator[None]:
    """Compute on a stream that no other fit uses meanwhile; on a CPU, do nothing.

    All that was queued inside is done when it ends, whatever ends it: what the caller
    frees then is not in use.
    """
    if device.type != "cuda":
        yield
        return
    with _places, torch.cuda.device(device):
        index = torch.cuda.current_device()
        stream = _take_stream(index)
        try:
            stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(stream):
                try:
                    yield
                finally:
                    stream.synchronize()
        finally:
            _give_back(stream, index)


def _give_back(stream: Any, index: int) -> None:
    """Let others have a stream; with the last one, let go of what cuBLAS works in.

    That is 32 MB for each pair of a thread and a stream that ever computed together.
    Recorded steps work in it as well, so that it has to stay while a fit goes on.
    """
    with _streams_lock:
        _idle_streams[index].append(stream)
        if sum(map(len, _idle_streams.values())) == len(_known_streams):
            torch._C._cuda_clearCublasWorkspaces()


def _take_stream(index: int) -> Any:
    with _streams_lock:
        idle = _idle_streams.setdefault(index, [])
        if idle:  # the same ones again and again: each has memory of its own
            return idle.pop()
        for _ in range(2 * _N_STREAMS):
            stream = torch.cuda.Stream()
            if stream.cuda_stream not in _known_streams:
                break
        _known_streams.add(stream.cuda_stream)
        return stream


def handed_over(tensors: Iterable[Any]) -> None:
    """Note that tensors of a fit's own stream are used on the caller's from now on."""
    for tensor in tensors:
        if isinstance(tensor, Tensor) and tensor.is_cuda:
            tensor.record_stream(torch.cuda.current_stream(tensor.device))


# Recording ----------------------------------------------------------------------

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
