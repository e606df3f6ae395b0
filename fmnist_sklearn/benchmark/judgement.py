"""What a fitted model makes of the test images: right, confused, and its mistakes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.metrics import confusion_matrix

_N_MISTAKES = 12


@dataclass(frozen=True)
class Mistake:
    """An image whose label a model got wrong."""

    index: int  # among the test images
    true: Any
    predicted: Any
    confidence: float  # probability of the label predicted
    loss: float  # cross-entropy, in nats


@dataclass(frozen=True)
class Judgement:
    """How a model did on the test images."""

    accuracy: float
    labels: list[Any]
    confusion: list[list[int]]  # images; a row for each true label
    mistakes: list[Mistake]  # those of the highest loss, the worst first
    image_shape: tuple[int, int, int]


def judge(estimator: Any, X: Any, y: Any) -> Judgement:
    """Predict the test images, and tell how that went.

    Parameters
    ----------
    estimator : LeNet5Classifier or MiniVGGClassifier
        Fitted.
    X : array-like
        Test images.
    y : array-like of shape (n,)
        Their labels.

    Returns
    -------
    judgement : Judgement
        Plain values, which pickle and JSON take.
    """
    y = np.asarray(y)
    probabilities = estimator.predict_proba(X)
    classes = estimator.classes_
    chosen = probabilities.argmax(axis=1)
    predicted = classes[chosen]
    labels = np.union1d(classes, y)
    # A label that the training images have not is expected with probability 0.
    columns = np.searchsorted(classes, y).clip(max=len(classes) - 1)
    rows = np.arange(len(y))
    expected = np.where(classes[columns] == y, probabilities[rows, columns], 0)
    losses = -np.log(np.maximum(expected, np.finfo(np.float32).tiny))
    wrong = np.flatnonzero(predicted != y)
    worst = wrong[np.argsort(-losses[wrong], kind="stable")][:_N_MISTAKES]
    return Judgement(
        accuracy=float(np.mean(predicted == y)),
        labels=labels.tolist(),
        confusion=confusion_matrix(y, predicted, labels=labels).tolist(),
        mistakes=[
            Mistake(
                index=int(i),
                true=y[[i]].tolist()[0],
                predicted=predicted[[i]].tolist()[0],
                confidence=float(probabilities[i, chosen[i]]),
                loss=float(losses[i]),
            )
            for i in worst
        ],
        image_shape=tuple(estimator.image_shape_),
    )
