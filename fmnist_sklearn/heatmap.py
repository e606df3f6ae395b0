"""``SearchHeatmapDisplay``, under the name that it had before there were others."""

from .displays import SearchHeatmapDisplay

__all__ = ["SearchHeatmapDisplay"]
