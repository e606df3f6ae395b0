"""Train models and compare them: benchmarks, searches, their tables and reports.

Names are loaded when they are first used, as those of the whole package are: tables of
scikit-learn's estimators need no torch.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
