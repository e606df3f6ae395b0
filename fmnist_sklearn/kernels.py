"""Exact forms of a convolution block and of ELU that PyTorch runs fast on a CPU.

A block is convolution, batch normalisation, 2 x 2 max pooling and ELU. Four things
make it cheap, none of which changes what is computed:

- Normalisation with a positive factor and ELU both increase, so pooling comes before
  them and leaves a quarter of the elements.
- The convolution writes the four corners of the pooling windows to four separate
  planes, so that pooling and its gradient are contiguous elementwise operations.
- The convolution is one matrix product with shifted copies of the images, and so are
  its gradients. The batch is innermost in memory, so that a copy is made of long runs.
- The gradient of the normalisation is a multiple of its input plus a constant, except
  at the largest corners.

On a GPU, in export and under ``torch.compile`` the operations of PyTorch are used.
"""

import functools

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable


def eager_on_cpu(x: Tensor) -> bool:
    """Whether ``x`` is computed now, on a CPU and in its own precision."""
    return x.device.type == "cpu" and not (
        torch.compiler.is_compiling()
        or torch.jit.is_tracing()
        or torch.is_autocast_enabled("cpu")
    )


def _elu(x: Tensor) -> Tensor:
    # exp(x) - 1 >= x everywhere, so clamping at 0 first and taking the larger of the
    # two leaves positive values as they are.
    return torch.maximum(x, x.clamp(max=0).exp_().sub_(1))


def _elu_backward(grad: Tensor, y: Tensor) -> Tensor:
    """Multiply by the slope of ELU: exp(x) = y + 1 for negative x, else 1."""
    return torch.addcmul(grad, grad, y.clamp(max=0))


class _ELU(torch.autograd.Function):
    """``x`` where it is positive, ``exp(x) - 1`` elsewhere."""

    @staticmethod
    def forward(x: Tensor) -> Tensor:
        return _elu(x)

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(output)

    @staticmethod
    def backward(ctx, grad):
        (y,) = ctx.saved_tensors
        return _elu_backward(grad, y)


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
    return _ELU.apply(x) if eager_on_cpu(x) else F.elu(x)


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


@functools.lru_cache(maxsize=8)
def _corner_index(out: int, channels: int, kernel: int) -> tuple[Tensor, Tensor]:
    """Where the kernels of the four corners lie among the taps of a window.

    Returns
    -------
    spread : Tensor of shape (4 * out, channels * (kernel + 1) ** 2)
        For each tap of each corner, its position in the flat kernel, or behind its
        end where the corner does not see the tap.
    gather : Tensor of shape (4, out * channels * kernel ** 2)
        For each corner, where in ``spread`` the elements of the kernel went.
    """
    size, taps = out * channels * kernel**2, kernel + 1
    flat = torch.arange(size, device="cpu").view(out, channels, kernel, kernel)
    spread = flat.new_full((2, 2, out, channels, taps, taps), size)
    places = torch.arange(spread.numel(), device="cpu").view_as(spread)
    gather = []
    for i in (0, 1):
        for j in (0, 1):
            corner = (i, j, ..., slice(i, i + kernel), slice(j, j + kernel))
            spread[corner] = flat
            gather.append(places[corner].flatten())
    return spread.view(4 * out, -1), torch.stack(gather)


def _widen(weight: Tensor) -> Tensor:
    """Turn a kernel into those of the four corners, all on the taps of a window."""
    spread = _corner_index(*weight.shape[:3])[0]
    return torch.cat((weight.flatten(), weight.new_zeros(1)))[spread]


