"""An exact form of ELU that PyTorch runs fast on a CPU."""

import math

import torch
from torch import Tensor

_LOG2_OF_E = math.log2(math.e)


def elu_forward(x: Tensor) -> Tensor:
    """Compute the exponential linear unit; no gradient flows through it.

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
    # exp(x) - 1 >= x everywhere, so clamping at 0 first and taking the larger of the
    # two leaves positive values as they are. PyTorch computes powers of 2 faster than
    # those of e.
    below = x.clamp(max=0).mul_(_LOG2_OF_E).exp2_().sub_(1)
    return torch.maximum(x, below, out=below)


def elu_backward(grad: Tensor, y: Tensor) -> Tensor:
    """Multiply by the slope of ELU: exp(x) = y + 1 for negative x, else 1."""
    return torch.ops.aten.elu_backward(grad, 1.0, 1.0, 1.0, True, y)
