"""LeNet-5's block: convolution, batch normalisation, 2 x 2 max pooling and ELU.

An exact form that PyTorch runs fast on a CPU. Six things make it cheap, none of which
changes what is computed:

- Normalisation with a positive factor and ELU both increase, so pooling comes before
  them and leaves a quarter of the elements.
- The convolution writes the four corners of the pooling windows to four separate
  planes, so that pooling and its gradient are contiguous elementwise operations.
- A row of the convolution's outputs is a matrix product with the rows of inputs that it
  sees, and so is each row of a gradient. Rows overlap in memory, as views, so that only
  a window's columns are copied. The batch is innermost, so that copies have long runs.
- The gradient of the normalisation is a multiple of its input plus a constant, except
  at the largest corners.
- A block is one autograd function of few operations: in a batch of 64 images, calling
  an operation costs about as much as computing it.
- Rows are outermost in every tensor. PyTorch divides an operation among the threads
  along the outermost axes, so that a thread finds what it wrote before in its own
  cache; two processors need not share one.
"""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from .elu import elu_backward, elu_forward


def falls_into_windows(x: Tensor, conv: torch.nn.Conv2d) -> bool:
    """Whether there are images, and inputs and outputs all fall into 2 x 2 windows."""
    padding, kernel = int(conv.padding[0]), conv.kernel_size[0]
    return len(x) > 0 and all(
        side % 2 == 0 and side + 2 * padding > kernel for side in x.shape[-2:]
    )


def _batch_innermost(x: Tensor, padding: int) -> Tensor:
    """Turn images (N, C, H, W) into padded ones, (H, C, W, N) in memory."""
    x = x.permute(2, 1, 3, 0)
    if padding:
        x = F.pad(x, (0, 0, padding, padding, 0, 0, padding, padding))
    return x.contiguous()


