"""The two networks as plain PyTorch modules, and what any network is wrapped in.

Their ``forward`` calls PyTorch's layers one after another. ``fast.py`` has what
training and prediction call instead while the layers are as built.
"""

from .layers import (
    Dropout,
    ImageShape,
    PixelScaling,
    ScaledNetwork,
    layer_table,
    reset_parameters,
)
from .lenet5 import LeNet5
from .minivgg import MiniVGG

__all__ = [
    "Dropout",
    "ImageShape",
    "LeNet5",
    "MiniVGG",
    "PixelScaling",
    "ScaledNetwork",
    "layer_table",
    "reset_parameters",
]
