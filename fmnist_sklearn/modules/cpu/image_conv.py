"""A network's first convolution, as a matrix product that is quick to train on a CPU.

PyTorch's convolutions are fast but for one case: the gradient of the weights where
there are few channels to read. Images need no gradient themselves, and one channel
makes few shifted copies, so both ways are one matrix product.
"""

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable


class _ConvOfImages(torch.autograd.Function):
    """Convolve images that need no gradient, as one product with shifted copies."""

    @staticmethod
    def forward(ctx, x, weight, bias, padding):
        out, c, kernel, _ = weight.shape
        n, _, height, width = x.shape
        height, width = height + 2 * padding, width + 2 * padding
        h, w = height - kernel + 1, width - kernel + 1
        x = F.pad(x, (padding,) * 4)
        plane = height * width
        copies = x.as_strided(
            (c, kernel, kernel, n, h, w), (plane, width, 1, c * plane, width, 1)
        )
        copies = copies.reshape(c * kernel**2, -1)
        y = torch.addmm(bias, copies.T, weight.reshape(out, -1).T)
        ctx.save_for_backward(copies)
        ctx.weight_shape = weight.shape
        return y.view(n, h, w, out).permute(0, 3, 1, 2)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        (copies,) = ctx.saved_tensors
        grad = grad.permute(0, 2, 3, 1).reshape(copies.shape[1], -1)
        grad_weight = (copies @ grad).T.reshape(ctx.weight_shape)
        return None, grad_weight, grad.sum(0), None


def conv_of_images(x: Tensor, weight: Tensor, bias: Tensor, padding: int) -> Tensor:
    """Convolve images of few channels that need no gradient themselves.

    Parameters
    ----------
    x : Tensor of shape (N, C, H, W)
        Images.
    weight : Tensor of shape (out_channels, C, kernel, kernel)
        Kernels, for stride 1.
    bias : Tensor of shape (out_channels,)
        Added to the outputs.
    padding : int
        Zeros on each side of the images.

    Returns
    -------
    Tensor of shape (N, out_channels, H', W')
        ``F.conv2d(x, weight, bias, padding=padding)``, channels last in memory, in
        the precision of autocasting where that is on.
    """
    if torch.is_autocast_enabled("cpu"):
        dtype = torch.get_autocast_dtype("cpu")
        x, weight, bias = x.to(dtype), weight.to(dtype), bias.to(dtype)
    return _ConvOfImages.apply(x, weight, bias, padding)
