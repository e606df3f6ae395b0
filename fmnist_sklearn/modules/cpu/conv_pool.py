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

from functools import partial
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from .elu import elu_backward, elu_forward
from .plain import plain_gradients, wants_plain_gradient
from .windows import (
    add_columns_up,
    as_images,
    conv_to_windows,
    multiply_each,
    overlapping,
    send_to_largest,
    shifted_kernels,
    widen,
)


def _signs(factors: Tensor) -> Tensor | None:
    """Signs of the factors, or None where none is negative, as is usual."""
    if min(factors.tolist()) >= 0:
        return None
    return torch.ones_like(factors).masked_fill_(factors < 0, -1)


def _plain_block(
    padding: int,
    eps: float,
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    gamma: Tensor,
    beta: Tensor,
) -> Tensor:
    """Compute ``_ConvNormPoolELU`` by operations that can be differentiated again."""
    x = F.conv2d(x, weight, bias, padding=padding)
    x = F.batch_norm(x, None, None, gamma, beta, training=True, eps=eps)
    x = F.elu(F.max_pool2d(x, 2))  # (N, out, h, w)
    return x.permute(2, 1, 3, 0).flatten(2)  # (h, out, w * N)


class _ConvNormPoolELU(torch.autograd.Function):
    """Convolve, normalise by the batch's statistics, pool and apply ELU."""

    @staticmethod
    def forward(ctx, x, weight, bias, gamma, beta, eps, padding):
        inputs = x, weight, bias, gamma, beta
        wide = widen(weight)
        planes, columns = conv_to_windows(x, wide, weight.shape[2], padding)
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
            *inputs, columns, wide, planes, pooled, y, mean, inverse, scale, sign
        )
        ctx.padding, ctx.eps = padding, eps
        batch_mean = bias + (mean if sign is None else mean * sign)
        ctx.mark_non_differentiable(batch_mean, var)
        ctx.set_materialize_grads(False)
        return y, batch_mean, var

    @staticmethod
    def backward(ctx, grad, *_):
        if grad is None:
            return (None,) * 7
        *inputs, columns, wide, planes, pooled, y, mean, inverse, scale, sign = (
            ctx.saved_tensors
        )
        if wants_plain_gradient(grad):
            function = partial(_plain_block, ctx.padding, ctx.eps)
            needed = ctx.needs_input_grad[:5]
            return *plain_gradients(function, inputs, needed, grad), None, None
        shape = inputs[1].shape
        out, _, kernel, _ = shape
        n, gap = len(inputs[0]), kernel - 1
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
        seen = overlapping(columns, kernel + n_rows - 1, n_rows).transpose(1, 2)
        grad_wide = torch.bmm(overlapping(rows, n_rows, n_rows), seen).sum(0)
        grad_weight = shifted_kernels(grad_wide, shape, n_rows).sum((0, 1))
        grad_x = None
        if ctx.needs_input_grad[0]:
            # A row of inputs was seen by the row of outputs of its number and by those
            # above, which had it on lower rows of the kernel; beyond them is nothing.
            padded[:gap].zero_()
            padded[len(columns) :].zero_()
            flipped = wide.view(2 * out, kernel, -1).flip(1).permute(2, 1, 0).flatten(1)
            grad_columns = multiply_each(flipped, overlapping(padded, kernel))
            grad_x = add_columns_up(grad_columns, kernel, n)
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
    parameters = weight, bias, gamma, beta
    y, mean, var = _ConvNormPoolELU.apply(x, *parameters, eps, padding)
    return as_images(y, len(x)), mean, var


class BlockTensors(NamedTuple):
    """Parameters of a block and the running statistics of its normalisation."""

    weight: Tensor
    bias: Tensor
    gamma: Tensor
    beta: Tensor
    mean: Tensor
    var: Tensor

    def belong_together(self) -> bool:
        """Whether there is a value of each for each output of 5 x 5 kernels."""
        weight, *vectors = self
        n_outputs, _, *kernel = weight.shape
        return kernel == [5, 5] and {*map(Tensor.numel, vectors)} == {n_outputs}


class FoldedConv(NamedTuple):
    """A convolution and a fixed normalisation, as ``folded_conv_pool_elu`` takes it."""

    wide: Tensor
    offset: Tensor
    kernel: int
    padding: int
    source: BlockTensors

    def is_of(self, tensors: BlockTensors) -> bool:
        """Whether these are the values that were folded."""
        return all(map(torch.equal, self.source, tensors))


def fold(tensors: BlockTensors, eps: float, padding: int) -> FoldedConv:
    """Fold a normalisation by running statistics into the convolution before it.

    Parameters
    ----------
    tensors : BlockTensors
        Copied, so that ``FoldedConv.is_of`` can tell whether they have changed.
    eps, padding
        As for ``conv_norm_pool_elu``.
    """
    weight, bias, gamma, beta, mean, var = tensors
    scale = gamma * (var + eps).rsqrt_()
    offset = torch.addcmul(beta, bias - mean, scale)
    # With the factor in the kernel the largest corner stays the largest.
    wide = widen(weight * scale[:, None, None, None])
    source = BlockTensors(*(tensor.clone() for tensor in tensors))
    return FoldedConv(wide, offset.unsqueeze(1), weight.shape[2], padding, source)


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
    planes, _ = conv_to_windows(x, conv.wide, conv.kernel, conv.padding)
    return as_images(elu_forward(planes.amax(1).add_(conv.offset)), len(x))
