"""The small VGG (mini_vgg) as a plain PyTorch module."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from .layers import Dropout, ImageShape, PixelScaling, pad_with_zeros, zero_border


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
        min_size = max(2**n_pools - 4, 1)
        self._border = zero_border(image_shape, min_size)
        self.scaling = PixelScaling(channels)
        self.features = nn.Sequential(_vgg_layers(channels, widths))
        last_width = [w for w in widths if isinstance(w, int)][-1]
        flat = last_width * math.prod(
            (max(side, min_size) + 4) // 2**n_pools for side in (height, width)
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
        x = self.features(x)  # (N, 64, 8, 8)
        return self.head(torch.flatten(x, 1))  # (N, 4096) -> (N, 10)


def _vgg_layers(
    in_channels: int, widths: Sequence[int | str]
) -> OrderedDict[str, nn.Module]:
    """Lay out convolutions and poolings; ReLU, increasing, comes after a pooling."""
    is_known = [width == "M" or isinstance(width, int) for width in widths]
    if not all(is_known) or list(widths[:1]) in ([], ["M"]):
        raise ValueError(
            f'widths must hold integers and "M", an integer first, got {widths!r}'
        )
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    stage, number = 1, 0
    for width, following in zip(widths, [*widths[1:], None], strict=True):
        if not isinstance(width, int):  # "M"
            layers[f"pool{stage}"] = nn.MaxPool2d(2)
            layers[f"relu{stage}_pooled"] = nn.ReLU()
            stage, number = stage + 1, 0
            continue
        number += 1
        padding = 1 if layers else 3
        conv = nn.Conv2d(in_channels, width, 3, padding=padding)
        layers[f"conv{stage}_{number}"] = conv
        if following != "M":
            layers[f"relu{stage}_{number}"] = nn.ReLU()
        in_channels = width
    return layers
