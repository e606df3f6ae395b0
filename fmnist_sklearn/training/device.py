"""Where a fit computes: device, precision, settings, and a GPU that fits share.

Nothing here asks to wait for the whole device, which would be to wait for every other
fit's work.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.utils.weak import TensorWeakRef


def resolve_device(device: Any) -> torch.device:
    """Turn the parameter ``device`` into a device that this machine has.

    Raises
    ------
    ValueError
        If the name is not a device, or the device is not available here.
    """
    if isinstance(device, str) and device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        resolved = torch.device(device)
    except (RuntimeError, TypeError) as error:
        raise ValueError(
            f"device must be 'auto' or a name that torch.device knows, got {device!r}"
        ) from error
    if resolved.type == "cuda" and not torch.cuda.is_available():
        raise ValueError(
            f"device={device!r} was asked for, but PyTorch finds no CUDA device here; "
            "use device='auto' or device='cpu'"
        )
    try:
        torch.empty(0, device=resolved).cpu()
    # Each back-end that is not there says so in its own way, with AssertionError,
    # ImportError and AttributeError among others.
    except Exception as error:
        raise ValueError(
            f"device={device!r} cannot hold a network here; use device='auto'"
        ) from error
    return resolved


def resolve_precision(precision: str, device: torch.device, bfloat16_pays: bool) -> str:
    """Turn the parameter ``precision`` into "float32" or "bfloat16".

    "auto" means bfloat16 where the network gains from it and the device computes it
    in hardware (CUDA, or a CPU with AVX512-BF16 or AMX).
    """
    if precision != "auto":
        return precision
    if device.type == "cuda":
        in_hardware = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        in_hardware = device.type == "cpu" and _cpu_has_bfloat16()
    return "bfloat16" if bfloat16_pays and in_hardware else "float32"


def _cpu_has_bfloat16() -> bool:
    checks = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(getattr(torch.cpu, check, bool)() for check in checks)


@contextmanager
def own_settings(*, training: bool = False) -> Iterator[None]:
    """Compute as if nobody had changed PyTorch's settings.

    Parameters
    ----------
    training : bool, default=False
        Whether gradients are needed, also where the caller has turned them off.

    Notes
    -----
    Of inference mode, autocasting, the default device and ``no_grad``, whichever is on
    is turned off inside. The default dtype belongs to all threads and stays as it is:
    code inside names the dtype of whatever it makes.
    """
    with ExitStack() as stack:
        if torch.is_inference_mode_enabled():
            stack.enter_context(torch.inference_mode(False))
        if training and not torch.is_grad_enabled():
            stack.enter_context(torch.enable_grad())
        for kind in ("cpu", "cuda"):
            if torch.is_autocast_enabled(kind):
                stack.enter_context(torch.autocast(kind, enabled=False))
        if torch.get_default_device().type != "cpu":
            stack.enter_context(torch.device("cpu"))
        yield


class _CudnnFlags:
    """cuDNN's flags, which belong to the process, as one user or several want them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._n_users = 0
        self._before = (False, False)

    def set(self) -> None:
        """Let cuDNN choose only algorithms that repeat themselves."""
        cudnn: Any = torch.backends.cudnn
        with self._lock:
            if self._n_users == 0:
                self._before = cudnn.deterministic, cudnn.benchmark
                cudnn.deterministic, cudnn.benchmark = True, False
            self._n_users += 1

    def restore(self) -> None:
        """Put the flags back, after the last of those who set them."""
        cudnn: Any = torch.backends.cudnn
        with self._lock:
            self._n_users -= 1
            if self._n_users == 0:
                cudnn.deterministic, cudnn.benchmark = self._before


_cudnn_flags = _CudnnFlags()


@contextmanager
def repeatable_cudnn(wanted: bool) -> Iterator[None]:
    """Have equal seeds give equal bits on a GPU, in whatever threads fits run.

    Parameters
    ----------
    wanted : bool
        False changes nothing.
    """
    if not wanted:
        yield
        return
    _cudnn_flags.set()
    try:
        yield
    finally:
        _cudnn_flags.restore()


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


def record_stream(tensors: Iterable[Any]) -> None:
    """Note that tensors of a fit's own stream are used on the caller's from now on."""
    for tensor in tensors:
        if isinstance(tensor, Tensor) and tensor.is_cuda:
            tensor.record_stream(torch.cuda.current_stream(tensor.device))
