"""Small convolutional networks for small images, as scikit-learn estimators."""

from ._version import __version__ as __version__
from .benchmark import run_benchmark
from .datasets import CLASS_NAMES, fetch_fashion_mnist, load_fashion_mnist_sample
from .displays import (
    FiltersDisplay,
    LayersDisplay,
    PredictionsDisplay,
    SearchHeatmapDisplay,
    TrainingCurvesDisplay,
)
from .estimators import LeNet5Classifier, MiniVGGClassifier
from .export import export_onnx
from .modules import LeNet5, MiniVGG, layer_table
from .persistence import inspect_model, load_model, save_model
from .recipes import RECIPES
from .search import run_search
from .storage import FitCache
from .tables import benchmark_scoring, benchmark_table

__all__ = [
    "CLASS_NAMES",
    "RECIPES",
    "FiltersDisplay",
    "FitCache",
    "LayersDisplay",
    "LeNet5",
    "LeNet5Classifier",
    "MiniVGG",
    "MiniVGGClassifier",
    "PredictionsDisplay",
    "SearchHeatmapDisplay",
    "TrainingCurvesDisplay",
    "benchmark_scoring",
    "benchmark_table",
    "export_onnx",
    "fetch_fashion_mnist",
    "inspect_model",
    "layer_table",
    "load_fashion_mnist_sample",
    "load_model",
    "run_benchmark",
    "run_search",
    "save_model",
]
