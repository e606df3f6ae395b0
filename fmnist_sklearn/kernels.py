"""Exact forms of ELU, and of dense layers with it, that PyTorch runs fast on a CPU.

On a GPU, in export and under ``torch.compile`` the operations of PyTorch are used.
"""

import math
from collections.abc import Sequence
from itertools import islice

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

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


def _dense_layers(
    x: Tensor, masks: Sequence[Tensor | None], parameters: Sequence[Tensor]
) -> tuple[Tensor, list[Tensor], list[Tensor]]:
    """Apply dense layers; return logits, what each layer read and values of ELU."""
    *weights, last_weight = parameters[::2]
    *biases, last_bias = parameters[1::2]
    inputs, hidden = [x], []
    for mask, weight, bias in zip(masks, weights, biases, strict=True):
        y = elu_forward(torch.addmm(bias, inputs[-1], weight.t()))
        hidden.append(y)
        inputs.append(y if mask is None else y * mask)
    return torch.addmm(last_bias, inputs[-1], last_weight.t()), inputs, hidden


class _DenseELU(torch.autograd.Function):
    """Dense layers with ELU and dropout between them."""

    @staticmethod
    def forward(ctx, masks, x, *parameters):
        logits, inputs, hidden = _dense_layers(x, masks, parameters)
        ctx.save_for_backward(*parameters[::2], *inputs, *masks, *hidden)
        return logits

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        saved = iter(ctx.saved_tensors)
        n_layers = (len(ctx.saved_tensors) + 2) // 4
        weights, inputs = list(islice(saved, n_layers)), list(islice(saved, n_layers))
        masks, hidden = list(islice(saved, n_layers - 1)), list(saved)
        grads: list[Tensor] = []
        for layer in reversed(range(n_layers)):
            grads[:0] = [grad.t() @ inputs[layer], grad.sum(0)]
            grad = grad @ weights[layer]
            if layer > 0:
                mask = masks[layer - 1]
                grad = grad if mask is None else grad * mask
                grad = elu_backward(grad, hidden[layer - 1])
        return None, grad, *grads


def dense_elu(
    x: Tensor, masks: Sequence[Tensor | None], parameters: Sequence[Tensor]
) -> Tensor:
    """Apply dense layers with ELU and, maybe, dropout between them.

    Parameters
    ----------
    x : Tensor of shape (N, units)
        Input of the first layer.
    masks : sequence of Tensor or None
        For each but the last layer what to multiply its values with; None for 1.
    parameters : sequence of Tensor
        Weight and bias of each layer in turn, as ``torch.nn.Linear`` has them.

    Returns
    -------
    Tensor of shape (N, units of the last layer)
        Its values, without ELU.
    """
    if torch.is_grad_enabled():
        return _DenseELU.apply(masks, x, *parameters)
    return _dense_layers(x, masks, parameters)[0]
