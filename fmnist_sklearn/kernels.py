"""Exact forms of some layers that PyTorch runs fast on a CPU.

LeNet-5's block is convolution, batch normalisation, 2 x 2 max pooling and ELU. Five
things make it cheap, none of which changes what is computed:

- Normalisation with a positive factor and ELU both increase, so pooling comes before
  them and leaves a quarter of the elements.
- The convolution writes the four corners of the pooling windows to four separate
  planes, so that pooling and its gradient are contiguous elementwise operations.
- The convolution is one matrix product with shifted copies of the images, and so are
  its gradients. The batch is innermost in memory, so that a copy is made of long runs.
- The gradient of the normalisation is a multiple of its input plus a constant, except
  at the largest corners.
- A block is one autograd function of few operations: in a batch of 64 images, calling
  an operation costs about as much as computing it.

On a GPU, in export and under ``torch.compile`` the operations of PyTorch are used.
"""

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable


def eager_on_cpu(x: Tensor) -> bool:
    """Whether operations on ``x`` are computed now, on a CPU, and not recorded."""
    return x.device.type == "cpu" and not (
        torch.compiler.is_compiling() or torch.jit.is_tracing()
    )


def in_own_precision(x: Tensor) -> bool:
    """Whether ``x`` is computed now, on a CPU and in its own precision."""
    return eager_on_cpu(x) and not torch.is_autocast_enabled("cpu")


def _elu(x: Tensor) -> Tensor:
    # exp(x) - 1 >= x everywhere, so clamping at 0 first and taking the larger of the
    # two leaves positive values as they are.
    return torch.maximum(x, x.clamp(max=0).exp_().sub_(1))


def _elu_backward(grad: Tensor, y: Tensor) -> Tensor:
    """Multiply by the slope of ELU: exp(x) = y + 1 for negative x, else 1."""
    return torch.ops.aten.elu_backward(grad, 1.0, 1.0, 1.0, True, y)


class _ELU(torch.autograd.Function):
    """``x`` where it is positive, ``exp(x) - 1`` elsewhere."""

    @staticmethod
    def forward(ctx, x: Tensor) -> Tensor:
        y = _elu(x)
        ctx.save_for_backward(y)
        return y

    @staticmethod
    def backward(ctx, grad):
        return _elu_backward(grad, *ctx.saved_tensors)


def elu(x: Tensor) -> Tensor:
    """Apply the exponential linear unit with ``alpha=1``, elementwise.

    Parameters
    ----------
    x : Tensor
        Any shape, floating point.

    Returns
    -------
    Tensor
        ``F.elu(x)``, equal within one unit of the last place of 1.0 (``exp(x) - 1``
        is computed as written).

    References
    ----------
    Clevert, Unterthiner and Hochreiter, "Fast and Accurate Deep Network Learning by
    Exponential Linear Units (ELUs)", ICLR 2016.
    """
    return _ELU.apply(x) if in_own_precision(x) else F.elu(x)


def has_corner_planes(x: Tensor, conv: torch.nn.Conv2d) -> bool:
    """Whether inputs and outputs of ``conv`` fall into 2 x 2 windows, to the last."""
    padding, kernel = int(conv.padding[0]), conv.kernel_size[0]
    return all(side % 2 == 0 and side + 2 * padding > kernel for side in x.shape[2:])


def _batch_innermost(x: Tensor, padding: int) -> Tensor:
    """Turn images (N, C, H, W) into padded ones, (C, H, W, N) in memory."""
    x = x.permute(1, 2, 3, 0)
    if padding:
        x = F.pad(x, (0, 0, *(padding,) * 4))
    return x.contiguous()


def _shifted_copies(x: Tensor, kernel: int) -> Tensor:
    """Lay out what each tap of a convolution sees at every pooling window.

    A window has two outputs a side, which together see ``kernel + 1`` inputs a side.

    Returns
    -------
    Tensor of shape (C, kernel + 1, kernel + 1, h, w, N)
        Element (c, u, v, i, j) is channel c at (2 i + u, 2 j + v).
    """
    c, height, width, n = x.shape
    taps = kernel + 1
    h, w = (height - taps) // 2 + 1, (width - taps) // 2 + 1
    row, channel = width * n, height * width * n
    strides = (channel, row, n, 2 * row, 2 * n, 1)
    return x.as_strided((c, taps, taps, h, w, n), strides).contiguous()


