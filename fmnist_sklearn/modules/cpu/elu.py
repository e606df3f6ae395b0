"""An exact form of ELU that PyTorch runs fast on a CPU, and where it may be used.

On a GPU, in export and under ``torch.compile`` the operations of PyTorch are used.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

_LOG2_OF_E = math.log2(math.e)


def eager_on_cpu(x: Tensor) -> bool:
    """Whether operations on ``x`` are computed now, on a CPU, and not recorded."""
    return x.device.type == "cpu" and not (
        torch.compiler.is_compiling() or torch.jit.is_tracing()
    )


def in_own_precision(x: Tensor) -> bool:
    """Whether ``x`` is computed now, on a CPU and in its own precision."""
    return eager_on_cpu(x) and not torch.is_autocast_enabled("cpu")


def elu_forward(x: Tensor) -> Tensor:
    """Compute ELU; no gradient flows through it."""
    # exp(x) - 1 >= x everywhere, so clamping at 0 first and taking the larger of the
    # two leaves positive values as they are. PyTorch computes powers of 2 faster than
    # those of e.
    below = x.clamp(max=0).mul_(_LOG2_OF_E).exp2_().sub_(1)
    return torch.maximum(x, below, out=below)


def elu_backward(grad: Tensor, y: Tensor) -> Tensor:
    """Multiply by the slope of ELU: exp(x) = y + 1 for negative x, else 1."""
    return torch.ops.aten.elu_backward(grad, 1.0, 1.0, 1.0, True, y)


class _ELU(torch.autograd.Function):
    """``x`` where it is positive, ``exp(x) - 1`` elsewhere."""

    @staticmethod
    def forward(ctx, x: Tensor) -> Tensor:
        y = elu_forward(x)
        ctx.save_for_backward(y)
        return y

    @staticmethod
    def backward(ctx, grad):
        return elu_backward(grad, *ctx.saved_tensors)


def elu(x: Tensor) -> Tensor:
    """Apply the exponential linear unit with ``alpha=1``, elementwise.

    Parameters
    ----------
    x : Tensor
        Any shape, floating point.

    Returns
    -------
    Tensor
        ``F.elu(x)``, equal within one unit of the last place of 1.0: ``exp(x) - 1`` is
        computed as a power less 1, not as ``expm1``.

    References
    ----------
    Clevert, Unterthiner and Hochreiter, "Fast and Accurate Deep Network Learning by
    Exponential Linear Units (ELUs)", ICLR 2016.
    """
    return _ELU.apply(x) if in_own_precision(x) else F.elu(x)
