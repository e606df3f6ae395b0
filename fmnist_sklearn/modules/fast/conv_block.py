"""LeNet-5's block: convolution, batch normalisation, 2 x 2 max pooling and ELU.

The fused forward of a block on a CPU. Six things make it fast; none of them changes
what is computed:

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
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from .layers import elu_backward, elu_forward


def train_block(x: Tensor, conv: nn.Conv2d, norm: Any) -> Tensor:
    """Compute a block in training, and update the running statistics of ``norm``.

    Parameters
    ----------
    x : Tensor of shape (N, C, H, W)
        Images; fastest with the batch innermost in memory, as blocks return them.
    conv : nn.Conv2d
        With square kernels of odd size and stride 1. The normalisation removes its
        bias again, so that the bias is part of the mean alone and its gradient is 0.
    norm : nn.BatchNorm2d
        With factors, offsets and running statistics.

    Returns
    -------
    Tensor of shape (N, out_channels, h, w)
        Equal to ``F.elu(F.max_pool2d(norm(conv(x)), 2))`` within 1e-5. Among equal
        corners the first in row-major order receives the gradient, as there.
    """
    parameters = conv.weight, conv.bias, norm.weight, norm.bias
    y, mean, var = _ConvNormPoolELU.apply(x, *parameters, norm.eps, conv.padding[0])
    norm.running_mean.lerp_(mean, norm.momentum)
    count = y.numel() // len(mean) * 4  # values that a channel's statistics are of
    norm.running_var.lerp_(var.mul_(count / (count - 1)), norm.momentum)
    if norm.num_batches_tracked is not None:
        norm.num_batches_tracked.add_(1)
    return _as_images(y, len(x))


def predict_block(x: Tensor, conv: Any, norm: Any) -> Tensor:
    """Compute a block by the running statistics of ``norm``, without a gradient.

    The normalisation is folded into the convolution, again for each batch: this takes
    about as long as a check whether earlier folded weights are still those of now.

    Parameters
    ----------
    x, conv, norm
        As for `train_block`.

    Returns
    -------
    Tensor of shape (N, out_channels, h, w)
        As from `train_block`.
    """
    scale = norm.weight * (norm.running_var + norm.eps).rsqrt_()
    offset = torch.addcmul(norm.bias, conv.bias - norm.running_mean, scale)
    # With the factor in the kernel the largest corner stays the largest.
    wide = _widen(conv.weight * scale[:, None, None, None])
    planes, _ = _conv_to_windows(x, wide, conv.weight.shape[2], conv.padding[0])
    y = elu_forward(planes.amax(1).add_(offset.unsqueeze(1)))
    return _as_images(y, len(x))


class _ConvNormPoolELU(torch.autograd.Function):
    """Convolve, normalise by the batch's statistics, pool and apply ELU."""

    @staticmethod
    def forward(ctx, x, weight, bias, gamma, beta, eps, padding):
        wide = _widen(weight)
        planes, columns = _conv_to_windows(x, wide, weight.shape[2], padding)
        sign = None
        if min(gamma.tolist()) < 0:  # a negative factor makes the smallest the largest
            sign = torch.ones_like(gamma).masked_fill_(gamma < 0, -1)
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
        ctx.n, ctx.weight_shape, ctx.padding = len(x), weight.shape, padding
        batch_mean = bias + (mean if sign is None else mean * sign)
        ctx.mark_non_differentiable(batch_mean, var)
        ctx.set_materialize_grads(False)
        return y, batch_mean, var

    @staticmethod
    @once_differentiable
    def backward(ctx, grad, *_):
        if grad is None:
            return (None,) * 7
        columns, wide, planes, pooled, y, mean, inverse, scale, sign = ctx.saved_tensors
        shape, n = ctx.weight_shape, ctx.n
        out, _, kernel, _ = shape
        gap = kernel - 1
        grad = elu_backward(grad, y)
        grad_beta = grad.sum(2).sum(0)
        grad_gamma = (grad * pooled).sum(2).sum(0)
        grad_gamma.addcmul_(mean, grad_beta, value=-1).mul_(inverse)
        # With room before and after for the gradient of the input.
        padded = planes.new_empty((len(columns) + gap, 2 * out, planes.shape[3]))
        rows = padded.narrow(0, gap, len(columns) - gap)
        grad_planes = rows.view(planes.shape)
        torch.mul(grad, scale.unsqueeze(1), out=grad_planes[:, 0])
        send_to_largest(grad_planes, planes, pooled)
        # Mean and variance contribute the same linear function of the value everywhere.
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
        grad_weight = _shifted_kernels(grad_wide, shape, n_rows).sum((0, 1))
        grad_x = None
        if ctx.needs_input_grad[0]:
            # A row of inputs is read by the row of outputs of its number and by those
            # above, on lower rows of the kernel. Rows beyond the outputs count as 0.
            padded[:gap].zero_()
            padded[len(columns) :].zero_()
            flipped = wide.view(2 * out, kernel, -1).flip(1).permute(2, 1, 0).flatten(1)
            grad_columns = _multiply_each(flipped, _overlapping(padded, kernel))
            grad_x = add_columns_up(grad_columns, kernel, n)
            if ctx.padding:
                inner = slice(ctx.padding, -ctx.padding)
                grad_x = grad_x[inner, :, inner]
            grad_x = grad_x.permute(3, 1, 0, 2)
        no_change = torch.zeros_like(grad_beta)
        return grad_x, grad_weight, no_change, grad_gamma, grad_beta, None, None


