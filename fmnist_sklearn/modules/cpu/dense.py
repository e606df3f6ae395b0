"""Dense layers with ELU and dropout between them, as one autograd function."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from .elu import elu_backward, elu_forward
from .plain import plain_gradients, wants_plain_gradient


def _dense_layers(
    x: Tensor, masks: Sequence[Tensor | None], parameters: Sequence[Tensor]
) -> tuple[Tensor, list[Tensor], list[Tensor]]:
    """Apply dense layers; return logits, what each layer read and values of ELU."""
    *weights, last_weight = parameters[::2]
    *biases, last_bias = parameters[1::2]
    inputs, hidden = [x], []
    for mask, weight, bias in zip(masks, weights, biases, strict=True):
        y = elu_forward(torch.addmm(bias, inputs[-1], weight.t()))
        hidden.append(y)
        inputs.append(y if mask is None else y * mask)
    return torch.addmm(last_bias, inputs[-1], last_weight.t()), inputs, hidden


def _plain_dense_layers(
    masks: Sequence[Tensor | None], x: Tensor, *parameters: Tensor
) -> Tensor:
    """Compute ``_DenseELU`` by operations that can be differentiated again."""
    *hidden, last = zip(parameters[::2], parameters[1::2], strict=True)
    for mask, (weight, bias) in zip(masks, hidden, strict=True):
        x = F.elu(F.linear(x, weight, bias))
        x = x if mask is None else x * mask
    return F.linear(x, *last)


class _DenseELU(torch.autograd.Function):
    """Dense layers with ELU and dropout between them."""

    @staticmethod
    def forward(ctx, masks, x, *parameters):
        logits, inputs, hidden = _dense_layers(x, masks, parameters)
        ctx.save_for_backward(*parameters, *inputs, *masks, *hidden)
        return logits

    @staticmethod
    def backward(ctx, grad):
        tensors = ctx.saved_tensors
        n_layers = (len(tensors) + 2) // 5
        parameters = tensors[: 2 * n_layers]
        inputs = tensors[2 * n_layers : 3 * n_layers]
        masks = tensors[3 * n_layers : 4 * n_layers - 1]
        hidden = tensors[4 * n_layers - 1 :]
        if wants_plain_gradient(grad):
            function = partial(_plain_dense_layers, masks)
            arguments = [inputs[0], *parameters]
            needed = ctx.needs_input_grad[1:]
            return None, *plain_gradients(function, arguments, needed, grad)
        weights = parameters[::2]
        grads: list[Tensor] = []
        for layer in reversed(range(n_layers)):
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
    if torch.is_grad_enabled():
        return _DenseELU.apply(masks, x, *parameters)
    return _dense_layers(x, masks, parameters)[0]
