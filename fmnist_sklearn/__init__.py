"""Small convolutional networks for small images, as scikit-learn estimators.

Names are loaded when they are first used, each from the module in ``__init__.pyi``, so
that ``fmnist-sklearn --help`` does not wait seconds for torch.
"""

import os
import pkgutil
import sys

import lazy_loader

from ._version import __version__ as __version__

# Standard streams are None in services and in programs without a console. joblib cannot
# start processes then, and where the caller closed the descriptors 0, 1 and 2, the next
# files that are opened have these numbers, and receive what C code prints.
for _name, _mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
    if getattr(sys, _name) is None:
        _null = open(os.devnull, _mode, errors="replace")  # noqa: SIM115 - kept open
        os.set_inheritable(_null.fileno(), True)  # also for worker processes
        setattr(sys, _name, _null)

__getattr__, __dir__, _names = lazy_loader.attach_stub(__name__, __file__)

# Without the modules, which the stub names too.
_modules = {"__version__", *(module.name for module in pkgutil.iter_modules(__path__))}
__all__ = [name for name in _names if name not in _modules]
