"""Figures of training curves, searches, filters and predictions."""

from .curves import TrainingCurvesDisplay
from .filters import FiltersDisplay
from .heatmap import SearchHeatmapDisplay
from .predictions import PredictionsDisplay

__all__ = [
    "FiltersDisplay",
    "PredictionsDisplay",
    "SearchHeatmapDisplay",
    "TrainingCurvesDisplay",
]
