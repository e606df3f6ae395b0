"""The main job: train models, and tell their accuracy and training time."""

from .data import Images, load_data, load_pictures, with_class_names
from .environment import describe_hardware, describe_versions
from .progress import RunProgress, Work
from .results import BenchmarkResult
from .run import run_benchmark

__all__ = [
    "BenchmarkResult",
    "Images",
    "RunProgress",
    "Work",
    "describe_hardware",
    "describe_versions",
    "load_data",
    "load_pictures",
    "run_benchmark",
    "with_class_names",
]
