# Where each name comes from: read by type checkers, and by __init__.py, which loads a
# name when it is first used.
from .comparison import ComparisonDisplay as ComparisonDisplay
from .curves import TrainingCurvesDisplay as TrainingCurvesDisplay
from .heatmap import SearchHeatmapDisplay as SearchHeatmapDisplay
from .images import PredictionsDisplay as PredictionsDisplay
