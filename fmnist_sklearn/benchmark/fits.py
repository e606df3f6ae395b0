"""The fits of a benchmark: trained by holdout or folds, tested, and summed up."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from joblib import Parallel, delayed
from sklearn.base import clone
from sklearn.metrics import confusion_matrix
from sklearn.model_selection import StratifiedKFold, cross_validate

from ..models import Model
from ..training import split_rows
from .data import Images

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


@dataclass(frozen=True)
class Trial:
    """A model with its parameters, planned: what becomes a row of the table."""

    name: str
    model: Model
    lr: float
    batch_size: int
    estimator: Any  # not fitted; its parameters are those of the record


@dataclass(frozen=True)
class Fit:
    """What one fit tells."""

    validation_accuracy: float
    test_accuracy: float
    training_time_s: float
    epochs: int
    best_epoch: int
    n_parameters: int
    device: str
    precision: str
    history: list[dict[str, float]]
    judgement: Judgement | None = None


# Fits -------------------------------------------------------------------------------


def fit_holdout(estimator: Any, images: Images) -> Fit:
    """Fit once; the estimator's own validation part judges the weights it kept."""
    estimator.fit(images.X_train, images.y_train)
    kept = estimator.history_[estimator.best_epoch_ - 1]
    return _read(estimator, images, kept["valid_acc"])


def fit_folds(
    estimator: Any, images: Images, folds: StratifiedKFold, n_jobs: int | None
) -> list[Fit]:
    """Fit once a fold; the images left out judge each model."""
    result = cross_validate(
        estimator,
        images.X_train,
        images.y_train,
        cv=folds,
        n_jobs=n_jobs,
        scoring="accuracy",
        return_estimator=True,
        error_score="raise",
    )
    return [
        _read(fitted, images, accuracy)
        for fitted, accuracy in zip(
            result["estimator"], result["test_score"], strict=True
        )
    ]


def _read(estimator: Any, images: Images, validation_accuracy: float) -> Fit:
    judgement = judge(estimator, images.X_test, images.y_test)
    return Fit(
        validation_accuracy=float(validation_accuracy),
        test_accuracy=judgement.accuracy,
        training_time_s=estimator.fit_time_,
        epochs=estimator.n_iter_,
        best_epoch=estimator.best_epoch_,
        n_parameters=estimator.n_parameters_,
        device=str(estimator.device_),
        precision=estimator.precision_,
        history=epoch_rows(estimator),
        judgement=judgement,
    )


def epoch_rows(estimator: Any) -> list[dict[str, float]]:
    """Return what a fitted estimator recorded of each epoch, for curves."""
    keys = ("epoch", "train_loss", "valid_loss", "valid_acc", "dur")
    return [{key: epoch[key] for key in keys} for epoch in estimator.history_]


# Holdout or folds -------------------------------------------------------------------


class Holdout:
    """One fit a trial, judged by the validation part that it sets aside."""

    n_fits = 1
    spread = "se"
    in_words = "holdout"
    note = "± is the standard error that the number of images gives an accuracy."

    def train(
        self, estimators: Iterable[Any], images: Images, n_jobs: int | None
    ) -> Iterator[list[Fit]]:
        """Fit the estimators; yield what the one fit of each tells."""
        # With one job, joblib fits an estimator only when its turn is asked for. A
        # copy: what was fitted goes, its optimizer and all, when it has been read.
        parallel = Parallel(n_jobs=n_jobs, return_as="generator")
        fits = parallel(delayed(fit_holdout)(clone(est), images) for est in estimators)
        return ([fit] for fit in fits)

    def summarize(self, fits: list[Fit], n_images: Mapping[str, int]) -> dict[str, Any]:
        """Tell a trial's measures; `n_images` are those of each part that judges."""
        (fit,) = fits
        cells = {}
        for part, n in n_images.items():
            p = getattr(fit, f"{part}_accuracy")
            cells[f"{part}_accuracy"] = p
            cells[f"{part}_accuracy_se"] = np.sqrt(p * (1 - p) / n)
        for name in ("training_time_s", "epochs", "best_epoch"):
            cells[name] = getattr(fit, name)
        return cells


@dataclass(frozen=True)
class Folds:
    """Cross-validation with stratified folds: a fit each, judged by what it leaves."""

    n_fits: int
    seed: int
    spread = "std"

    @property
    def in_words(self) -> str:
        """Name it in a line or two words."""
        return f"{self.n_fits} folds"

    @property
    def note(self) -> str:
        """Say what figures with a ± are."""
        return (
            f"Means ± standard deviations over {self.n_fits} folds; validation "
            "accuracy is that on the fold left out."
        )

    def train(
        self, estimators: Iterable[Any], images: Images, n_jobs: int | None
    ) -> Iterator[list[Fit]]:
        """Fit the estimators on all folds but one; yield what the fits of each tell."""
        folds = StratifiedKFold(self.n_fits, shuffle=True, random_state=self.seed)
        return (fit_folds(est, images, folds, n_jobs) for est in estimators)

    def summarize(self, fits: list[Fit], n_images: Mapping[str, int]) -> dict[str, Any]:
        """Tell the means of a trial's measures, with their standard deviations."""

        def values(name: str) -> list[float]:
            return [getattr(fit, name) for fit in fits]

        cells: dict[str, Any] = {}
        for part in n_images:
            accuracies = values(f"{part}_accuracy")
            cells[f"{part}_accuracy"] = np.mean(accuracies)
            cells[f"{part}_accuracy_std"] = np.std(accuracies)
        times = values("training_time_s")
        cells["training_time_s"] = np.mean(times)
        cells["training_time_std"] = np.std(times)
        for name in ("epochs", "best_epoch"):
            cells[name] = np.mean(values(name))
        return cells


def choose_validation(cv: int | str, seed: int) -> Holdout | Folds:
    """Choose how trials are judged, by the parameter `cv` of ``run_benchmark``."""
    return Holdout() if cv == "holdout" else Folds(int(cv), seed)


# Summary ----------------------------------------------------------------------------


def table_row(
    trial: Trial, fits: list[Fit], images: Images, validation: Holdout | Folds
) -> dict[str, Any]:
    """Sum the fits up; BenchmarkResult tells what the columns are."""
    n_images = {
        "validation": _n_valid(trial.estimator, images),
        "test": images.n_test,
    }
    return {
        "model": trial.name,
        **validation.summarize(fits, n_images),
        "n_parameters": fits[0].n_parameters,
        "lr": trial.lr,
        "batch_size": trial.batch_size,
    }


def _n_valid(estimator: Any, images: Images) -> int:
    """Count the images that a fit sets aside to validate on."""
    _, targets = np.unique(images.y_train, return_inverse=True)
    _, valid = split_rows(
        targets, estimator.validation_fraction, estimator.shuffle, seed=0
    )
    return len(valid)


def mean_history(fits: list[Fit]) -> list[dict[str, float]]:
    """Average each epoch over the fits, as far as all of them trained."""
    return mean_epochs([fit.history for fit in fits])


def mean_epochs(histories: list[list[dict[str, float]]]) -> list[dict[str, float]]:
    """Average each epoch over several histories, as far as all of them go."""
    epochs = zip(*histories, strict=False)
    return [
        {key: float(np.mean([of_fit[key] for of_fit in epoch])) for key in epoch[0]}
        for epoch in epochs
    ]
