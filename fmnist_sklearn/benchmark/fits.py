"""The fits of a benchmark: trained by holdout or folds, tested, and summed up."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
from joblib import Parallel, delayed
from sklearn.base import clone
from sklearn.metrics import confusion_matrix
from sklearn.model_selection import StratifiedKFold

from ..displays.images import rank_predictions
from ..models import Model
from ..training import split_rows
from .data import Images

_N_MISTAKES = 12


@dataclass(frozen=True)
class Trial:
    """A model with its parameters, planned: it becomes a row of the table."""

    name: str
    model: Model
    estimator: Any  # not fitted; its parameters are those of the record


# The results of one fit, or of a test, as results.json holds them: plain values.
Record = dict[str, Any]


# Training and testing ---------------------------------------------------------------


def train_trials(
    trials: list[Trial], images: Images, cv: int | str, seed: int, n_jobs: int | None
) -> Iterator[list[Record]]:
    """Fit trial after trial, and yield the fits of each.

    Parameters
    ----------
    trials, images
        What to train, and on which images.
    cv, seed, n_jobs
        As for :func:`run_benchmark`: one fit a trial, or one for each fold.
    """
    # Rows to train on, and rows to validate on; None: the estimator sets some aside.
    splits: list[Any] = [None]
    if cv != "holdout":
        folds = StratifiedKFold(int(cv), shuffle=True, random_state=seed)
        splits = list(folds.split(images.X_train, images.y_train))
    # With one job, joblib runs a fit only when its result is requested. A clone: the
    # fitted one, with its optimizer, is freed once it has been read.
    fits = Parallel(n_jobs=n_jobs, return_as="generator")(
        delayed(fit_once)(clone(trial.estimator), images, split)
        for trial in trials
        for split in splits
    )
    for _ in trials:
        yield list(islice(fits, len(splits)))


def fit_once(estimator: Any, images: Images, split: Any = None) -> Record:
    """Fit, validate and test an estimator.

    Parameters
    ----------
    estimator : LeNet5Classifier or MiniVGGClassifier
        Is fitted.
    images : Images
        What to train and test on.
    split : pair of ndarray of int, default=None
        Rows to train on, and rows to validate on. None: the validation accuracy is
        that of the epoch whose weights were kept.

    Returns
    -------
    record : dict
        The results, as ``results.json`` has them.
    """
    X, y = images.X_train, images.y_train
    if split is None:
        estimator.fit(X, y)
        accuracy = estimator.history_[estimator.best_epoch_ - 1]["valid_acc"]
    else:
        train, valid = split
        estimator.fit(X[train], y[train])
        accuracy = estimator.score(X[valid], y[valid])
    tested = evaluate(estimator, images.X_test, images.y_test)
    return {
        "validation_accuracy": float(accuracy),
        "test_accuracy": tested["accuracy"],
        "training_time_s": estimator.fit_time_,
        "epochs": estimator.n_iter_,
        "best_epoch": estimator.best_epoch_,
        "n_parameters": estimator.n_parameters_,
        "device": str(estimator.device_),
        "precision": estimator.precision_,
        "history": epoch_rows(estimator),
        "judgement": tested,
    }


def evaluate(estimator: Any, X: Any, y: Any) -> Record:
    """Predict the test images, and compare with their labels.

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
    result : dict
        - ``"accuracy"``;
        - ``"labels"``, and ``"confusion"``: numbers of images, a row for each true
          label;
        - ``"mistakes"``: those of the highest loss, the worst first. Each has its
          ``"index"`` among the test images, the labels ``"true"`` and
          ``"predicted"``, the probability of the latter as ``"confidence"``, and
          ``"loss"``, the cross-entropy in nats;
        - ``"image_shape"``: channels, height and width.
    """
    y = np.asarray(y)
    probabilities = estimator.predict_proba(X)  # (n, n_classes)
    classes = estimator.classes_
    predicted = classes[probabilities.argmax(axis=1)]
    labels = np.union1d(classes, y)
    losses, mistakes = rank_predictions(y, probabilities, classes)
    return {
        "accuracy": float(np.mean(predicted == y)),
        "labels": labels.tolist(),
        "confusion": confusion_matrix(y, predicted, labels=labels).tolist(),
        "mistakes": [
            {
                "index": int(i),
                "true": y[[i]].tolist()[0],
                "predicted": predicted[[i]].tolist()[0],
                "confidence": float(probabilities[i].max()),
                "loss": float(losses[i]),
            }
            for i in mistakes[:_N_MISTAKES]
        ],
        "image_shape": tuple(estimator.image_shape_),
    }


# Summary ----------------------------------------------------------------------------


def table_row(trial: Trial, fits: list[Record], images: Images) -> Record:
    """Sum up the fits of a trial, in the columns of BenchmarkResult.table.

    One fit has the standard error of its accuracies, folds have means and standard
    deviations.
    """
    is_one = len(fits) == 1
    of_fits = {name: [fit[name] for fit in fits] for name in fits[0]}
    row: Record = {"model": trial.name}
    n_images = {"validation": _n_valid(trial.estimator, images), "test": images.n_test}
    for part, n in n_images.items():
        accuracies = of_fits[f"{part}_accuracy"]
        p = row[f"{part}_accuracy"] = np.mean(accuracies)
        if is_one:
            row[f"{part}_accuracy_se"] = np.sqrt(p * (1 - p) / n)
        else:
            row[f"{part}_accuracy_std"] = np.std(accuracies)
    row["training_time_s"] = np.mean(of_fits["training_time_s"])
    if not is_one:
        row["training_time_std"] = np.std(of_fits["training_time_s"])
    for name in ("epochs", "best_epoch"):  # integers of one fit
        row[name] = of_fits[name][0] if is_one else np.mean(of_fits[name])
    row["n_parameters"] = of_fits["n_parameters"][0]
    return row | {"lr": trial.estimator.lr, "batch_size": trial.estimator.batch_size}


def _n_valid(estimator: Any, images: Images) -> int:
    """Count the images that a fit keeps for its validation."""
    _, targets = np.unique(images.y_train, return_inverse=True)
    _, valid = split_rows(
        targets, estimator.validation_fraction, estimator.shuffle, seed=0
    )
    return len(valid)


def epoch_rows(estimator: Any) -> list[dict[str, float]]:
    """Return what a fitted estimator recorded of each epoch, for curves."""
    keys = ("epoch", "train_loss", "valid_loss", "valid_acc", "dur")
    return [{key: epoch[key] for key in keys} for epoch in estimator.history_]


def mean_epochs(histories: list[list[dict[str, float]]]) -> list[dict[str, float]]:
    """Average each epoch over several histories, up to the end of the shortest."""
    epochs = zip(*histories, strict=False)
    return [
        {key: float(np.mean([of_fit[key] for of_fit in epoch])) for key in epoch[0]}
        for epoch in epochs
    ]
