"""One row of the benchmark: trained by holdout or cross-validation, and summed up."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.model_selection import StratifiedKFold, cross_validate

from ..training.preparation import split_rows
from .data import Images


@dataclass(frozen=True)
class Row:
    """A row of the table, before anything is trained."""

    name: str
    model: str
    lr: float
    batch_size: int
    estimator: Any


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


def fit_holdout(estimator: Any, images: Images) -> list[Fit]:
    """Fit once; the estimator's own validation part judges the weights it kept."""
    estimator.fit(images.X_train, images.y_train)
    kept = estimator.history_[estimator.best_epoch_ - 1]
    return [_read(estimator, images, kept["valid_acc"])]


def fit_folds(
    estimator: Any, images: Images, folds: StratifiedKFold, n_jobs: int | None
) -> list[Fit]:
    """Fit once a fold; the rows left out judge each model."""
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
    keys = ("epoch", "train_loss", "valid_loss", "valid_acc", "dur")
    return Fit(
        validation_accuracy=float(validation_accuracy),
        test_accuracy=float(estimator.score(images.X_test, images.y_test)),
        training_time_s=estimator.fit_time_,
        epochs=estimator.n_iter_,
        best_epoch=estimator.best_epoch_,
        n_parameters=estimator.n_parameters_,
        device=str(estimator.device_),
        precision=estimator.precision_,
        history=[{key: row[key] for key in keys} for row in estimator.history_],
    )


def table_row(
    row: Row, fits: list[Fit], images: Images, cv: int | str
) -> dict[str, Any]:
    """Sum the fits up; BenchmarkResult tells what the columns are."""
    cells: dict[str, Any] = {"model": row.name}
    n_images = {"validation": _n_valid(row.estimator, images), "test": images.n_test}
    for part, n in n_images.items():
        name = f"{part}_accuracy"
        values = [getattr(fit, name) for fit in fits]
        cells[name] = np.mean(values)
        if cv == "holdout":
            cells[f"{name}_se"] = np.sqrt(values[0] * (1 - values[0]) / n)
        else:
            cells[f"{name}_std"] = np.std(values)
    times = [fit.training_time_s for fit in fits]
    cells["training_time_s"] = np.mean(times)
    if cv != "holdout":
        cells["training_time_std"] = np.std(times)
    for name in ("epochs", "best_epoch"):
        values = [getattr(fit, name) for fit in fits]
        cells[name] = values[0] if cv == "holdout" else np.mean(values)
    cells["n_parameters"] = fits[0].n_parameters
    return {**cells, "lr": row.lr, "batch_size": row.batch_size}


def _n_valid(estimator: Any, images: Images) -> int:
    """Count the rows that a fit sets aside to validate on."""
    _, valid = split_rows(
        images.y_train, estimator.validation_fraction, estimator.shuffle, seed=0
    )
    return len(valid)


def mean_history(fits: list[Fit]) -> list[dict[str, float]]:
    """Average each epoch over the fits, as far as all of them trained."""
    epochs = zip(*(fit.history for fit in fits), strict=False)
    return [
        {key: float(np.mean([row[key] for row in epoch])) for key in epoch[0]}
        for epoch in epochs
    ]
