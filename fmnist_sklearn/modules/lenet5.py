"""LeNet-5 (CNN5) as a plain PyTorch module."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, cast

import torch
from torch import Tensor, nn

from .cpu import conv_pool
from .cpu.dense import dense_elu
from .cpu.elu import eager_on_cpu, in_own_precision
from .layers import ELU, Dropout, ImageShape, PixelScaling, zero_pad_to


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
            in_own_precision(x)
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
        if not (in_own_precision(x) and self._is_as_built()):
            return super().forward(x)
        layers: Any = list(self)
        masks = [
            dropout.draw_mask(torch.Size((len(x), linear.out_features)), x.device)
            for linear, dropout in zip(layers[:-1:3], layers[2::3], strict=True)
        ]
        parameters = [p for linear in layers[::3] for p in (linear.weight, linear.bias)]
        return dense_elu(x, masks, parameters)

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
        x = zero_pad_to(self.scaling(x), self._min_size)  # (N, 1, 28, 28)
        x = self.c1(x)  # (N, 6, 14, 14)
        x = self.c3(x)  # (N, 16, 5, 5)
        return self.head(torch.flatten(x, 1))  # (N, 400) -> (N, 10)


@contextmanager
def convolutions_folded(module: nn.Module) -> Iterator[None]:
    """Derive from the parameters once, not in every batch, what predictions need.

    Parameters
    ----------
    module : torch.nn.Module
        In evaluation mode. Its parameters must stay as they are inside.
    """
    blocks = [
        block
        for block in module.modules()
        if isinstance(block, ConvBlock) and eager_on_cpu(block.conv.weight)
    ]
    for block in blocks:
        block.keep_folded(True)
    try:
        yield
    finally:
        for block in blocks:
            block.keep_folded(False)
