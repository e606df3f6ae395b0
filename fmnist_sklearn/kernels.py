"""Exact forms of some layers that PyTorch runs fast on a CPU.

LeNet-5's block is convolution, batch normalisation, 2 x 2 max pooling and ELU. Six
things make it cheap, none of which changes what is computed:

- Normalisation with a positive factor and ELU both increase, so pooling comes before
  them and leaves a quarter of the elements.
- The convolution writes the four corners of the pooling windows to four separate
  planes, so that pooling and its gradient are contiguous elementwise operations.
- The convolution is one matrix product with shifted copies of the images, and so are
  its gradients. The batch is innermost in memory, so that a copy is made of long runs.
- The gradient of the normalisation is a multiple of its input plus a constant, except
  at the largest corners.
- A block is one autograd function of few operations, and so are the dense layers: in a
  batch of 64 images, calling an operation costs about as much as computing it.
- Each thread has a part of the batch that lies apart in memory, divided by rows of
  windows. PyTorch divides an operation along the outermost axes, so that a thread finds
  what it wrote before in its own cache; two processors need not share one.

On a GPU, in export and under ``torch.compile`` the operations of PyTorch are used.
"""

from collections.abc import Sequence
from itertools import islice

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
    below = x.clamp(max=0).exp_().sub_(1)
    return torch.maximum(x, below, out=below)


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


# Images in a part: with fewer the runs in memory become short.
_SMALLEST_PART = 32


