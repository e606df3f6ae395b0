"""Where a fit computes: device, precision, settings, memory, and a GPU that fits share.

Nothing here synchronises the whole device, which would wait for the work of every other
fit.
"""

from __future__ import annotations

import ctypes
import os
import platform
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import cache, wraps
from typing import Any

import joblib
import torch
from torch import Tensor


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
        torch.empty(0, device=torch.device(device)).cpu()
        return torch.device(device)
    # An unknown name raises RuntimeError or TypeError, and a missing back-end also
    # AssertionError, ImportError or AttributeError, among others.
    except Exception as error:
        raise ValueError(
            f"device={device!r} is unknown, not available here, or cannot hold data; "
            "use device='auto' or device='cpu'"
        ) from error


def resolve_precision(precision: str, device: torch.device, bfloat16_pays: bool) -> str:
    """Turn the parameter ``precision`` into "float32" or "bfloat16".

    "auto" means bfloat16 where the network gains from it and the device computes it
    in hardware (CUDA, or a CPU with AVX512-BF16 or AMX).
    """
    if precision != "auto":
        return precision
    in_hardware = False
    if device.type == "cuda":
        in_hardware = torch.cuda.is_bf16_supported(including_emulation=False)
    elif device.type == "cpu":
        # Private, and without a public counterpart: where PyTorch has renamed them,
        # "auto" means float32.
        names = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
        in_hardware = any(getattr(torch.cpu, name, bool)() for name in names)
    return "bfloat16" if bfloat16_pays and in_hardware else "float32"


@contextmanager
def own_settings(*, training: bool = False) -> Iterator[None]:
    """Compute by PyTorch's default settings, whatever the caller has set.

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
        if torch.empty(0).device.type != "cpu":  # as older versions show it too
            stack.enter_context(torch.device("cpu"))
        yield


# Threads that predict -------------------------------------------------------------

_thread = threading.local()
_n_processors = cache(joblib.cpu_count)


@cache
def _turns(n: int) -> threading.Semaphore:
    """Return what lets ``n`` threads in; a forked process has its own."""
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=_turns.cache_clear)
    return threading.Semaphore(n)


@contextmanager
def in_turn() -> Iterator[None]:
    """Wait while other threads compute in such blocks on all processors, for a second.

    More threads than processors would wait for the interpreter's lock at every
    operation, and take longer than one after another.
    """
    is_inside, has_turn = getattr(_thread, "computes", False), False
    turns = _turns(max(_n_processors() // torch.get_num_threads(), 1))
    try:
        # After the second it computes anyway: the others may wait for this thread.
        has_turn = not is_inside and turns.acquire(timeout=1)
        _thread.computes = True
        yield
    finally:
        _thread.computes = is_inside
        if has_turn:
            turns.release()


# Settings of the whole process ----------------------------------------------------

_Setting = Callable[[], AbstractContextManager[None]]


def _set_while_used(setting: _Setting) -> _Setting:
    """Have the first user, in any thread, enter a context, and the last one leave it.

    A decorator. Entering and leaving hold a lock, so that a new user waits until the
    last one has left.
    """
    lock, entered, n_users = threading.Lock(), ExitStack(), 0

    @contextmanager
    @wraps(setting)
    def used() -> Iterator[None]:
        nonlocal n_users
        with lock:
            if n_users == 0:
                entered.enter_context(setting())
            n_users += 1
        try:
            yield
        finally:
            with lock:
                n_users -= 1
                if n_users == 0:
                    entered.close()

    return used


@_set_while_used
@contextmanager
def repeatable_cudnn() -> Iterator[None]:
    """Have equal seeds give equal bits on a GPU."""
    cudnn: Any = torch.backends.cudnn
    before = cudnn.deterministic, cudnn.benchmark
    cudnn.deterministic, cudnn.benchmark = True, False
    yield
    cudnn.deterministic, cudnn.benchmark = before


@_set_while_used
@contextmanager
def _global_generators_kept() -> Iterator[None]:
    """Restore PyTorch's global random states in the end."""
    devices = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else ()
    with torch.random.fork_rng(devices):
        yield


_seeding = threading.Lock()


@contextmanager
def seeded(seed: int, *, alone: bool = False) -> Iterator[None]:
    """Have PyTorch's global generators draw from a seed, and restore them in the end.

    For code that can draw from no other generator. All threads share these: with
    ``alone``, no other thread sets a seed meanwhile.
    """
    with _global_generators_kept(), ExitStack() as stack:
        stack.enter_context(_seeding)
        torch.default_generator.manual_seed(seed)
        if torch.cuda.is_initialized():
            torch.cuda.manual_seed_all(seed)
        if not alone:
            stack.close()
        yield