def _shifted_columns(x: Tensor, kernel: int) -> Tensor:
    """Lay out the columns that the windows see.

    A window has two outputs a side, which together see ``kernel + 1`` inputs a side.

    Parameters
    ----------
    x : Tensor of shape (H, C, W, N)
        Contiguous.
    kernel : int
        Height and width of the kernel.

    Returns
    -------
    Tensor of shape (H, C * (kernel + 1), w * N)
        With axes (H, C, kernel + 1, w, N), element (i, c, v, j) is channel c at
        (i, 2 j + v).
    """
    height, c, width, n = x.shape
    shape = (height, c, kernel + 1, (width - kernel + 1) // 2, n)
    columns = x.as_strided(shape, (c * width * n, width * n, n, 2 * n, 1)).contiguous()
    return columns.view(height, c * (kernel + 1), -1)


def _add_columns_up(columns: Tensor, kernel: int, n: int) -> Tensor:
    """Add what is said of each column: the transpose of ``_shifted_columns``."""
    height, each, line = columns.shape
    taps, w = kernel + 1, line // n
    width = 2 * w + kernel - 1
    x = columns.new_zeros((height, each // taps, width, n))
    lines = height * each // taps
    # Neighbours fall on even and odd columns, apart, so that they are added at once.
    for v in range(0, taps, 2):
        target = x.as_strided((lines, w, 2, n), (width * n, 2 * n, n, 1), v * n)
        strides = (taps * line, n, line, 1)
        target += columns.as_strided((lines, w, 2, n), strides, v * line)
    return x


def _overlapping(rows: Tensor, size: int, step: int = 1) -> Tensor:
    """View ``size`` rows in turn as a matrix each: (matrices, size * m, n).

    Parameters
    ----------
    rows : Tensor of shape (number, m, n)
        Contiguous.
    size, step : int
        Rows of a matrix, and from the start of one to the start of the next.
    """
    number, m, n = rows.shape
    shape = ((number - size) // step + 1, size * m, n)
    return rows.as_strided(shape, (step * m * n, n, 1), rows.storage_offset())


def _multiply_each(factor: Tensor, x: Tensor) -> Tensor:
    """Multiply (m, k) with each matrix of (rows, k, n)."""
    return torch.bmm(factor.expand(len(x), *factor.shape), x)


def _shifted_kernels(wide: Tensor, shape: tuple[int, ...], n_rows: int = 1) -> Tensor:
    """View the kernels of several outputs in a tensor of their widened forms.

    Parameters
    ----------
    wide : Tensor
        For each row of outputs, and for both columns of a window, a kernel (out, rows,
        C, kernel + 1) on all inputs that these outputs see together: shifted by one row
        in the second row of outputs, by one column in the second column.
    shape : (out, C, kernel, kernel)
        Of a kernel.
    n_rows : int, default=1
        Rows of outputs.

    Returns
    -------
    Tensor of shape (n_rows, 2, out, C, kernel, kernel)
    """
    out, c, kernel, _ = shape
    row = c * (kernel + 1)
    each = (n_rows + kernel - 1) * row
    strides = (2 * out * each + row, out * each + 1, each, kernel + 1, row, 1)
    return wide.as_strided((n_rows, 2, *shape), strides)


def _widen(weight: Tensor) -> Tensor:
    """Turn a kernel into those of a window's two columns, on the inputs both see.

    Returns
    -------
    Tensor of shape (2 * out, kernel * C * (kernel + 1))
        As ``_shifted_kernels`` sees it; 0 elsewhere.
    """
    out, c, kernel, _ = weight.shape
    wide = weight.new_zeros((2 * out, kernel * c * (kernel + 1)))
    _shifted_kernels(wide, weight.shape).copy_(weight)
    return wide


def _conv_to_windows(
    x: Tensor, wide: Tensor, kernel: int, padding: int
) -> tuple[Tensor, Tensor]:
    """Convolve and sort the outputs by their corner of a 2 x 2 window.

    Parameters
    ----------
    x : Tensor of shape (N, C, H, W)
        Images.
    wide : Tensor of shape (2 * out, kernel * C * (kernel + 1))
        Kernels, from ``_widen``.
    kernel, padding : int
        Side of a kernel, and zeros on each side of the images.

    Returns
    -------
    planes : Tensor of shape (h, 4, out, w * N)
        Corners in row-major order.
    columns : Tensor of shape (H, C * (kernel + 1), w * N)
        The other factor of the products, for the gradient.
    """
    columns = _shifted_columns(_batch_innermost(x, padding), kernel)
    rows = _multiply_each(wide, _overlapping(columns, kernel))
    return rows.view(len(rows) // 2, 4, len(wide) // 2, -1), columns


def _as_images(y: Tensor, n: int) -> Tensor:
    """View (h, C, w * n) as images (n, C, h, w)."""
    return y.unflatten(2, (-1, n)).permute(3, 1, 0, 2)


def _signs(factors: Tensor) -> Tensor | None:
    """Signs of the factors, or None where none is negative, as is usual."""
    return torch.where(factors < 0, -1.0, 1.0) if min(factors.tolist()) < 0 else None


def _send_to_largest(grads: Tensor, planes: Tensor, pooled: Tensor) -> None:
    """Give each window's gradient to the first of its largest corners, the others 0.

    Parameters
    ----------
    grads : Tensor of shape (h, 4, C, n)
        Changed in place; comes with the windows' gradients in the first corner.
    planes : Tensor of shape (h, 4, C, n)
        The corners.
    pooled : Tensor of shape (h, C, n)
        The largest of each window.
    """
    # From each corner on, what is left for it and those after it.
    left = grads.unbind(1)
    torch.sub(pooled.unsqueeze(1), planes.narrow(1, 0, 3), out=grads.narrow(1, 1, 3))
    for here, after in pairwise(left):
        torch.ops.aten.threshold_backward.grad_input(here, after, 0, grad_input=after)
    for here, after in pairwise(left):
        here -= after


class _ConvNormPoolELU(torch.autograd.Function):
    """Convolve, normalise by the batch's statistics, pool and apply ELU."""

    @staticmethod
    def forward(ctx, x, weight, bias, gamma, beta, eps, padding):
        wide = _widen(weight)
        planes, columns = _conv_to_windows(x, wide, weight.shape[2], padding)
        # Under a negative factor the smallest corner becomes the largest.
        sign = _signs(gamma)
        if sign is not None:
            planes *= sign[:, None]
            gamma = gamma.abs()
        count = planes.numel() // len(gamma)
        mean = planes.mean(3).mean((0, 1))
        norm = torch.linalg.vector_norm
        squares = norm(norm(planes, dim=3), dim=(0, 1)).square_().div_(count)
        var = squares.addcmul_(mean, mean, value=-1).clamp_(min=0)
        inverse = (var + eps).rsqrt_()
        scale = gamma * inverse
        pooled = planes.amax(1)
        offset = torch.addcmul(beta, mean, scale, value=-1)
        y = elu_forward((pooled * scale.unsqueeze(1)).add_(offset.unsqueeze(1)))
        ctx.save_for_backward(
            columns, wide, planes, pooled, y, mean, inverse, scale, sign
        )
        ctx.weight_shape, ctx.padding = weight.shape, padding
        batch_mean = bias + (mean if sign is None else mean * sign)
        ctx.mark_non_differentiable(batch_mean, var)
        ctx.set_materialize_grads(False)
        return _as_images(y, len(x)), batch_mean, var

    @staticmethod
    @once_differentiable
    def backward(ctx, grad, *_):
        if grad is None:
            return (None,) * 7
        columns, wide, planes, pooled, y, mean, inverse, scale, sign = ctx.saved_tensors
        out, _, kernel, _ = ctx.weight_shape
        n, gap = len(grad), kernel - 1
        grad = elu_backward(grad.permute(2, 1, 3, 0).reshape(y.shape), y)
        grad_beta = grad.sum(2).sum(0)
        grad_gamma = (grad * pooled).sum(2).sum(0)
        grad_gamma.addcmul_(mean, grad_beta, value=-1).mul_(inverse)
        # With room before and after for the gradient of the input.
        padded = planes.new_empty((len(columns) + gap, 2 * out, planes.shape[3]))
        rows = padded.narrow(0, gap, len(columns) - gap)
        grad_planes = rows.view(planes.shape)
        torch.mul(grad, scale.unsqueeze(1), out=grad_planes[:, 0])
        _send_to_largest(grad_planes, planes, pooled)
        # What mean and variance contribute is the same linear function everywhere.
        share = scale / -(planes.numel() // out)
        factor = (share * inverse).mul_(grad_gamma)
        offset = (share * grad_beta).addcmul_(mean, factor, value=-1)
        grad_planes.add_(offset.unsqueeze(1)).addcmul_(planes, factor.unsqueeze(1))
        if sign is not None:
            grad_planes *= sign[:, None]
            grad_gamma *= sign
        # Few channels make small matrices, of which two rows at once are quicker.
        n_rows = 1 if out >= 16 else 2
        seen = _overlapping(columns, kernel + n_rows - 1, n_rows).transpose(1, 2)
        grad_wide = torch.bmm(_overlapping(rows, n_rows, n_rows), seen).sum(0)
        grad_weight = _shifted_kernels(grad_wide, ctx.weight_shape, n_rows).sum((0, 1))
        grad_x = None
        if ctx.needs_input_grad[0]:
            # A row of inputs was seen by the row of outputs of its number and by those
            # above, which had it on lower rows of the kernel; beyond them is nothing.
            padded[:gap].zero_()
            padded[len(columns) :].zero_()
            flipped = wide.view(2 * out, kernel, -1).flip(1).permute(2, 1, 0).flatten(1)
            grad_columns = _multiply_each(flipped, _overlapping(padded, kernel))
            grad_x = _add_columns_up(grad_columns, kernel, n)
            if ctx.padding:
                inner = slice(ctx.padding, -ctx.padding)
                grad_x = grad_x[inner, :, inner]
            grad_x = grad_x.permute(3, 1, 0, 2)
        no_change = torch.zeros_like(grad_beta)
        return grad_x, grad_weight, no_change, grad_gamma, grad_beta, None, None


def conv_norm_pool_elu(
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    gamma: Tensor,
    beta: Tensor,
    eps: float,
    padding: int,
) -> tuple[Tensor, Tensor, Tensor]:
    """Apply convolution, batch normalisation, 2 x 2 max pooling and ELU.

    Parameters
    ----------
    x : Tensor of shape (N, C, H, W)
        Images; quickest with the batch innermost in memory, as blocks return them.
    weight : Tensor of shape (out_channels, C, kernel, kernel)
        Kernels of odd size, for stride 1; see ``falls_into_windows``.
    bias : Tensor of shape (out_channels,)
        Of the convolution. The normalisation takes it away again, so that it is part
        of the mean alone and its gradient is 0.
    gamma, beta : Tensor of shape (out_channels,)
        Factor and offset of the normalisation.
    eps : float
        Added to the variance.
    padding : int
        Zeros on each side of the images.

    Returns
    -------
    y : Tensor of shape (N, out_channels, h, w)
        Equal to ``F.elu(F.max_pool2d(F.batch_norm(F.conv2d(...)), 2))`` within 1e-5.
        Among equal corners the first in row-major order receives the gradient, as
        there.
    mean, var : Tensor of shape (out_channels,)
        The batch's statistics, the variance without Bessel's correction.
    """
    return _ConvNormPoolELU.apply(x, weight, bias, gamma, beta, eps, padding)


class FoldedConv(NamedTuple):
    """A convolution and a fixed normalisation, as ``folded_conv_pool_elu`` takes it."""

    wide: Tensor
    offset: Tensor
    kernel: int
    padding: int


def fold(weight: Tensor, scale: Tensor, offset: Tensor, padding: int) -> FoldedConv:
    """Fold what a normalisation amounts to into the convolution before it.

    Parameters
    ----------
    weight, padding
        As for ``conv_norm_pool_elu``.
    scale, offset : Tensor of shape (out_channels,)
        Factor and addend of each channel; factors may be negative.
    """
    # With the factor in the kernel the largest corner stays the largest.
    wide = _widen(weight * scale[:, None, None, None])
    return FoldedConv(wide, offset.unsqueeze(1), weight.shape[2], padding)


def folded_conv_pool_elu(x: Tensor, conv: FoldedConv) -> Tensor:
    """Apply convolution, a fixed normalisation, 2 x 2 max pooling and ELU.

    Parameters
    ----------
    x : Tensor of shape (N, C, H, W)
        As for ``conv_norm_pool_elu``.
    conv : FoldedConv
        From ``fold``.

    Returns
    -------
    Tensor of shape (N, out_channels, h, w)
        No gradient flows through it.
    """
    planes, _ = _conv_to_windows(x, conv.wide, conv.kernel, conv.padding)
    return _as_images(elu_forward(planes.amax(1).add_(conv.offset)), len(x))
