# Where each name comes from: read by type checkers, and by __init__.py, which loads a
# name when it is first used.
from .curves import TrainingCurvesDisplay as TrainingCurvesDisplay
from .filters import FiltersDisplay as FiltersDisplay
from .heatmap import SearchHeatmapDisplay as SearchHeatmapDisplay
from .predictions import PredictionsDisplay as PredictionsDisplay
