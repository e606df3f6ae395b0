"""Data: Fashion-MNIST, and its bundled sample.

Names are loaded when they are first used: the sample needs no code for downloads.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
