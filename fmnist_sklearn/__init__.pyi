# What each public name is and where it comes from: read by type checkers, and by
# __init__.py, which loads a name when it is first used.
from ._version import __version__ as __version__
from .benchmark import run_benchmark as run_benchmark
from .datasets import CLASS_NAMES as CLASS_NAMES
from .datasets import ImageReader as ImageReader
from .datasets import fetch_fashion_mnist as fetch_fashion_mnist
from .datasets import load_fashion_mnist_sample as load_fashion_mnist_sample
from .datasets import load_image_folder as load_image_folder
from .displays import FiltersDisplay as FiltersDisplay
from .displays import LayersDisplay as LayersDisplay
from .displays import PredictionsDisplay as PredictionsDisplay
from .displays import SearchHeatmapDisplay as SearchHeatmapDisplay
from .displays import TrainingCurvesDisplay as TrainingCurvesDisplay
from .estimators import LeNet5Classifier as LeNet5Classifier
from .estimators import MiniVGGClassifier as MiniVGGClassifier
from .export import export_onnx as export_onnx
from .modules import LeNet5 as LeNet5
from .modules import MiniVGG as MiniVGG
from .modules import layer_table as layer_table
from .persistence import inspect_model as inspect_model
from .persistence import load_model as load_model
from .persistence import save_model as save_model
from .recipes import RECIPES as RECIPES
from .search import run_search as run_search
from .storage import FitCache as FitCache
from .tables import benchmark_scoring as benchmark_scoring
from .tables import benchmark_table as benchmark_table
