"""Small convolutional networks for small images, as scikit-learn estimators.

Names are loaded when they are first used, each from the module in ``__init__.pyi``, so
that ``fmnist-sklearn --help`` does not wait seconds for torch.
"""

import lazy_loader

from ._version import __version__ as __version__

__getattr__, __dir__, _ = lazy_loader.attach_stub(__name__, __file__)

__all__ = [
    "CLASS_NAMES",
    "RECIPES",
    "FiltersDisplay",
    "FitCache",
    "ImageReader",
    "LeNet5",
    "LeNet5Classifier",
    "MiniVGG",
    "MiniVGGClassifier",
    "PredictionsDisplay",
    "SearchHeatmapDisplay",
    "TrainingCurvesDisplay",
    "benchmark_scoring",
    "benchmark_table",
    "compare_models",
    "export_onnx",
    "fetch_fashion_mnist",
    "inspect_model",
    "layer_table",
    "load_fashion_mnist_sample",
    "load_image_folder",
    "load_model",
    "run_benchmark",
    "run_search",
    "save_model",
]
