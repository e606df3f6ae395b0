"""``TrainingCurvesDisplay``, under the name that it had before there were others."""

from .displays import TrainingCurvesDisplay

__all__ = ["TrainingCurvesDisplay"]
