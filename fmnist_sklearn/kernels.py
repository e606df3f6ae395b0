"""ELU and 2 x 2 max pooling in forms that PyTorch runs fast on a CPU.

Both compute what ``torch.nn.functional`` computes, from elementwise operations
that vectorise well on a CPU: ``F.elu`` and ``F.max_pool2d`` do not. Where that gains
nothing (on a GPU) or where a graph is recorded (export, ``torch.compile``), the
functions of PyTorch itself are used.
"""

import torch
import torch.nn.functional as F
from torch import Tensor


def _eager_on_cpu(x: Tensor) -> bool:
    """Whether ``x`` is computed now and on a CPU, rather than recorded in a graph."""
    return x.device.type == "cpu" and not (
        torch.compiler.is_compiling() or torch.jit.is_tracing()
    )


class _ELU(torch.autograd.Function):
    """``x`` where it is positive, ``exp(x) - 1`` elsewhere."""

    @staticmethod
    def forward(x: Tensor) -> Tensor:
        # exp(x) - 1 >= x everywhere, so clamping at 0 first and taking the larger
        # of the two leaves positive values as they are.
        return torch.maximum(x, x.clamp(max=0).exp_().sub_(1))

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(output)

    @staticmethod
    def backward(ctx, grad):
        (y,) = ctx.saved_tensors
        # The slope is exp(x) = y + 1 for negative x and 1 for positive x.
        return y.clamp(max=0).add_(1).mul_(grad)


def elu(x: Tensor) -> Tensor:
    """Apply the exponential linear unit with ``alpha=1``, elementwise.

    Parameters
    ----------
    x : Tensor
        Any shape, floating point.

    Returns
    -------
    Tensor
        ``F.elu(x)``, equal within one unit of the last place of 1.0 (``exp(x) - 1``
        is computed as written).

    References
    ----------
    Clevert, Unterthiner and Hochreiter, "Fast and Accurate Deep Network Learning by
    Exponential Linear Units (ELUs)", ICLR 2016.
    """
    return _ELU.apply(x) if _eager_on_cpu(x) else F.elu(x)


def _corners(x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """View the four corners of every 2 x 2 window, in row-major order."""
    h, w = x.shape[-2] // 2 * 2, x.shape[-1] // 2 * 2  # a last odd row is left out
    top, bottom = x[..., 0:h:2, :w], x[..., 1:h:2, :w]
    return top[..., 0::2], top[..., 1::2], bottom[..., 0::2], bottom[..., 1::2]


class _MaxPool2x2(torch.autograd.Function):
    """The largest of each 2 x 2 window; a gradient goes to the first such corner."""

    @staticmethod
    def forward(x: Tensor) -> Tensor:
        h, w = x.shape[-2] // 2 * 2, x.shape[-1] // 2 * 2
        rows = torch.maximum(x[..., 0:h:2, :w], x[..., 1:h:2, :w])
        return torch.maximum(rows[..., 0::2], rows[..., 1::2])

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(inputs[0], output)

    @staticmethod
    def backward(ctx, grad):
        x, y = ctx.saved_tensors
        grad_x = torch.zeros_like(x) if _has_odd_edge(x) else torch.empty_like(x)
        targets = _corners(grad_x)
        left = grad  # what no corner has claimed yet
        for corner, target in zip(_corners(x)[:3], targets[:3], strict=True):
            torch.mul(left, corner == y, out=target)
            left = left - target
        targets[3].copy_(left)
        return grad_x


def _has_odd_edge(x: Tensor) -> bool:
    return bool(x.shape[-2] % 2 or x.shape[-1] % 2)


def max_pool2x2(x: Tensor) -> Tensor:
    """Take the maximum of each 2 x 2 window, with stride 2.

    Parameters
    ----------
    x : Tensor of shape (..., C, H, W)
        Floating point, H and W at least 2; a last odd row or column is left out.

    Returns
    -------
    Tensor of shape (..., C, H // 2, W // 2)
        ``F.max_pool2d(x, 2)``, the same to the bit. Among equal corners of a window
        the first in row-major order receives the gradient, as there.
    """
    # In channels_last memory PyTorch's own kernel vectorises over the channels.
    if _eager_on_cpu(x) and x.is_contiguous():
        return _MaxPool2x2.apply(x)
    return F.max_pool2d(x, 2)