def in_parts(x: Tensor) -> Tensor:
    """Divide a batch among the threads.

    Parameters
    ----------
    x : Tensor of shape (N, C, H, W)
        Images.

    Returns
    -------
    Tensor of shape (parts, N / parts, C, H, W)
        A view. There are as many parts as threads, or fewer where parts would become
        small or differ in size.
    """
    n = len(x)
    parts = max(min(torch.get_num_threads(), n // _SMALLEST_PART), 1)
    while n % parts:
        parts -= 1
    return x.unflatten(0, (parts, -1))


def has_corner_planes(x: Tensor, conv: torch.nn.Conv2d) -> bool:
    """Whether inputs and outputs of ``conv`` fall into 2 x 2 windows, to the last."""
    padding, kernel = int(conv.padding[0]), conv.kernel_size[0]
    return all(side % 2 == 0 and side + 2 * padding > kernel for side in x.shape[-2:])


def _batch_innermost(x: Tensor, padding: int) -> Tensor:
    """Turn images (P, N, C, H, W) into padded ones, (P, H, C, W, N) in memory."""
    x = x.permute(0, 3, 2, 4, 1)
    if padding:
        x = F.pad(x, (0, 0, padding, padding, 0, 0, padding, padding))
    return x.contiguous()


def _shifted_copies(x: Tensor, kernel: int) -> Tensor:
    """Lay out what each tap of a convolution sees at every pooling window.

    A window has two outputs a side, which together see ``kernel + 1`` inputs a side.

    Parameters
    ----------
    x : Tensor of shape (P, H, C, W, N)
        Contiguous.
    kernel : int
        Height and width of the kernel.

    Returns
    -------
    Tensor of shape (P, h, C, kernel + 1, kernel + 1, w, N)
        Element (p, i, c, u, v, j) is channel c at (2 i + u, 2 j + v).
    """
    parts, height, c, width, n = x.shape
    taps = kernel + 1
    h, w = (height - taps) // 2 + 1, (width - taps) // 2 + 1
    row = c * width * n
    strides = (height * row, 2 * row, width * n, row, n, 2 * n, 1)
    return x.as_strided((parts, h, c, taps, taps, w, n), strides).contiguous()


def _add_copies_up(copies: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Add what the taps say of each input: the transpose of ``_shifted_copies``."""
    parts, h, c, taps, _, w, n = copies.shape
    _, height, _, width, _ = shape
    # Two neighbouring taps see even and odd rows, or columns, apart, so that they can
    # be added at once: first rows, axes (p, i, u % 2, c, (v, j, n)), ...
    line = taps * w * n
    row = c * line
    narrow = copies.new_zeros((parts, height, c, taps, w * n))
    for u in range(0, taps, 2):
        target = narrow.as_strided(
            (parts, h, 2, c, line), (height * row, 2 * row, row, line, 1), u * row
        )
        target += copies.as_strided(
            (parts, h, 2, c, line),
            (h * taps * row, taps * row, line, taps * line, 1),
            u * line,
        )
    # ... then columns, axes ((p, row, c), j, v % 2, n).
    x = copies.new_zeros(shape)
    lines = parts * height * c
    for v in range(0, taps, 2):
        target = x.as_strided((lines, w, 2, n), (width * n, 2 * n, n, 1), v * n)
        target += narrow.as_strided((lines, w, 2, n), (line, n, w * n, 1), v * w * n)
    return x


def _corner_kernels(wide: Tensor, shape: torch.Size) -> Tensor:
    """View the kernels of the four corners in a tensor of their widened forms.

    Parameters
    ----------
    wide : Tensor of 4 * out * C * (kernel + 1) ** 2 elements
        For each corner, from the last to the first, a kernel on the taps of a window:
        shifted by one row in the lower corners, by one column in the right ones.
    shape : (out, C, kernel, kernel)
        Of a kernel.

    Returns
    -------
    Tensor of shape (2, 2, out, C, kernel, kernel)
    """
    out, c, kernel, _ = shape
    taps = kernel + 1
    corner = out * c * taps**2
    strides = (2 * corner - taps, corner - 1, c * taps**2, taps**2, taps, 1)
    return wide.as_strided((2, 2, *shape), strides, taps + 1)


def _widen(weight: Tensor) -> Tensor:
    """Turn a kernel into those of the four corners, all on the taps of a window.

    Returns
    -------
    Tensor of shape (4 * out, C * (kernel + 1) ** 2)
        As ``_corner_kernels`` sees it; 0 elsewhere.
    """
    out, c, kernel, _ = weight.shape
    wide = weight.new_zeros((4 * out, c * (kernel + 1) ** 2))
    _corner_kernels(wide, weight.shape).copy_(weight)
    return wide


def _conv_to_corner_planes(
    x: Tensor, weight: Tensor, padding: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Convolve and sort the outputs by their corner of a 2 x 2 window.

    Parameters
    ----------
    x : Tensor of shape (P, N, C, H, W)
        Images.
    weight : Tensor of shape (out_channels, C, kernel, kernel)
        Kernels.
    padding : int
        Zeros on each side of the images.

    Returns
    -------
    planes : Tensor of shape (P * H' / 2, 4, out_channels, W' / 2 * N)
        From the last corner, in row-major order, to the first.
    copies, wide : Tensor
        The factors of the product, for its gradient.
    """
    copies = _shifted_copies(_batch_innermost(x, padding), weight.shape[2])
    wide = _widen(weight)
    planes = _multiply_each(wide, _by_row(copies))
    return planes.view(len(planes), 4, len(weight), -1), copies, wide


def _by_row(copies: Tensor) -> Tensor:
    """View copies as a matrix for each row of windows: (P * h, C * taps, w * N)."""
    parts, h, c, taps, _, w, n = copies.shape
    return copies.view(parts * h, c * taps**2, w * n)


def _multiply_each(factor: Tensor, x: Tensor) -> Tensor:
    """Multiply (m, k) with each matrix of (rows, k, n)."""
    return torch.bmm(factor.expand(len(x), *factor.shape), x)


def _as_images(y: Tensor, copies: Tensor) -> Tensor:
    """View (P * h, C, w * N) as the images (P, N, C, h, w)."""
    parts, h, *_, w, n = copies.shape
    return y.view(parts, h, -1, w, n).permute(0, 4, 2, 1, 3)


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
        count = 4 * len(planes) * planes.shape[3]
        mean = planes.mean(3).mean((0, 1))
        norm = torch.linalg.vector_norm
        squares = norm(norm(planes, dim=3), dim=(0, 1)).square_().div_(count)
        var = squares.addcmul_(mean, mean, value=-1).clamp_(min=0)
        inverse = (var + eps).rsqrt_()
        scale = gamma * inverse
        pooled = planes.amax(1)
        offset = torch.addcmul(beta, mean, scale, value=-1)
        y = _elu((pooled * scale.unsqueeze(1)).add_(offset.unsqueeze(1)))
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
        (parts, n, c, height, width), weight_shape = ctx.shapes
        count = 4 * len(planes) * planes.shape[3]
        grad = _elu_backward(grad.permute(0, 3, 2, 4, 1).reshape(y.shape), y)
        grad_beta = grad.sum(2).sum(0)
        grad_gamma = (grad * pooled).sum(2).sum(0)
        grad_gamma.addcmul_(mean, grad_beta, value=-1).mul_(inverse)
        # The first of the largest corners, in the last of the planes, gets the window's
        # gradient: at each corner some is left for those after it, after the last 0.
        left = planes.new_empty((len(planes), 5, *y.shape[1:]))
        after = left.unbind(1)
        after[0].zero_()
        torch.mul(grad, scale.unsqueeze(1), out=after[4])
        below = (pooled.unsqueeze(1) - planes.narrow(1, 1, 3)).unbind(1)
        for corner in (3, 2, 1):
            torch.ops.aten.threshold_backward.grad_input(
                after[corner + 1], below[corner - 1], 0, grad_input=after[corner]
            )
        grad_planes = left.narrow(1, 1, 4) - left.narrow(1, 0, 4)
        # What mean and variance contribute is the same linear function everywhere.
        share = scale / -count
        factor = (share * inverse).mul_(grad_gamma)
        offset = (share * grad_beta).addcmul_(mean, factor, value=-1)
        grad_planes.add_(offset.unsqueeze(1)).addcmul_(planes, factor.unsqueeze(1))
        if sign is not None:
            grad_planes *= sign[:, None]
            grad_gamma *= sign
        grad_planes = grad_planes.flatten(1, 2)
        grad_wide = torch.bmm(grad_planes, _by_row(copies).transpose(1, 2)).sum(0)
        grad_weight = _corner_kernels(grad_wide, weight_shape).sum((0, 1))
        grad_x = None
        if ctx.needs_input_grad[0]:
            padding = ctx.padding
            grad_copies = _multiply_each(wide.t(), grad_planes).view(copies.shape)
            grad_x = _add_copies_up(
                grad_copies, (parts, height + 2 * padding, c, width + 2 * padding, n)
            )
            if padding:
                inner = slice(padding, -padding)
                grad_x = grad_x[:, inner, :, inner]
            grad_x = grad_x.permute(0, 4, 2, 1, 3)
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
    x : Tensor of shape (parts, N / parts, C, H, W)
        Images, as ``in_parts`` divides them; quickest with the second axis innermost
        in memory, as blocks return them.
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
    y : Tensor of shape (parts, N / parts, out_channels, h, w)
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
    Tensor of shape (parts, N / parts, out_channels, h, w)
        No gradient flows through it.
    """
    # With the factor in the kernel the largest corner stays the largest.
    scaled = weight * scale[:, None, None, None]
    planes, copies, _ = _conv_to_corner_planes(x, scaled, padding)
    pooled = planes.amax(1).add_(offset.unsqueeze(1))
    return _as_images(_elu(pooled), copies)


def _dense_layers(
    x: Tensor, masks: Sequence[Tensor | None], parameters: Sequence[Tensor]
) -> tuple[Tensor, list[Tensor], list[Tensor]]:
    """Apply dense layers; return logits, what each layer read and values of ELU."""
    *weights, last_weight = parameters[::2]
    *biases, last_bias = parameters[1::2]
    inputs, hidden = [x], []
    for mask, weight, bias in zip(masks, weights, biases, strict=True):
        y = _elu(torch.addmm(bias, inputs[-1], weight.t()))
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
                grad = _elu_backward(grad, hidden[layer - 1])
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
