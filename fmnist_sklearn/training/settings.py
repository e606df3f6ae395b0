"""PyTorch's settings for a thread or a process, kept out of fits and predictions."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch


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
