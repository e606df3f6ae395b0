"""The two networks as plain PyTorch modules: ``LeNet5`` and ``MiniVGG``."""

from __future__ import annotations

import copy
import math
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from . import conv_pool, kernels
from .image_conv import conv_of_images

if TYPE_CHECKING:
    import pandas as pd

ImageShape = tuple[int, int, int]


class PixelScaling(nn.Module):
    """Scale raw pixels, ``(x - mean) / std`` for each channel, to float32.

    Mean and standard deviation are buffers: they travel with the weights, so a state
    dict is all that a prediction from raw pixels needs. They start as 0 and 1.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, n_channels: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(n_channels))
        self.register_buffer("std", torch.ones(n_channels))

    def forward(self, x: Tensor) -> Tensor:
        """Scale images of shape (N, C, H, W) and any real dtype."""
        x = x.to(self.mean.dtype, copy=True)
        return x.sub_(self.mean.view(-1, 1, 1)).div_(self.std.view(-1, 1, 1))


class Dropout(nn.Module):
    """Dropout that draws from a generator of its own, where it is given one.

    ``torch.nn.Dropout`` draws from the global generator, which all threads share.
    """

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p
        self.generator: torch.Generator | None = None

    def forward(self, x: Tensor) -> Tensor:
        """Zero each element with probability ``p`` while training."""
        mask = self.draw_mask(x.shape, x.device)
        return x if mask is None else x * mask.to(x.dtype)

    def draw_mask(self, shape: torch.Size, device: torch.device) -> Tensor | None:
        """Draw what to multiply values with, float32; None for 1 everywhere."""
        if not self.training or self.p == 0:
            return None
        keep = 1.0 - self.p
        # Uniform numbers are drawn in bulk, which Bernoulli numbers are not.
        mask = torch.rand(shape, generator=self.generator, device=device)
        return mask.lt_(keep).div_(keep)

    def extra_repr(self) -> str:
        """Show the probability where the module is printed."""
        return f"p={self.p}"


class ELU(nn.Module):
    """``kernels.elu`` as a module."""

    def forward(self, x: Tensor) -> Tensor:
        """Apply the exponential linear unit elementwise."""
        return kernels.elu(x)


class Conv2d(nn.Conv2d):
    """Convolution of stride 1 that is quick to train as the first of a network."""

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, H, W) to (N, out_channels, H', W')."""
        if (
            self.training
            and kernels.eager_on_cpu(x)
            and torch.is_grad_enabled()
            and not x.requires_grad
        ):
            bias = cast(Tensor, self.bias)
            return conv_of_images(x, self.weight, bias, int(self.padding[0]))
        return super().forward(x)


