"""Small convolutional networks for small images, as scikit-learn estimators.

Names are loaded when they are first used, each from the module in ``__init__.pyi``, so
that ``fmnist-sklearn --help`` does not wait seconds for torch.
"""

import pkgutil

import lazy_loader

from ._version import __version__ as __version__

__getattr__, __dir__, _names = lazy_loader.attach_stub(__name__, __file__)

# Without the modules, which the stub names too.
_modules = {"__version__", *(module.name for module in pkgutil.iter_modules(__path__))}
__all__ = [name for name in _names if name not in _modules]
