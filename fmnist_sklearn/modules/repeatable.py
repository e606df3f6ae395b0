"""The gradient of a first convolution's weights, the same each time, on a GPU.

Where cuDNN may only use what repeats to the bit, it takes longer for this gradient
than for all else that LeNet-5's convolutions do. Images need no gradient themselves,
and for few channels that of the weights is one matrix product.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .cpu.image_conv import shifted_copies

# Values that a kernel reads, at most: as many shifted copies of the images are made.
_LARGEST_KERNEL = 32


class _ConvOfImages(torch.autograd.Function):
    """Convolve images that need no gradient, with stride 1."""

    @staticmethod
    def forward(ctx, x, weight, bias, padding):
        ctx.save_for_backward(x)
        ctx.weight_shape, ctx.padding = weight.shape, padding
        return F.conv2d(x, weight, bias, padding=padding)

    @staticmethod
    def backward(ctx, grad):
        # Operations that PyTorch can differentiate again, should it be asked to.
        (x,) = ctx.saved_tensors
        copies = shifted_copies(x, ctx.weight_shape, ctx.padding)
        grads = grad.transpose(0, 1).reshape(grad.shape[1], -1)
        grad_weight = (grads @ copies.T).view(ctx.weight_shape)
        return None, grad_weight, grad.sum((0, 2, 3)), None


def repeats_slowly(x: Tensor, conv: Any) -> bool:
    """Whether `conv_of_images` is for this: a convolution of images with stride 1.

    Parameters
    ----------
    x : Tensor
        Its input.
    conv : nn.Conv2d
        As this package builds them, of numbers as padding.
    """
    return (
        type(x) is Tensor  # no stand-in of whoever traces
        and x.is_cuda
        and torch.backends.cudnn.deterministic
        and torch.is_grad_enabled()
        and not torch.is_autocast_enabled("cuda")
        and not x.requires_grad
        and x.dtype is conv.weight.dtype is torch.float32
        and conv.weight[0].numel() <= _LARGEST_KERNEL
    )


def conv_of_images(x: Tensor, conv: nn.Conv2d) -> Tensor:
    """Compute ``conv(x)``, for images that need no gradient.

    Parameters
    ----------
    x : Tensor of shape (N, C, H, W)
        Images.
    conv : nn.Conv2d
        With stride 1.

    Returns
    -------
    Tensor of shape (N, out_channels, H', W')
        As ``conv`` gives it.
    """
    return _ConvOfImages.apply(x, conv.weight, conv.bias, conv.padding)
