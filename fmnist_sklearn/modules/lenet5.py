"""LeNet-5 (CNN5) as a plain PyTorch module."""

from __future__ import annotations

import math
import operator
from collections import OrderedDict
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from .layers import Dropout, ImageShape, PixelScaling, pad_with_zeros, zero_border


class ConvBlock(nn.Module):
    """Convolution 5 x 5, batch normalisation, 2 x 2 max pooling and ELU.

    ELU increases, so it is applied after the pooling: the same function of the same
    parameters, on a quarter of the elements.
    """

    def __init__(self, in_channels: int, out_channels: int, padding: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, 5, padding=padding)
        self.norm = nn.BatchNorm2d(out_channels)
        self.pool = nn.MaxPool2d(2)
        self.activation = nn.ELU()

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, H, W) to half the height and width of the convolution."""
        x = self.norm(self.conv(x))  # (N, out_channels, 2 h, 2 w)
        return self.activation(self.pool(x))  # (N, out_channels, h, w)


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
        # NumPy's integers, of an array, could not be written to a model file.
        for number, units in enumerate(map(operator.index, hidden_units), start=5):
            layers[f"f{number}"] = nn.Linear(n_features, units)
            layers[f"activation{number}"] = nn.ELU()
            layers[f"dropout{number}"] = Dropout(dropout)
            n_features = units
        layers["out"] = nn.Linear(n_features, n_classes)
        super().__init__(layers)


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
