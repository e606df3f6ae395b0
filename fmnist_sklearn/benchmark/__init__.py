"""The main job: train models, and tell their accuracy and training time."""

from .results import BenchmarkResult
from .run import run_benchmark

__all__ = ["BenchmarkResult", "run_benchmark"]