def fits_windows(x: Tensor, conv: nn.Conv2d) -> bool:
    """Whether these are images of which inputs and outputs all fill 2 x 2 windows."""
    if x.dim() != 4:
        return False
    n, channels, height, width = x.shape
    _, seen_channels, kernel, _ = conv.weight.shape
    padding = int(conv.padding[0])
    return (
        n > 0
        and channels == seen_channels
        and height % 2 == width % 2 == 0
        and min(height, width) + 2 * padding > kernel
    )


# Convolution outputs and inputs in memory, sorted by 2 x 2 pooling windows. Rows are
# outermost and the batch is innermost in every tensor.


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


def add_columns_up(columns: Tensor, kernel: int, n: int) -> Tensor:
    """Add up the copies of each column: the transpose of ``_shifted_columns``.

    With a kernel of 3, windows at columns 0 and 2 hold copies of columns 0 to 3 and 2
    to 5. From their values (a, b, c, d) and (e, f, g, h) come the sums of the columns,
    (a, b, c + e, d + f, g, h).
    """
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
    x = x.permute(2, 1, 3, 0)  # (H, C, W, N)
    if padding:
        x = F.pad(x, (0, 0, padding, padding, 0, 0, padding, padding))
    columns = _shifted_columns(x.contiguous(), kernel)
    rows = _multiply_each(wide, _overlapping(columns, kernel))
    return rows.view(len(rows) // 2, 4, len(wide) // 2, -1), columns


def _as_images(y: Tensor, n: int) -> Tensor:
    """View (h, C, w * n) as images (n, C, h, w)."""
    return y.unflatten(2, (-1, n)).permute(3, 1, 0, 2)


def send_to_largest(grads: Tensor, planes: Tensor, pooled: Tensor) -> None:
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
    # For a window with gradient 7 whose corners are (1, 3, 3, 2):
    # (7, 2, 0, 0)  after the gradient, how far each corner before is from the largest
    # (7, 7, 0, 0)  each passes its gradient on if the corner before is not the largest
    # (0, 7, 0, 0)  and subtracts what it passed on.
    left = grads.unbind(1)
    torch.sub(pooled.unsqueeze(1), planes.narrow(1, 0, 3), out=grads.narrow(1, 1, 3))
    for here, after in pairwise(left):
        torch.ops.aten.threshold_backward.grad_input(here, after, 0, grad_input=after)
    for here, after in pairwise(left):
        here -= after
