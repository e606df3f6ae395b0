"""Dense layers with ELU, and first convolutions, each as one autograd function."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

_LOG2_OF_E = math.log2(math.e)


# ELU


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


# Dense layers


class _DenseELU(torch.autograd.Function):
    """Dense layers with ELU and dropout between them."""

    @staticmethod
    def forward(ctx, masks, x, *parameters):
        *weights, last_weight = parameters[::2]
        *biases, last_bias = parameters[1::2]
        inputs, hidden = [x], []  # of each layer its input, and values of ELU
        for mask, weight, bias in zip(masks, weights, biases, strict=True):
            y = elu_forward(torch.addmm(bias, inputs[-1], weight.t()))
            hidden.append(y)
            inputs.append(y if mask is None else y * mask)
        ctx.n_layers = len(inputs)
        ctx.save_for_backward(*weights, last_weight, *inputs, *masks, *hidden)
        return torch.addmm(last_bias, inputs[-1], last_weight.t())

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        n, tensors = ctx.n_layers, ctx.saved_tensors
        weights, inputs = tensors[:n], tensors[n : 2 * n]
        masks, hidden = tensors[2 * n : 3 * n - 1], tensors[3 * n - 1 :]
        grads: list[Tensor] = []
        for layer in reversed(range(n)):
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
    return _DenseELU.apply(masks, x, *parameters)


# First convolutions. Images need no gradient themselves and have few channels, so the
# gradient of the weights is one matrix product with few shifted copies of the images.


def _shifted_copies(
    x: Tensor, weight_shape: tuple[int, ...], padding: tuple[int, ...]
) -> Tensor:
    """Return what each weight of a kernel is multiplied with, for stride 1.

    Returns
    -------
    Tensor of shape (C * kernel height * kernel width, N * H' * W')
        In the order of a kernel's weights, and of the output's pixels.
    """
    _, c, kernel_h, kernel_w = weight_shape
    pad_h, pad_w = padding
    x = F.pad(x, (pad_w, pad_w, pad_h, pad_h)).contiguous()
    n, _, height, width = x.shape
    h, w = height - kernel_h + 1, width - kernel_w + 1
    plane = height * width
    copies = x.as_strided(
        (c, kernel_h, kernel_w, n, h, w), (plane, width, 1, c * plane, width, 1)
    )
    return copies.reshape(c * kernel_h * kernel_w, -1)


class _ConvOnCPU(torch.autograd.Function):
    """Convolve images by one product with shifted copies, (N * H' * W', channels)."""

    @staticmethod
    def forward(ctx, x, weight, bias, padding):
        copies = _shifted_copies(x, weight.shape, padding)
        ctx.save_for_backward(copies)
        ctx.weight_shape = weight.shape
        return torch.addmm(bias, copies.T, weight.reshape(len(weight), -1).T)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        (copies,) = ctx.saved_tensors
        grad_weight = (copies @ grad).T.reshape(ctx.weight_shape)
        return None, grad_weight, grad.sum(0), None


class _ConvOnCUDA(torch.autograd.Function):
    """Convolve images by cuDNN; the gradient is a product that repeats to the bit."""

    @staticmethod
    def forward(ctx, x, weight, bias, padding):
        ctx.save_for_backward(x)
        ctx.weight_shape, ctx.padding = weight.shape, padding
        return F.conv2d(x, weight, bias, padding=padding)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        copies = _shifted_copies(x, ctx.weight_shape, ctx.padding)
        grads = grad.transpose(0, 1).reshape(grad.shape[1], -1)
        grad_weight = (grads @ copies.T).view(ctx.weight_shape)
        return None, grad_weight, grad.sum((0, 2, 3)), None


def conv_of_images(x: Tensor, conv: Any) -> Tensor:
    """Convolve images of few channels that need no gradient themselves.

    Parameters
    ----------
    x : Tensor of shape (N, C, H, W)
        Images.
    conv : nn.Conv2d
        With stride 1, numbers as padding and a bias.

    Returns
    -------
    Tensor of shape (N, out_channels, H', W')
        ``conv(x)``; on a CPU channels last in memory, and in the precision of
        autocasting where that is on.
    """
    weight, bias, padding = conv.weight, conv.bias, conv.padding
    if x.is_cuda:
        return _ConvOnCUDA.apply(x, weight, bias, padding)
    (pad_h, pad_w), (kernel_h, kernel_w) = padding, weight.shape[2:]
    h, w = x.shape[2] + 2 * pad_h - kernel_h + 1, x.shape[3] + 2 * pad_w - kernel_w + 1
    if torch.is_autocast_enabled("cpu"):
        dtype = torch.get_autocast_dtype("cpu")
        x, weight, bias = x.to(dtype), weight.to(dtype), bias.to(dtype)
    # Viewed as images out here, so that what follows may change them in place.
    y = _ConvOnCPU.apply(x, weight, bias, padding)  # (N * H' * W', out_channels)
    return y.view(len(x), h, w, -1).permute(0, 3, 1, 2)
