"""Fused forwards: what the networks compute, in fewer and faster operations.

``forward`` of the networks calls PyTorch's layers one after another. Training and
prediction call what `fused_forward` returns, which computes some of the layers together
and does not call them. This is correct for layers exactly as this package builds them.
All others, such as a replaced activation or a hooked or pruned layer, are called.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from .layers import Dropout, pad_with_zeros
from .lenet5 import ConvBlock, DenseHead, LeNet5
from .minivgg import MiniVGG

# Private attributes, because PyTorch lists a module's hooks nowhere else. Without them
# the hooks of layers inside a fused forward would not be called.
_NO_HOOKS: dict[str, Any] = {
    "_forward_pre_hooks": {},
    "_forward_hooks": {},
    "_backward_pre_hooks": {},
    "_backward_hooks": {},
}

# The dictionaries of hooks for all modules, which PyTorch lists nowhere else. Without
# them, such hooks would not see the layers while a network is trained; FlopCounterMode
# and ModuleTracker set some. Other modes see the operations that are computed.
_HOOKS_OF_ALL = [v for k, v in vars(nn.modules.module).items() if k.endswith("_hooks")]

# What the fused forwards assume of layers of exactly these classes (a parametrised
# layer has a subclass): the attributes that change what a layer computes.
_STRIDE_1 = {"stride": (1, 1), "dilation": (1, 1), "groups": 1}
_AS_BUILT: dict[type[nn.Module], dict[str, Any]] = {
    nn.Conv2d: _NO_HOOKS | _STRIDE_1 | {"padding_mode": "zeros"},
    nn.BatchNorm2d: _NO_HOOKS | {"momentum": 0.1, "track_running_stats": True},
    # Of even sides, which fused blocks take, its ceil_mode makes no difference.
    nn.MaxPool2d: _NO_HOOKS
    | {"kernel_size": 2, "stride": 2, "padding": 0, "dilation": 1},
    nn.ELU: _NO_HOOKS | {"alpha": 1.0},
    nn.Linear: _NO_HOOKS,
    Dropout: _NO_HOOKS,
}

# Most weights in a kernel: each needs a shifted copy of the images.
_LARGEST_KERNEL_ON_CUDA = 32


def fused_forward(module: nn.Module) -> Callable[[Tensor], Tensor]:
    """Return the fastest function that computes a network in its present state.

    Parameters
    ----------
    module : torch.nn.Module
        Any; LeNet5 and MiniVGG have fused forwards.

    Returns
    -------
    callable
        Maps raw images (N, C, H, W) to logits (N, n_classes), equal to those of
        ``module`` within rounding; or ``module`` itself. It reads the weights when it
        is called. It is valid for the present training mode, gradient mode and
        autocasting, and its gradient cannot be differentiated again.

    Notes
    -----
    Call this for each batch: a callback or the code around ``forward_iter`` may have
    hooked, pruned or replaced a layer since the last one. A call takes less than 1 % of
    a training step of LeNet-5 with 64 images.
    """
    if not calls_forward_only(module):
        return module
    forward = type(module).forward
    if forward is LeNet5.forward:
        return _fused_lenet5(module)
    if forward is MiniVGG.forward and module.training and torch.is_grad_enabled():
        return _fused_minivgg(module)
    return module


def calls_forward_only(layer: nn.Module) -> bool:
    """Whether calling a layer runs the ``forward`` of its class and no hooks."""
    is_own = _NO_HOOKS.items() <= vars(layer).items() and "forward" not in vars(layer)
    return is_own and not any(_HOOKS_OF_ALL)


def _are_as_built(layers: list[Any], kinds: list[type[nn.Module]]) -> bool:
    # As one comparison of dictionaries, because attributes of modules are slow to read.
    return [type(layer) for layer in layers] == kinds and all(
        _AS_BUILT[kind].items() <= vars(layer).items() and "forward" not in vars(layer)
        for layer, kind in zip(layers, kinds, strict=True)
    )


def _are_float32_on_cpu(tensors: Iterable[Any]) -> bool:
    """Whether all are dense float32 tensors on a CPU, not None and of no subclass."""
    return all(
        type(tensor) in (nn.Parameter, Tensor)
        and tensor.dtype is torch.float32
        and tensor.is_cpu
        and tensor.layout is torch.strided
        for tensor in tensors
    )


def _fused_lenet5(module: Any) -> Callable[[Tensor], Tensor]:
    c1, c3 = _fused_block(module.c1), _fused_block(module.c3)
    head = _fused_head(module.head)

    def forward(x: Tensor) -> Tensor:
        x = pad_with_zeros(module.scaling(x), module._border)  # (N, 1, 28, 28)
        x = c3(c1(x))  # (N, 6, 14, 14) -> (N, 16, 5, 5)
        return head(torch.flatten(x, 1))  # (N, 400) -> (N, 10)

    return forward


def _fused_block(block: Any) -> Callable[[Tensor], Tensor]:
    if type(block) is not ConvBlock or not calls_forward_only(block):
        return block
    layers: list[Any] = list(block.children())
    if not _are_as_built(layers, [nn.Conv2d, nn.BatchNorm2d, nn.MaxPool2d, nn.ELU]):
        return block
    conv, norm, pool, activation = layers
    if _repeats_slowly_on_cuda(conv):

        def on_cuda(x: Tensor) -> Tensor:
            y = conv(x) if x.requires_grad else conv_of_images(x, conv)
            return activation(pool(norm(y)))

        return on_cuda
    vectors = conv.bias, norm.weight, norm.bias, norm.running_mean, norm.running_var
    if (
        torch.is_autocast_enabled("cpu")
        or (torch.is_grad_enabled() and not norm.training)
        or conv.padding not in ((0, 0), (2, 2))
        or not _are_float32_on_cpu((conv.weight, *vectors))
        or conv.weight.shape[2:] != (5, 5)
        or {vector.shape for vector in vectors} != {conv.weight.shape[:1]}
    ):
        return block
    compute = train_block if norm.training else predict_block
    return lambda x: compute(x, conv, norm) if fits_windows(x, conv) else block(x)


def _repeats_slowly_on_cuda(conv: Any) -> bool:
    """Whether cuDNN is slow at the gradient of a first convolution's weights.

    With its deterministic algorithms this gradient takes longer than everything else
    that LeNet-5's convolutions do.
    """
    return (
        torch.backends.cudnn.deterministic
        and torch.is_grad_enabled()
        and conv.bias is not None
        and isinstance(conv.padding, tuple)
        and conv.weight.is_cuda
        and conv.weight.dtype is torch.float32
        and conv.weight[0].numel() <= _LARGEST_KERNEL_ON_CUDA
        and not torch.is_autocast_enabled("cuda")
    )


def _fused_head(head: Any) -> Callable[[Tensor], Tensor]:
    if type(head) is not DenseHead or not calls_forward_only(head):
        return head
    layers: list[Any] = list(head)
    kinds = [nn.Linear, nn.ELU, Dropout] * (len(layers) // 3) + [nn.Linear]
    if not _are_as_built(layers, kinds) or torch.is_autocast_enabled("cpu"):
        return head
    linears, dropouts = layers[::3], layers[2::3]
    parameters = [p for linear in linears for p in (linear.weight, linear.bias)]
    if not _are_float32_on_cpu(parameters):
        return head

    def forward(x: Tensor) -> Tensor:
        masks = [
            dropout.draw_mask(torch.Size((len(x), len(linear.weight))), x.device)
            for linear, dropout in zip(linears[:-1], dropouts, strict=True)
        ]
        return dense_elu(x, masks, parameters)

    return forward


def _fused_minivgg(module: Any) -> Callable[[Tensor], Tensor]:
    features = module.features
    if type(features) is not nn.Sequential or not calls_forward_only(features):
        return module
    conv, *others = list[Any](features)
    if not (
        _are_as_built([conv], [nn.Conv2d])
        and isinstance(conv.padding, tuple)
        and _are_float32_on_cpu((conv.weight, conv.bias))
    ):
        return module

    def forward(x: Tensor) -> Tensor:
        x = pad_with_zeros(module.scaling(x), module._border)  # (N, 1, 28, 28)
        reads_x = x.dim() == 4 and len(x) > 0 and x.shape[1] == conv.weight.shape[1]
        fits = reads_x and not x.requires_grad
        x = conv_of_images(x, conv) if fits else conv(x)  # (N, 32, 32, 32)
        for layer in others:
            x = layer(x)
        return module.head(torch.flatten(x, 1))  # (N, 4096) -> (N, 10)

    return forward


# LeNet-5's block: convolution, batch normalisation, 2 x 2 max pooling and ELU
#
# Six things make its fused form fast on a CPU; none of them changes what is computed:
#
# - Normalisation with a positive factor and ELU both increase, so pooling comes before
#   them and leaves a quarter of the elements.
# - The convolution writes the four corners of the pooling windows to four separate
#   planes, so that pooling and its gradient are contiguous elementwise operations.
# - A row of the convolution's outputs is a matrix product with the rows of inputs that
#   it sees, and so is each row of a gradient. Rows overlap in memory, as views, so that
#   only a window's columns are copied. The batch is innermost, so that copies have long
#   runs.
# - The gradient of the normalisation is a multiple of its input plus a constant, except
#   at the largest corners.
# - A block is one autograd function of few operations: in a batch of 64 images, calling
#   an operation costs about as much as computing it.
# - Rows are outermost in every tensor. PyTorch divides an operation among the threads
#   along the outermost axes, so that a thread finds what it wrote before in its own
#   cache; two processors need not share one.


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


# Outputs and inputs of a block's convolution in memory, sorted by 2 x 2 pooling
# windows. Rows are outermost and the batch is innermost in every tensor.


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


# ELU

_LOG2_OF_E = math.log2(math.e)


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
