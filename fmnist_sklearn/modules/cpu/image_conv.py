"""A network's first convolution, as a matrix product that is quick to train on a CPU.

PyTorch's convolutions are fast but for one case: the gradient of the weights where
there are few channels to read. Images need no gradient themselves, and one channel
makes few shifted copies, so both ways are one matrix product.
"""

import torch
import torch.nn.functional as F
from torch import Tensor


def shifted_copies(
    x: Tensor, weight_shape: tuple[int, ...], padding: tuple[int, ...]
) -> Tensor:
    """Return what each weight of a kernel is multiplied with, for stride 1.

    Parameters
    ----------
    x : Tensor of shape (N, C, H, W)
        Images.
    weight_shape : tuple of int
        (out_channels, C, kernel height, kernel width).
    padding : tuple of int
        Zeros above and below the images, and on their left and right.

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


class _ConvOfImages(torch.autograd.Function):
    """Convolve images that need no gradient, as one product with shifted copies."""

    @staticmethod
    def forward(ctx, x, weight, bias, padding):
        copies = shifted_copies(x, weight.shape, padding)
        ctx.save_for_backward(copies)
        ctx.weight_shape = weight.shape
        return torch.addmm(bias, copies.T, weight.reshape(len(weight), -1).T)

    @staticmethod
    def backward(ctx, grad):
        # Operations that PyTorch can differentiate again, should it be asked to.
        (copies,) = ctx.saved_tensors
        grad_weight = (copies @ grad).T.reshape(ctx.weight_shape)
        return None, grad_weight, grad.sum(0), None


def sees_images(x: Tensor, weight: Tensor, padding: tuple[int, ...]) -> bool:
    """Whether there are images, of the kernels' channels and large enough for them."""
    return (
        x.dim() == 4
        and len(x) > 0
        and x.shape[1] == weight.shape[1]
        and all(
            side + 2 * pad >= kernel
            for side, pad, kernel in zip(
                x.shape[2:], padding, weight.shape[2:], strict=True
            )
        )
    )


def conv_of_images(
    x: Tensor, weight: Tensor, bias: Tensor, padding: tuple[int, ...]
) -> Tensor:
    """Convolve images of few channels that need no gradient themselves.

    Parameters
    ----------
    x : Tensor of shape (N, C, H, W)
        Images.
    weight : Tensor of shape (out_channels, C, kernel height, kernel width)
        Kernels, for stride 1.
    bias : Tensor of shape (out_channels,)
        Added to the outputs.
    padding : tuple of int
        Zeros above and below the images, and on their left and right.

    Returns
    -------
    Tensor of shape (N, out_channels, H', W')
        ``F.conv2d(x, weight, bias, padding=padding)``, channels last in memory, in
        the precision of autocasting where that is on.
    """
    (pad_h, pad_w), (kernel_h, kernel_w) = padding, weight.shape[2:]
    h, w = x.shape[2] + 2 * pad_h - kernel_h + 1, x.shape[3] + 2 * pad_w - kernel_w + 1
    if torch.is_autocast_enabled("cpu"):
        dtype = torch.get_autocast_dtype("cpu")
        x, weight, bias = x.to(dtype), weight.to(dtype), bias.to(dtype)
    # Viewed as images out here, so that what follows may change them in place.
    y = _ConvOfImages.apply(x, weight, bias, padding)  # (N * H' * W', out_channels)
    return y.view(len(x), h, w, -1).permute(0, 3, 1, 2)