class _CornerConv(torch.autograd.Function):
    """Convolution without bias, the four corners of each window in four planes."""

    @staticmethod
    def forward(x: Tensor, weight: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        copies = _shifted_copies(x, weight.shape[2])
        wide = _widen(weight)
        planes = wide @ copies.view(wide.shape[1], -1)
        return planes.view(4, len(weight), -1), copies, wide

    @staticmethod
    def setup_context(ctx, inputs, output):
        _, copies, wide = output
        ctx.save_for_backward(copies, wide)
        ctx.mark_non_differentiable(copies, wide)
        ctx.set_materialize_grads(False)
        ctx.shapes = [tensor.shape for tensor in inputs]

    @staticmethod
    @once_differentiable
    def backward(ctx, grad, *_):
        if grad is None:
            return None, None
        copies, wide = ctx.saved_tensors
        input_shape, weight_shape = ctx.shapes
        grad = grad.reshape(len(wide), -1)
        grad_wide = grad @ copies.view(wide.shape[1], -1).T
        gather = _corner_index(*weight_shape[:3])[1]
        grad_weight = grad_wide.view(-1)[gather].sum(0).view(weight_shape)
        if not ctx.needs_input_grad[0]:
            return None, grad_weight
        grad_copies = (wide.T @ grad).view(copies.shape)
        return _add_copies_up(grad_copies, input_shape), grad_weight


def _add_copies_up(copies: Tensor, shape: torch.Size) -> Tensor:
    """Add what the taps say of each input: the transpose of ``_shifted_copies``."""
    c, height, width, n = shape
    taps, h, w = copies.shape[2:5]
    x = copies.new_zeros(shape)
    row, plane = width * n, height * width * n
    tap = h * w * n
    # The four taps of a shift see even and odd rows and columns apart, so that all of
    # them can be added at once: axes (c, i, u % 2, j, v % 2, n).
    axes = (c, h, 2, w, 2, n)
    from_strides = (taps**2 * tap, w * n, taps * tap, n, tap, 1)
    to_strides = (plane, 2 * row, row, 2 * n, n, 1)
    for u in range(0, taps, 2):
        for v in range(0, taps, 2):
            target = x.as_strided(axes, to_strides, u * row + v * n)
            target += copies.as_strided(axes, from_strides, (u * taps + v) * tap)
    return x


def has_corner_planes(x: Tensor, conv: torch.nn.Conv2d) -> bool:
    """Whether inputs and outputs of ``conv`` fall into 2 x 2 windows, to the last."""
    padding, kernel = int(conv.padding[0]), conv.kernel_size[0]
    return all(side % 2 == 0 and side + 2 * padding > kernel for side in x.shape[2:])


def conv_to_corner_planes(x: Tensor, conv: torch.nn.Conv2d) -> Tensor:
    """Convolve without bias and sort the outputs by their corner of a 2 x 2 window.

    Parameters
    ----------
    x : Tensor of shape (N, C, H, W)
        Images; quickest with the batch innermost in memory, as blocks return them.
    conv : torch.nn.Conv2d
        Square kernel of odd size, stride 1.

    Returns
    -------
    Tensor of shape (4, out_channels, H' / 2 * W' / 2 * N)
        Planes for the corners in row-major order.
    """
    padding = int(conv.padding[0])
    x = x.permute(1, 2, 3, 0)  # (C, H, W, N)
    x = F.pad(x, (0, 0, padding, padding, padding, padding)).contiguous()
    return _CornerConv.apply(x, conv.weight)[0]


def _max_of_corners(planes: Tensor) -> Tensor:
    a, b, c, d = planes.unbind()
    return torch.maximum(torch.maximum(a, b), torch.maximum(c, d))


def _signs(gamma: Tensor) -> Tensor | None:
    """Signs of the factors, or None where none is negative, as is usual."""
    negative = gamma < 0
    return torch.where(negative, -1.0, 1.0) if negative.any() else None


class _NormPoolELU(torch.autograd.Function):
    """Normalise by the batch's statistics, pool and apply ELU."""

    @staticmethod
    def forward(
        planes: Tensor, gamma: Tensor, beta: Tensor, eps: float
    ) -> tuple[Tensor | None, ...]:
        # Under a negative factor the smallest corner becomes the largest.
        sign = _signs(gamma)
        if sign is not None:
            planes = planes * sign[:, None]
        mean = planes.mean(2).mean(0)
        count = 4 * planes.shape[2]
        squares = torch.linalg.vector_norm(planes, dim=2).square_().sum(0)
        var = (squares / count - mean * mean).clamp_(min=0)
        inverse = (var + eps).rsqrt_()
        scale = gamma.abs() * inverse
        pooled = _max_of_corners(planes)
        y = _elu((pooled * scale[:, None]).add_((beta - mean * scale)[:, None]))
        if sign is not None:
            mean = mean * sign
        return y, mean, var, pooled, inverse, scale, sign

    @staticmethod
    def setup_context(ctx, inputs, output):
        y, mean, var, *others = output
        ctx.save_for_backward(inputs[0], y, mean, *others)
        ctx.mark_non_differentiable(mean, var, *(t for t in others if t is not None))
        ctx.set_materialize_grads(False)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad, *_):
        if grad is None:
            return None, None, None, None
        planes, y, mean, pooled, inverse, scale, sign = ctx.saved_tensors
        if sign is not None:
            planes, mean = planes * sign[:, None], mean * sign
        count = 4 * planes.shape[2]
        grad = _elu_backward(grad, y)
        grad_beta = grad.sum(1)
        grad_gamma = ((grad * pooled).sum(1) - mean * grad_beta).mul_(inverse)
        # What mean and variance contribute is the same linear function everywhere...
        factor = -scale * inverse * grad_gamma / count
        offset = -scale * grad_beta / count - mean * factor
        grad_planes = (planes * factor[:, None]).add_(offset[:, None])
        # ... and the first of the largest corners also gets the window's gradient.
        left = grad.mul_(scale[:, None])
        *corners, _ = planes.unbind()
        *grad_corners, grad_last = grad_planes.unbind()
        for corner, grad_corner in zip(corners, grad_corners, strict=True):
            below = (corner - pooled).sign_()  # -1, or 0 for the largest
            share = torch.addcmul(left, left, below)
            grad_corner += share
            left -= share
        grad_last += left
        if sign is not None:
            grad_planes *= sign[:, None]
            grad_gamma *= sign
        return grad_planes, grad_gamma, grad_beta, None