def _add_copies_up(copies: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Add what the taps say of each input: the transpose of ``_shifted_copies``."""
    c, height, width, n = shape
    taps, h, w = copies.shape[2:5]
    # Two neighbouring taps see even and odd rows, or columns, apart, so that they can
    # be added at once: first rows, axes (c, v, i, u % 2, j and n), ...
    row, wide_row, tap = w * n, width * n, h * w * n
    narrow = copies.new_zeros((c, taps, height, row))
    for u in range(0, taps, 2):
        target = narrow.as_strided(
            (c, taps, h, 2, row),
            (taps * height * row, height * row, 2 * row, row, 1),
            u * row,
        )
        target += copies.as_strided(
            (c, taps, h, 2, row),
            (taps**2 * tap, tap, row, taps * tap, 1),
            u * taps * tap,
        )
    # ... then columns, axes (c, row, j, v % 2, n).
    x = copies.new_zeros(shape)
    for v in range(0, taps, 2):
        target = x.as_strided(
            (c, height, w, 2, n), (height * wide_row, wide_row, 2 * n, n, 1), v * n
        )
        target += narrow.as_strided(
            (c, height, w, 2, n),
            (taps * height * row, row, n, height * row, 1),
            v * height * row,
        )
    return x


def _widen(weight: Tensor) -> Tensor:
    """Turn a kernel into those of the four corners, all on the taps of a window.

    Returns
    -------
    Tensor of shape (4 * out, C * (kernel + 1) ** 2)
        From the last corner to the first, so that a corner's kernel is a shift with
        positive strides of one with a margin of zeros.
    """
    out, c, kernel, _ = weight.shape
    side, taps = kernel + 2, kernel + 1
    margin = F.pad(weight, (1, 1, 1, 1))
    strides = (side, 1, c * side**2, side**2, side, 1)
    wide = margin.as_strided((2, 2, out, c, taps, taps), strides)
    return wide.reshape(4 * out, -1)


def _narrow(wide: Tensor, shape: torch.Size) -> Tensor:
    """Add up the gradients of the corners' kernels: the transpose of ``_widen``."""
    out, c, kernel, _ = shape
    corners = wide.view(2, 2, out, c, kernel + 1, kernel + 1)
    rows = corners[0, ..., 1:, :] + corners[1, ..., :-1, :]
    return rows[0, ..., 1:] + rows[1, ..., :-1]


def _conv_to_corner_planes(
    x: Tensor, weight: Tensor, padding: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Convolve and sort the outputs by their corner of a 2 x 2 window.

    Returns
    -------
    planes : Tensor of shape (4, out_channels, H' / 2 * W' / 2 * N)
        From the last corner, in row-major order, to the first.
    copies, wide : Tensor
        The factors of the product, for its gradient.
    """
    copies = _shifted_copies(_batch_innermost(x, padding), weight.shape[2])
    wide = _widen(weight)
    planes = wide @ copies.view(wide.shape[1], -1)
    return planes.view(4, len(weight), -1), copies, wide


def _as_images(y: Tensor, copies: Tensor) -> Tensor:
    """View (C, h * w * N) as the images (N, C, h, w)."""
    return y.view(len(y), *copies.shape[3:]).permute(3, 0, 1, 2)


def _scale_elu(pooled: Tensor, scale: Tensor, offset: Tensor) -> Tensor:
    return _elu((pooled * scale[:, None]).add_(offset[:, None]))


def _signs(factors: Tensor) -> Tensor | None:
    """Signs of the factors, or None where none is negative, as is usual."""
    return torch.where(factors < 0, -1.0, 1.0) if min(factors.tolist()) < 0 else None


class _ConvNormPoolELU(torch.autograd.Function):
    """Convolve, normalise by the batch's statistics, pool and apply ELU."""

    @staticmethod
    def forward(ctx, x, weight, bias, gamma, beta, eps, padding):
        planes, copies, wide = _conv_to_corner_planes(x, weight, padding)
        # Under a negative factor the smallest corner becomes the largest.
        sign = _signs(gamma)
        if sign is not None:
            planes *= sign[:, None]
            gamma = gamma.abs()
        count = 4 * planes.shape[2]
        mean = planes.mean((0, 2))
        norm = torch.linalg.vector_norm
        squares = norm(norm(planes, dim=2), dim=0).square_().div_(count)
        var = squares.addcmul_(mean, mean, value=-1).clamp_(min=0)
        inverse = (var + eps).rsqrt_()
        scale = gamma * inverse
        pooled = planes.amax(0)
        y = _scale_elu(pooled, scale, torch.addcmul(beta, mean, scale, value=-1))
        ctx.save_for_backward(
            copies, wide, planes, pooled, y, mean, inverse, scale, sign
        )
        ctx.shapes, ctx.padding = (x.shape, weight.shape), padding
        batch_mean = bias + (mean if sign is None else mean * sign)
        ctx.mark_non_differentiable(batch_mean, var)
        ctx.set_materialize_grads(False)
        return _as_images(y, copies), batch_mean, var

    @staticmethod
    @once_differentiable
    def backward(ctx, grad, *_):
        if grad is None:
            return (None,) * 7
        copies, wide, planes, pooled, y, mean, inverse, scale, sign = ctx.saved_tensors
        (n, c, height, width), weight_shape = ctx.shapes
        count = 4 * planes.shape[2]
        grad = _elu_backward(grad.permute(1, 2, 3, 0).reshape(y.shape), y)
        grad_beta = grad.sum(1)
        grad_gamma = (grad * pooled).sum(1)
        grad_gamma.addcmul_(mean, grad_beta, value=-1).mul_(inverse)
        # What mean and variance contribute is the same linear function everywhere...
        share = scale / -count
        factor = (share * inverse).mul_(grad_gamma)
        offset = (share * grad_beta).addcmul_(mean, factor, value=-1)
        grad_planes = (planes * factor[:, None]).add_(offset[:, None])
        # ... and the first of the largest corners, in the last of the planes, also gets
        # the window's gradient: at each corner some is left for those after it.
        left = torch.empty_like(planes)
        torch.mul(grad, scale[:, None], out=left[3])
        below = pooled - planes[1:]
        for corner in (3, 2, 1):
            torch.ops.aten.threshold_backward.grad_input(
                left[corner], below[corner - 1], 0, grad_input=left[corner - 1]
            )
        grad_planes[0] += left[0]
        grad_planes[1:] += left[1:] - left[:3]
        if sign is not None:
            grad_planes *= sign[:, None]
            grad_gamma *= sign
        grad_planes = grad_planes.view(len(wide), -1)
        grad_wide = grad_planes @ copies.view(wide.shape[1], -1).T
        grad_weight = _narrow(grad_wide, weight_shape)
        grad_x = None
        if ctx.needs_input_grad[0]:
            padding = ctx.padding
            grad_copies = (wide.T @ grad_planes).view(copies.shape)
            padded = (c, height + 2 * padding, width + 2 * padding, n)
            grad_x = _add_copies_up(grad_copies, padded)
            if padding:
                grad_x = grad_x[:, padding:-padding, padding:-padding]
            grad_x = grad_x.permute(3, 0, 1, 2)
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
        Kernels of odd size, for stride 1; see ``has_corner_planes``.
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


def conv_scale_pool_elu(
    x: Tensor, weight: Tensor, scale: Tensor, offset: Tensor, padding: int
) -> Tensor:
    """Apply convolution, a fixed normalisation, 2 x 2 max pooling and ELU.

    Parameters
    ----------
    x, weight, padding
        As for ``conv_norm_pool_elu``.
    scale, offset : Tensor of shape (out_channels,)
        What the normalisation amounts to; scales may be negative.

    Returns
    -------
    Tensor of shape (N, out_channels, h, w)
        No gradient flows through it.
    """
    planes, copies, _ = _conv_to_corner_planes(x, weight, padding)
    sign = _signs(scale)
    if sign is not None:
        planes *= sign[:, None]
        scale = scale.abs()
    return _as_images(_scale_elu(planes.amax(0), scale, offset), copies)
