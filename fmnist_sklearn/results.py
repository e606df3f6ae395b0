"""``BenchmarkResult``, under the name that the API reference prints."""

from .benchmark.results import BenchmarkResult

__all__ = ["BenchmarkResult"]