# Parameters of mallopt, from glibc's malloc.h, and the largest block that glibc takes
# from its heap at all.
_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3
_LARGEST_BLOCK = 32 * 2**20


@cache
def _find_glibc() -> Any:
    """Return the C library of the process, None where it is not glibc."""
    return ctypes.CDLL(None) if platform.libc_ver()[0] == "glibc" else None


@_set_while_used
@contextmanager
def freed_memory_kept() -> Iterator[None]:
    """Have the C library keep freed memory for the next batch, where it is glibc.

    glibc returns large freed blocks to the system, and each batch would fetch them
    again, page by page, which takes up to a fifth of a training's time and half of a
    prediction's. Afterwards glibc keeps 64 MiB, as it does by itself once a large block
    was freed.
    """
    glibc = _find_glibc()
    if glibc is not None:
        glibc.mallopt(_M_MMAP_THRESHOLD, _LARGEST_BLOCK)
        glibc.mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)
    yield
    if glibc is not None:
        glibc.mallopt(_M_TRIM_THRESHOLD, 2 * _LARGEST_BLOCK)


@_set_while_used
@contextmanager
def _cublas_workspaces() -> Iterator[None]:
    """Free cuBLAS's workspaces in the end.

    That is 32 MB for each pair of a thread and a stream that ever computed together.
    Recorded steps use them as well, so that they stay while any fit runs. PyTorch has
    no public function for it; without it the memory would stay reserved.
    """
    yield
    torch._C._cuda_clearCublasWorkspaces()


# Batches and copies on a device ---------------------------------------------------

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
        On a GPU what a sixteenth of its memory holds, at most 4096: the same alone and
        while other fits run, and so are the bits; fewer only where less is free.
    """
    if device.type != "cuda":
        return PREDICTION_BATCH_SIZE
    free, total = torch.cuda.mem_get_info(device)
    if free < total // 16:  # measured only then, as it takes a millisecond
        reserved = torch.cuda.memory_reserved(device)
        free += reserved - torch.cuda.memory_allocated(device)
    n_images = min(free, total // 16) // (n_pixels * _BYTES_OF_A_PIXEL)
    return min(max(n_images, 1), _LARGEST_BATCH)


def sent(values: Tensor, device: torch.device) -> Tensor:
    """Copy values to a device without waiting until they are there."""
    if device.type != "cuda" or values.is_cuda:
        return values.to(device)
    return values.pin_memory().to(device, non_blocking=True)


# Streams ------------------------------------------------------------------------

# PyTorch has this number of streams and then returns them again; two fits on one
# stream would record each other's steps.
_N_STREAMS = 32

_places = threading.BoundedSemaphore(_N_STREAMS)
_streams_lock = threading.Lock()
_idle_streams: dict[int, list[Any]] = {}  # by the device's index


@contextmanager
def own_stream(device: torch.device) -> Iterator[None]:
    """Compute on a stream that no other fit uses meanwhile; on a CPU, do nothing.

    All that was queued inside is done when it ends, whatever ends it: what the caller
    frees then is not in use.
    """
    if device.type != "cuda":
        yield
        return
    with _places, torch.cuda.device(device), _cublas_workspaces():
        idle = _idle_streams_of(torch.cuda.current_device())
        stream = idle.pop()  # the last one used: each has memory of its own
        try:
            stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(stream):
                try:
                    yield
                finally:
                    stream.synchronize()
        finally:
            idle.append(stream)


def _idle_streams_of(index: int) -> list[Any]:
    """Return the list of a device's streams that no fit uses."""
    with _streams_lock:
        if index not in _idle_streams:
            # Twice around, since another library may take some of them meanwhile.
            streams = [torch.cuda.Stream() for _ in range(2 * _N_STREAMS)]
            distinct = {stream.cuda_stream: stream for stream in streams}
            _idle_streams[index] = list(distinct.values())
        return _idle_streams[index]


def state_tensors(optimizer: torch.optim.Optimizer) -> list[Tensor]:
    """Return all tensors of an optimizer's state."""
    states = optimizer.state.values()
    return [v for state in states for v in state.values() if isinstance(v, Tensor)]


def record_stream(optimizer: torch.optim.Optimizer) -> None:
    """Mark an optimizer's state, made on a fit's stream, as used on the caller's."""
    for tensor in state_tensors(optimizer):
        if tensor.is_cuda:
            tensor.record_stream(torch.cuda.current_stream(tensor.device))