def norm_pool_elu(
    planes: Tensor, gamma: Tensor, beta: Tensor, eps: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Apply batch normalisation, 2 x 2 max pooling and ELU to corner planes.

    Parameters
    ----------
    planes : Tensor of shape (4, C, M)
        From ``conv_to_corner_planes``.
    gamma, beta : Tensor of shape (C,)
        Factor and offset of the normalisation.
    eps : float
        Added to the variance.

    Returns
    -------
    y : Tensor of shape (C, M)
        Equal to ``F.elu(F.max_pool2d(F.batch_norm(...), 2))`` within 1e-5. Among equal
        corners the first in row-major order receives the gradient, as there.
    mean, var : Tensor of shape (C,)
        The batch's statistics, the variance without Bessel's correction.
    """
    return _NormPoolELU.apply(planes, gamma, beta, eps)[:3]


def scale_pool_elu(planes: Tensor, scale: Tensor, offset: Tensor) -> Tensor:
    """Apply a fixed normalisation, 2 x 2 max pooling and ELU to corner planes.

    Parameters
    ----------
    planes : Tensor of shape (4, C, M)
        From ``conv_to_corner_planes``.
    scale, offset : Tensor of shape (C,)
        What the normalisation amounts to; scales may be negative.

    Returns
    -------
    Tensor of shape (C, M)
        No gradient flows through it.
    """
    sign = _signs(scale)
    if sign is not None:
        planes = planes * sign[:, None]
    pooled = _max_of_corners(planes)
    return _elu(pooled.mul_(scale.abs()[:, None]).add_(offset[:, None]))
