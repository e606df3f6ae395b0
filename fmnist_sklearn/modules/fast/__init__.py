"""Fused forwards: what the networks compute, in fewer and faster operations.

``forward`` of the networks calls PyTorch's layers one after another. Training and
prediction call what `fused_forward` returns, which computes some of the layers together
and does not call them. This is correct for layers exactly as this package builds them.
All others, such as a replaced activation or a hooked or pruned layer, are called.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

# Private, because PyTorch has no public question for it. Without it, hooks for all
# modules would not see the layers while a network is trained; FlopCounterMode and
# ModuleTracker set such hooks. Other modes see the operations that are computed.
from torch.nn.modules.module import _has_any_global_hook

from ..layers import Dropout, pad_with_zeros
from ..lenet5 import ConvBlock, DenseHead, LeNet5
from ..minivgg import MiniVGG
from .conv_block import fits_windows, predict_block, train_block
from .layers import conv_of_images, dense_elu

# Private attributes, because PyTorch lists a module's hooks nowhere else. Without them
# the hooks of layers inside a fused forward would not be called.
_NO_HOOKS: dict[str, Any] = {
    "_forward_pre_hooks": {},
    "_forward_hooks": {},
    "_backward_pre_hooks": {},
    "_backward_hooks": {},
}

# What the fused forwards assume of layers of exactly these classes (a parametrised
# layer has a subclass): the attributes that change what a layer computes.
_AS_BUILT: dict[type[nn.Module], dict[str, Any]] = {
    nn.Conv2d: {
        **_NO_HOOKS,
        "stride": (1, 1),
        "dilation": (1, 1),
        "groups": 1,
        "padding_mode": "zeros",
    },
    nn.BatchNorm2d: {**_NO_HOOKS, "momentum": 0.1, "track_running_stats": True},
    nn.MaxPool2d: {
        **_NO_HOOKS,
        "kernel_size": 2,
        "stride": 2,
        "padding": 0,
        "dilation": 1,
        "ceil_mode": False,
        "return_indices": False,
    },
    nn.ELU: {**_NO_HOOKS, "alpha": 1.0},
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
    return is_own and not _has_any_global_hook()


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