class ConvBlock(nn.Module):
    """Convolution 5 x 5, batch normalisation, ELU and 2 x 2 max pooling.

    ELU increases, so it is applied after the pooling: the same function of the same
    parameters, on a quarter of the elements.
    """

    def __init__(self, in_channels: int, out_channels: int, padding: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, 5, padding=padding)
        self.norm = nn.BatchNorm2d(out_channels)
        self.pool = nn.MaxPool2d(2)
        self.activation = ELU()
        self._folded: conv_pool.FoldedConv | None = None

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, H, W) to half the height and width of the convolution."""
        if (
            kernels.in_own_precision(x)
            and conv_pool.falls_into_windows(x, self.conv)
            and (self.training or not torch.is_grad_enabled())
        ):
            return self._train(x) if self.training else self._predict(x)
        return self.activation(self.pool(self.norm(self.conv(x))))

    def _train(self, x: Tensor) -> Tensor:
        conv, norm = self.conv, cast(Any, self.norm)  # buffers are typed as optional
        y, mean, var = conv_pool.conv_norm_pool_elu(
            x,
            conv.weight,
            cast(Tensor, conv.bias),
            norm.weight,
            norm.bias,
            norm.eps,
            int(conv.padding[0]),
        )
        norm.running_mean.lerp_(mean, norm.momentum)
        count = y.numel() // len(mean) * 4
        norm.running_var.lerp_(var.mul_(count / (count - 1)), norm.momentum)
        norm.num_batches_tracked.add_(1)
        return y

    def _predict(self, x: Tensor) -> Tensor:
        return conv_pool.folded_conv_pool_elu(x, self._folded or self._fold())

    def _fold(self) -> conv_pool.FoldedConv:
        conv, norm = self.conv, cast(Any, self.norm)  # buffers are typed as optional
        scale = norm.weight * (norm.running_var + norm.eps).rsqrt_()
        offset = torch.addcmul(norm.bias, conv.bias - norm.running_mean, scale)
        return conv_pool.fold(conv.weight, scale, offset, int(conv.padding[0]))

    @torch.no_grad()
    def keep_folded(self, keep: bool) -> None:
        """Derive from the parameters now what predictions need of them, or forget it.

        Until it is forgotten, or training begins, predictions are those of the
        parameters of now.
        """
        self._folded = self._fold() if keep else None

    def train(self, mode: bool = True) -> ConvBlock:
        """Switch to training, for which nothing is kept of the parameters, or back."""
        self._folded = None
        return super().train(mode)


class DenseHead(nn.Sequential):
    """Dense layers, each but the last followed by ELU and dropout.

    Parameters
    ----------
    n_features : int
        Values of an image that come in.
    hidden_units : sequence of int
        Width of each hidden layer; they are called f5, f6 and so on.
    n_classes : int
        Number of logits.
    dropout : float
        Probability of dropping a unit after each hidden layer.
    """

    def __init__(
        self,
        n_features: int,
        hidden_units: Sequence[int],
        n_classes: int,
        dropout: float,
    ) -> None:
        layers: OrderedDict[str, nn.Module] = OrderedDict()
        for number, units in enumerate(hidden_units, start=5):
            layers[f"f{number}"] = nn.Linear(n_features, units)
            layers[f"activation{number}"] = ELU()
            layers[f"dropout{number}"] = Dropout(dropout)
            n_features = units
        layers["out"] = nn.Linear(n_features, n_classes)
        super().__init__(layers)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, n_features) to (N, n_classes)."""
        if not (kernels.in_own_precision(x) and self._is_as_built()):
            return super().forward(x)
        layers: Any = list(self)
        masks = [
            dropout.draw_mask(torch.Size((len(x), linear.out_features)), x.device)
            for linear, dropout in zip(layers[:-1:3], layers[2::3], strict=True)
        ]
        parameters = [p for linear in layers[::3] for p in (linear.weight, linear.bias)]
        return kernels.dense_elu(x, masks, parameters)

    def _is_as_built(self) -> bool:
        """Whether no layer was replaced, or given hooks that wait to be called."""
        kinds = [type(layer) for layer in self]
        hidden = [nn.Linear, ELU, Dropout] * (len(kinds) // 3)
        return kinds == [*hidden, nn.Linear] and not any(
            layer._forward_hooks
            or layer._forward_pre_hooks
            or layer._backward_hooks
            or layer._backward_pre_hooks
            for layer in self
        )


@contextmanager
def parameters_fixed(module: nn.Module) -> Iterator[None]:
    """Derive from the parameters once, not in every batch, what predictions need.

    Parameters
    ----------
    module : torch.nn.Module
        In evaluation mode. Its parameters must stay as they are inside.
    """
    blocks = [
        block
        for block in module.modules()
        if isinstance(block, ConvBlock) and kernels.eager_on_cpu(block.conv.weight)
    ]
    for block in blocks:
        block.keep_folded(True)
    try:
        yield
    finally:
        for block in blocks:
            block.keep_folded(False)


def _zero_pad_to(x: Tensor, size: int) -> Tensor:
    """Pad images smaller than ``size`` with zeros, evenly on both sides."""
    dh, dw = max(size - x.shape[-2], 0), max(size - x.shape[-1], 0)
    if dh or dw:
        x = F.pad(x, (dw // 2, dw - dw // 2, dh // 2, dh - dh // 2))
    return x


class LeNet5(nn.Module):
    """LeNet-5 with batch normalisation, ELU and max pooling (CNN5).

    Parameters
    ----------
    image_shape : tuple of int, default=(1, 28, 28)
        Channels, height and width of an image. Images smaller than 12 x 12 are
        padded with zeros to that size after scaling.
    n_classes : int, default=10
        Number of logits.
    hidden_units : sequence of int, default=(120, 84)
        Width of each dense hidden layer. The published runs used (128, 64).
    dropout : float, default=0.5
        Probability of dropping a unit after each dense hidden layer.

    Notes
    -----
    With the defaults the network has 61,750 learnable parameters.

    References
    ----------
    LeCun, Bottou, Bengio and Haffner, "Gradient-Based Learning Applied to Document
    Recognition", Proceedings of the IEEE 86 (11), 1998.

    Examples
    --------
    >>> import torch
    >>> from fmnist_sklearn import LeNet5
    >>> LeNet5()(torch.zeros(2, 1, 28, 28)).shape
    torch.Size([2, 10])
    """

    _min_size = 12  # the smallest side that leaves a pixel after the last pooling

    def __init__(
        self,
        image_shape: ImageShape = (1, 28, 28),
        n_classes: int = 10,
        hidden_units: Sequence[int] = (120, 84),
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        self.image_shape = tuple(image_shape)
        channels, height, width = image_shape
        flat = 16 * math.prod(
            (max(side, self._min_size) // 2 - 4) // 2 for side in (height, width)
        )
        self.scaling = PixelScaling(channels)
        self.c1 = ConvBlock(channels, 6, padding=2)
        self.c3 = ConvBlock(6, 16, padding=0)
        self.head = DenseHead(flat, hidden_units, n_classes, dropout)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits of shape (N, n_classes) for raw images (N, C, H, W)."""
        x = _zero_pad_to(self.scaling(x), self._min_size)  # (N, 1, 28, 28)
        x = self.c1(x)  # (N, 6, 14, 14)
        x = self.c3(x)  # (N, 16, 5, 5)
        return self.head(torch.flatten(x, 1))  # (N, 400) -> (N, 10)


class MiniVGG(nn.Module):
    """Four 3 x 3 convolutions in two stages, and one wide dense layer (mini_vgg).

    Parameters
    ----------
    image_shape : tuple of int, default=(1, 28, 28)
        Channels, height and width of an image.
    n_classes : int, default=10
        Number of logits.
    widths : sequence of int or "M", default=(32, 32, "M", 64, 64, "M")
        Output channels of each 3 x 3 convolution; "M" is a 2 x 2 max pooling. The
        first convolution pads by 3 (28 x 28 becomes 32 x 32), the others by 1.
    hidden_units : int, default=512
        Width of the dense hidden layer.
    dropout : float, default=0.0
        Probability of dropping a unit of the hidden layer.

    Notes
    -----
    With the defaults the network has 2,167,786 learnable parameters, 2,097,152 of
    them the weights of the dense hidden layer.

    References
    ----------
    Simonyan and Zisserman, "Very Deep Convolutional Networks for Large-Scale Image
    Recognition", ICLR 2015.

    Examples
    --------
    >>> import torch
    >>> from fmnist_sklearn import MiniVGG
    >>> MiniVGG()(torch.zeros(2, 1, 28, 28)).shape
    torch.Size([2, 10])
    """

    def __init__(
        self,
        image_shape: ImageShape = (1, 28, 28),
        n_classes: int = 10,
        widths: Sequence[int | str] = (32, 32, "M", 64, 64, "M"),
        hidden_units: int = 512,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.image_shape = tuple(image_shape)
        channels, height, width = image_shape
        n_pools = list(widths).count("M")
        self._min_size = max(2**n_pools - 4, 1)
        self.scaling = PixelScaling(channels)
        self.features = nn.Sequential(_vgg_layers(channels, widths))
        last_width = [w for w in widths if isinstance(w, int)][-1]
        flat = last_width * math.prod(
            (max(side, self._min_size) + 4) // 2**n_pools for side in (height, width)
        )
        self.head = nn.Sequential(
            OrderedDict(
                hidden=nn.Linear(flat, hidden_units),
                relu=nn.ReLU(),
                dropout=Dropout(dropout),
                out=nn.Linear(hidden_units, n_classes),
            )
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return logits of shape (N, n_classes) for raw images (N, C, H, W)."""
        x = _zero_pad_to(self.scaling(x), self._min_size)  # (N, 1, 28, 28)
        x = self.features(x)  # (N, 64, 8, 8)
        return self.head(torch.flatten(x, 1))  # (N, 4096) -> (N, 10)


def _vgg_layers(
    in_channels: int, widths: Sequence[int | str]
) -> OrderedDict[str, nn.Module]:
    """Lay out convolutions and poolings; ReLU, increasing, comes after a pooling."""
    if not widths or not isinstance(widths[0], int):
        raise ValueError(
            f"widths must start with the width of a convolution, got {widths!r}"
        )
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    stage, number = 1, 0
    following = [*widths[1:], None]
    for index, width in enumerate(widths):
        if width == "M":
            layers[f"pool{stage}"] = nn.MaxPool2d(2)
            layers[f"relu{stage}_pooled"] = nn.ReLU()
            stage, number = stage + 1, 0
            continue
        if not isinstance(width, int):
            raise ValueError(f'widths must hold integers and "M", got {width!r}')
        number += 1
        kind, padding = (Conv2d, 3) if index == 0 else (nn.Conv2d, 1)
        layers[f"conv{stage}_{number}"] = kind(in_channels, width, 3, padding=padding)
        if following[index] != "M":
            layers[f"relu{stage}_{number}"] = nn.ReLU()
        in_channels = width
    return layers


def reset_parameters(module: nn.Module, generator: torch.Generator) -> None:
    """Draw fresh weights from ``generator``, distributed as PyTorch's defaults.

    Weights and biases of convolutions and dense layers are uniform within one over
    the square root of the fan-in; batch normalisation starts as the identity.

    Parameters
    ----------
    module : torch.nn.Module
        Changed in place; may have been built on the "meta" device and emptied, so
        that no global random state was read.
    generator : torch.Generator
        On the device of the parameters.
    """
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            bound = 1 / math.sqrt(layer.weight[0].numel())
            for parameter in layer.parameters():
                nn.init.uniform_(parameter, -bound, bound, generator=generator)
        elif isinstance(layer, nn.BatchNorm2d):
            layer.reset_parameters()
        elif isinstance(layer, PixelScaling):
            layer.mean.zero_()
            layer.std.fill_(1)


def layer_table(module: nn.Module) -> pd.DataFrame:
    """Tabulate a network's layers with their output shapes and parameter counts.

    Parameters
    ----------
    module : LeNet5, MiniVGG or an estimator's ``module_``
        Any module with an ``image_shape``; it is not changed.

    Returns
    -------
    pandas.DataFrame
        A row for each layer, in the order of computation: ``layer`` (its name in the
        module and its kind), ``output_shape`` (without the batch's dimension) and
        ``n_parameters`` (learnable). Their sum is the network's size.

    Examples
    --------
    >>> from fmnist_sklearn import MiniVGG, layer_table
    >>> table = layer_table(MiniVGG())
    >>> int(table["n_parameters"].sum())
    2167786
    """
    import pandas as pd

    rows: list[dict[str, object]] = []

    def record(name: str):
        def hook(layer: nn.Module, inputs: object, output: Tensor) -> None:
            rows.append(
                {
                    "layer": f"{name} ({type(layer).__name__})",
                    "output_shape": tuple(output.shape[1:]),
                    "n_parameters": sum(
                        p.numel() for p in layer.parameters() if p.requires_grad
                    ),
                }
            )

        return hook

    # A copy without data: shapes flow through it, and no hook is left behind.
    layout: Any = copy.deepcopy(module).to("meta").eval()
    for name, layer in layout.named_modules():
        is_leaf = next(layer.children(), None) is None
        if is_leaf and not isinstance(layer, PixelScaling):
            layer.register_forward_hook(record(name))
    layout(torch.empty(1, *layout.image_shape, device="meta"))
    return pd.DataFrame(rows)
