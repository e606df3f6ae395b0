"""Searches for good parameters: on all cores or a cluster, followed, resumable."""

from .results import SearchResult
from .run import run_search

__all__ = ["SearchResult", "run_search"]
