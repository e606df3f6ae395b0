"""What runs return, under the names that the API reference prints."""

from .benchmark.results import BenchmarkResult
from .search.results import SearchResult

__all__ = ["BenchmarkResult", "SearchResult"]
