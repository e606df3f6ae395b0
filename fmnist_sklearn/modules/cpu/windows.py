"""Convolution outputs and inputs in memory, sorted by 2 x 2 pooling windows.

Rows are outermost and the batch is innermost in every tensor; see ``conv_pool``.
"""

from __future__ import annotations

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor


def falls_into_windows(x: Tensor, weight: Tensor, padding: int) -> bool:
    """Whether there are images, and inputs and outputs all fall into 2 x 2 windows."""
    if x.dim() != 4:
        return False
    n, channels, height, width = x.shape
    _, seen_channels, kernel, _ = weight.shape
    return (
        n > 0
        and channels == seen_channels
        and height % 2 == width % 2 == 0
        and min(height, width) + 2 * padding > kernel
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


def overlapping(rows: Tensor, size: int, step: int = 1) -> Tensor:
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


def multiply_each(factor: Tensor, x: Tensor) -> Tensor:
    """Multiply (m, k) with each matrix of (rows, k, n)."""
    return torch.bmm(factor.expand(len(x), *factor.shape), x)


def shifted_kernels(wide: Tensor, shape: tuple[int, ...], n_rows: int = 1) -> Tensor:
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


def widen(weight: Tensor) -> Tensor:
    """Turn a kernel into those of a window's two columns, on the inputs both see.

    Returns
    -------
    Tensor of shape (2 * out, kernel * C * (kernel + 1))
        As ``shifted_kernels`` sees it; 0 elsewhere.
    """
    out, c, kernel, _ = weight.shape
    wide = weight.new_zeros((2 * out, kernel * c * (kernel + 1)))
    shifted_kernels(wide, weight.shape).copy_(weight)
    return wide


def conv_to_windows(
    x: Tensor, wide: Tensor, kernel: int, padding: int
) -> tuple[Tensor, Tensor]:
    """Convolve and sort the outputs by their corner of a 2 x 2 window.

    Parameters
    ----------
    x : Tensor of shape (N, C, H, W)
        Images.
    wide : Tensor of shape (2 * out, kernel * C * (kernel + 1))
        Kernels, from ``widen``.
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
    rows = multiply_each(wide, overlapping(columns, kernel))
    return rows.view(len(rows) // 2, 4, len(wide) // 2, -1), columns


def as_images(y: Tensor, n: int) -> Tensor:
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
    # (7, 2, 0, 0)  beside the gradient, how far each corner before is from the largest
    # (7, 7, 0, 0)  each hands on what it got, where the corner before is not largest
    # (0, 7, 0, 0)  and keeps what it did not hand on.
    left = grads.unbind(1)
    torch.sub(pooled.unsqueeze(1), planes.narrow(1, 0, 3), out=grads.narrow(1, 1, 3))
    for here, after in pairwise(left):
        torch.ops.aten.threshold_backward.grad_input(here, after, 0, grad_input=after)
    for here, after in pairwise(left):
        here -= after
