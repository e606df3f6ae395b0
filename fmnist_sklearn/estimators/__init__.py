"""The classifiers, which keep scikit-learn's contract and are skorch nets."""

from .base import ImageClassifier
from .classifiers import LeNet5Classifier, MiniVGGClassifier

__all__ = ["ImageClassifier", "LeNet5Classifier", "MiniVGGClassifier"]
