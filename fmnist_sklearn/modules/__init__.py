"""The two networks as plain PyTorch modules, and what they are built of.

The layers are PyTorch's own. Where a CPU has a faster exact form of some of them
together, it is in the folder ``cpu``, and used while they are as built.
"""

from .layer_table import layer_table
from .layers import Dropout, ImageShape, reset_parameters
from .lenet5 import LeNet5, convolutions_folded
from .minivgg import MiniVGG

__all__ = [
    "Dropout",
    "ImageShape",
    "LeNet5",
    "MiniVGG",
    "convolutions_folded",
    "layer_table",
    "reset_parameters",
]
