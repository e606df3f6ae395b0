"""LeNet-5 (CNN5) as a plain PyTorch module."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, cast

import torch
from torch import Tensor, nn

from .cpu import conv_pool
from .cpu.dense import dense_elu
from .cpu.plain import (
    AsBuilt,
    has_hooks,
    in_own_precision,
    is_ordinary,
    nothing_intervenes,
)
from .cpu.windows import falls_into_windows
from .layers import Dropout, ImageShape, PixelScaling, pad_with_zeros, zero_border
from .repeatable import conv_of_images, repeats_slowly

_CONV = AsBuilt(
    nn.Conv2d,
    kernel_size=(5, 5),
    stride=(1, 1),
    dilation=(1, 1),
    groups=1,
    padding_mode="zeros",
)
_NORM = AsBuilt(
    nn.BatchNorm2d, eps=1e-5, momentum=0.1, affine=True, track_running_stats=True
)
_POOL = AsBuilt(
    nn.MaxPool2d,
    kernel_size=2,
    stride=2,
    padding=0,
    dilation=1,
    ceil_mode=False,
    return_indices=False,
)
_ELU = AsBuilt(nn.ELU, alpha=1.0)
_LINEAR, _DROPOUT = AsBuilt(nn.Linear), AsBuilt(Dropout)


class ConvBlock(nn.Module):
    """Convolution 5 x 5, batch normalisation, ELU and 2 x 2 max pooling.

    ELU increases, so it is applied after the pooling: the same function of the same
    parameters, on a quarter of the elements. On a CPU the layers are computed together
    and not called, where they are as built here and nothing asks for their calls.
    """

    def __init__(self, in_channels: int, out_channels: int, padding: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, 5, padding=padding)
        self.norm = nn.BatchNorm2d(out_channels)
        self.pool = nn.MaxPool2d(2)
        self.activation = nn.ELU()
        self._padding = padding
        self._folded: conv_pool.FoldedConv | None = None

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, H, W) to half the height and width of the convolution."""
        tensors = self._tensors_as_built() if in_own_precision(x) else None
        training = self.norm.training
        if (
            tensors is not None
            and (training or not torch.is_grad_enabled())
            and falls_into_windows(x, tensors.weight, self._padding)
        ):
            return self._train(x, tensors) if training else self._predict(x, tensors)
        if nothing_intervenes() and self._conv_fits() and repeats_slowly(x, self.conv):
            y = conv_of_images(x, self.conv)
        else:
            y = self.conv(x)
        return self.activation(self.pool(self.norm(y)))

    def _conv_fits(self) -> bool:
        conv: Any = self._modules.get("conv")
        return _CONV.fits(conv) and conv.padding == (self._padding, self._padding)

    def _tensors_as_built(self) -> conv_pool.BlockTensors | None:
        """Return what the layers compute with; None where they are to be called."""
        # Read from these dictionaries because attributes of modules are slow to read.
        layer: Callable[[str], Any] = self._modules.get
        conv, norm = layer("conv"), layer("norm")
        # A hook of the block may change its output in place, which the gradient of the
        # quick form needs as it was.
        if (
            has_hooks(self)
            or not self._conv_fits()
            or not _NORM.fits(norm)
            or not _POOL.fits(layer("pool"))
            or not _ELU.fits(layer("activation"))
        ):
            return None
        tensors = conv_pool.BlockTensors(
            conv._parameters.get("weight"),
            conv._parameters.get("bias"),
            norm._parameters.get("weight"),
            norm._parameters.get("bias"),
            norm._buffers.get("running_mean"),
            norm._buffers.get("running_var"),
        )
        ordinary = all(map(is_ordinary, tensors))
        return tensors if ordinary and tensors.belong_together() else None

    def _train(self, x: Tensor, tensors: conv_pool.BlockTensors) -> Tensor:
        norm = cast(Any, self.norm)
        y, mean, var = conv_pool.conv_norm_pool_elu(
            x,
            tensors.weight,
            tensors.bias,
            tensors.gamma,
            tensors.beta,
            norm.eps,
            self._padding,
        )
        tensors.mean.lerp_(mean, norm.momentum)
        count = y.numel() // len(mean) * 4
        tensors.var.lerp_(var.mul_(count / (count - 1)), norm.momentum)
        if norm.num_batches_tracked is not None:
            norm.num_batches_tracked.add_(1)
        return y

    def _predict(self, x: Tensor, tensors: conv_pool.BlockTensors) -> Tensor:
        folded = self._folded
        if folded is None or not folded.is_of(tensors):
            folded = self._fold(tensors)
        return conv_pool.folded_conv_pool_elu(x, folded)

    def _fold(self, tensors: conv_pool.BlockTensors) -> conv_pool.FoldedConv:
        return conv_pool.fold(tensors, self.norm.eps, self._padding)

    @torch.no_grad()
    def keep_folded(self, keep: bool) -> None:
        """Fold the normalisation into the convolution for predictions, or forget it.

        Predictions use what is kept where it is of the parameters that they find.
        """
        tensors = self._tensors_as_built() if keep else None
        self._folded = None if tensors is None else self._fold(tensors)


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
            layers[f"activation{number}"] = nn.ELU()
            layers[f"dropout{number}"] = Dropout(dropout)
            n_features = units
        layers["out"] = nn.Linear(n_features, n_classes)
        super().__init__(layers)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, n_features) to (N, n_classes)."""
        parameters = self._parameters_as_built() if in_own_precision(x) else None
        if parameters is None or x.dim() != 2:
            return super().forward(x)
        dropouts: Any = list(self)[2::3]
        masks = [
            dropout.draw_mask(torch.Size((len(x), len(weight))), x.device)
            for weight, dropout in zip(parameters[:-2:2], dropouts, strict=True)
        ]
        return dense_elu(x, masks, parameters)

    def _parameters_as_built(self) -> list[Tensor] | None:
        """Return the layers' parameters; None where they are to be called."""
        layers: Any = list(self)
        linears, activations, dropouts = layers[::3], layers[1::3], layers[2::3]
        if not (
            len(linears) == len(activations) + 1 == len(dropouts) + 1
            and all(map(_LINEAR.fits, linears))
            and all(map(_ELU.fits, activations))
            and all(map(_DROPOUT.fits, dropouts))
        ):
            return None
        parameters = [
            linear._parameters.get(name)
            for linear in linears
            for name in ("weight", "bias")
        ]
        return parameters if all(map(is_ordinary, parameters)) else None


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
        self._border = zero_border(image_shape, self._min_size)
        self.scaling = PixelScaling(channels)
        self.c1 = ConvBlock(channels, 6, padding=2)
        self.c3 = ConvBlock(6, 16, padding=0)
        self.head = DenseHead(flat, hidden_units, n_classes, dropout)

    def forward(self, x: Tensor) -> Tensor:
        """Compute the logits of raw images.

        Parameters
        ----------
        x : Tensor of shape (N, C, H, W)
            Images, with pixels as they were fitted.

        Returns
        -------
        Tensor of shape (N, n_classes)
            Logits, one for each class.
        """
        x = pad_with_zeros(self.scaling(x), self._border)  # (N, 1, 28, 28)
        x = self.c1(x)  # (N, 6, 14, 14)
        x = self.c3(x)  # (N, 16, 5, 5)
        return self.head(torch.flatten(x, 1))  # (N, 400) -> (N, 10)


@contextmanager
def convolutions_folded(module: nn.Module) -> Iterator[None]:
    """Fold normalisations into the convolutions once for all predictions inside.

    Blocks that are not as built are left alone. Where parameters change inside,
    predictions are those of the new ones, but no quicker than without folding.

    Parameters
    ----------
    module : torch.nn.Module
        In evaluation mode.
    """
    blocks = [block for block in module.modules() if isinstance(block, ConvBlock)]
    for block in blocks:
        block.keep_folded(True)
    try:
        yield
    finally:
        for block in blocks:
            block.keep_folded(False)
