"""Cross-validation results as tables: for Python, for a terminal, and in Markdown."""

from ..scoring import benchmark_scoring
from .benchmark import benchmark_table
from .markdown import table_to_markdown

__all__ = ["benchmark_scoring", "benchmark_table", "table_to_markdown"]
