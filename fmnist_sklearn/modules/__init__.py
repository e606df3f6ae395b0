"""The two networks as plain PyTorch modules, and what any network is wrapped in.

Their ``forward`` calls PyTorch's layers one after another. ``fast.py`` has what
training and prediction call instead while the layers are as built.
"""

from .layers import Dropout as Dropout
from .layers import ImageShape as ImageShape
from .layers import PixelScaling as PixelScaling
from .layers import ScaledNetwork as ScaledNetwork
from .layers import layer_table as layer_table
from .layers import reset_parameters as reset_parameters
from .lenet5 import LeNet5 as LeNet5
from .minivgg import MiniVGG as MiniVGG
