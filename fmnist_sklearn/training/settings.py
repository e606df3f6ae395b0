"""PyTorch's settings for a thread or a process, kept out of fits and predictions."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

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
