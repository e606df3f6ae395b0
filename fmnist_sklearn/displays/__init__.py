"""Pictures of fits, searches, networks and predictions, in scikit-learn's habit."""

from .curves import TrainingCurvesDisplay
from .heatmap import SearchHeatmapDisplay
from .network import FiltersDisplay, LayersDisplay
from .predictions import PredictionsDisplay

__all__ = [
    "FiltersDisplay",
    "LayersDisplay",
    "PredictionsDisplay",
    "SearchHeatmapDisplay",
    "TrainingCurvesDisplay",
]
