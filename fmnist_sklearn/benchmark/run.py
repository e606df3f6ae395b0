"""The main job: train both networks, tabulate accuracy and training time."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from numbers import Integral, Real
from pathlib import Path
from typing import Any

import numpy as np
from joblib import Parallel, delayed, effective_n_jobs
from sklearn.base import clone
from sklearn.model_selection import StratifiedKFold
from sklearn.utils._param_validation import Interval, StrOptions, validate_params

from ..datasets import fashion_mnist_source
from ..estimators import LeNet5Classifier, MiniVGGClassifier
from ..recipes import RECIPES
from .data import Images, load_data
from .environment import describe_hardware, describe_versions
from .fits import Fit, Row, fit_folds, fit_holdout, mean_history, table_row
from .progress import RunProgress, Work
from .results import BenchmarkResult

MODELS = {"LeNet5": LeNet5Classifier, "MiniVGG": MiniVGGClassifier}

# Of an epoch, measured on two CPU cores: the time left needs no more than this.
_COSTS = {"LeNet5": 1.0, "MiniVGG": 6.0}


@validate_params(
    {
        "data": [StrOptions({"auto", "full", "sample"})],
        "recipe": [StrOptions(set(RECIPES))],
        "models": [str, list, tuple, None],
        "lr": [Real, "array-like", None],
        "batch_size": [Integral, "array-like"],
        "cv": [StrOptions({"holdout"}), Interval(Integral, 2, None, closed="left")],
        "n_jobs": [Integral, None],
        "seed": [Interval(Integral, 0, 2**32 - 1, closed="both")],
        "out": [str, os.PathLike, None],
        "progress": ["boolean"],
        "data_home": [str, os.PathLike, None],
    },
    prefer_skip_nested_validation=True,
)
def run_benchmark(
    *,
    data: str = "auto",
    recipe: str = "fast",
    models: str | Sequence[str] | None = None,
    lr: float | Sequence[float] | None = None,
    batch_size: int | Sequence[int] = (64, 128),
    cv: int | str = "holdout",
    n_jobs: int | None = None,
    seed: int = 0,
    out: str | os.PathLike[str] | None = None,
    progress: bool = True,
    data_home: str | os.PathLike[str] | None = None,
) -> BenchmarkResult:
    """Train models on Fashion-MNIST and compare accuracy and training time.

    There is a row for each model, learning rate and batch size.

    Parameters
    ----------
    data : {"auto", "full", "sample"}, default="auto"
        "full": Fashion-MNIST, downloaded where it is not on this machine. "sample":
        the bundled tenth of it. "auto": the full data, or else, with a warning that
        says how to get it, the sample.
    recipe : str, default="fast"
        Key of :data:`~fmnist_sklearn.RECIPES`: parameters of each model.
    models : str or list of str, default=None
        "LeNet5" and "MiniVGG", or the names of their classifiers, in any case of
        letters. None: both.
    lr : float or list of float, default=None
        Learning rates. None: the recipe's.
    batch_size : int or list of int, default=(64, 128)
        Batch sizes.
    cv : "holdout" or int, default="holdout"
        "holdout": one fit a row, judged by its own validation part. A number:
        cross-validation with so many stratified folds.
    n_jobs : int, default=None
        Fits to run at a time, as in scikit-learn: rows for cv="holdout", else folds
        of a row. They share the cores, which the training times show.
    seed : int, default=0
        Of everything random: folds, and in each fit weights, split, order and
        dropout.
    out : str or path-like, default=None
        Folder for ``results.csv``, ``results.md``, ``results.json`` and the figures;
        see :meth:`BenchmarkResult.write`. They are written after every row, so that
        an interrupted run keeps the finished ones. None: write nothing.
    progress : bool, default=True
        Whether to tell the progress on stderr: a bar on a terminal, else a line for
        each row.
    data_home : str or path-like, default=None
        Cache folder of the full data; see
        :func:`~fmnist_sklearn.fetch_fashion_mnist`.

    Returns
    -------
    result : BenchmarkResult
        Its ``table`` is a DataFrame, its ``best`` the name of the best row.

    Raises
    ------
    ValueError
        For a parameter out of range, and for a training that diverges.
    OSError
        If data="full" cannot be had, or `out` cannot be written to.

    Examples
    --------
    >>> from fmnist_sklearn.benchmark import run_benchmark
    >>> result = run_benchmark(
    ...     data="sample", models="LeNet5", lr=0.01, batch_size=256, progress=False
    ... )
    >>> result.best
    'LeNet5 (lr=0.01, batch_size=256)'
    """
    rows = _make_rows(recipe, models, lr, batch_size, seed)
    if out is not None:
        _check_folder(Path(out))
    n_fits = 1 if cv == "holdout" else int(cv)
    display = RunProgress(
        [
            Work(row.name, row.estimator.max_epochs, n_fits, _COSTS[row.model])
            for row in rows
        ],
        enabled=progress,
    )
    if data != "sample" and fashion_mnist_source(data_home) is None:
        display.say("Downloading Fashion-MNIST (30 MB)")
    images = load_data(data, data_home)
    display.say(
        f"{images.n_train:,} training and {images.n_test:,} test images "
        f"({images.source})"
    )
    settings = {"recipe": recipe, "cv": cv, "n_jobs": n_jobs, "seed": seed}
    fits_of_rows: list[list[Fit]] = []
    with display:
        for fits in _train(rows, images, cv, n_jobs, seed, display):
            fits_of_rows.append(fits)
            result = _summarize(rows, fits_of_rows, images, settings)
            if out is not None:
                result.paths.extend(result.write(out))
    return result


# The rows ---------------------------------------------------------------------------


def make_estimator(model: str, recipe: str, **params: Any) -> Any:
    """Return an unfitted classifier with the parameters of a recipe.

    Parameters
    ----------
    model : str
        As in :func:`run_benchmark`.
    recipe : str
        Key of RECIPES.
    **params : dict
        Further parameters, which win over the recipe's.
    """
    cls = MODELS[_model_name(model)]
    return cls(**{**RECIPES[recipe][cls.__name__], **params})


def _model_name(model: Any) -> str:
    for name, cls in MODELS.items():
        if str(model).lower() in (name.lower(), cls.__name__.lower()):
            return name
    raise ValueError(f"models must be among {list(MODELS)}; got {model!r}.")


def _make_rows(
    recipe: str, models: Any, lr: Any, batch_size: Any, seed: int
) -> list[Row]:
    if models is None:
        models = list(MODELS)
    models = [models] if isinstance(models, str) else models
    lrs = [None] if lr is None else _numbers("lr", lr, Real, "positive numbers")
    sizes = _numbers("batch_size", batch_size, Integral, "integers of at least 1")
    rows = {}  # by name: one that was asked for twice is trained once
    for model in map(_model_name, models):
        for rate in lrs:
            for size in sizes:
                given = {} if rate is None else {"lr": float(rate)}
                estimator = make_estimator(
                    model, recipe, batch_size=int(size), random_state=seed, **given
                )
                name = f"{model} (lr={estimator.lr}, batch_size={size})"
                rows[name] = Row(name, model, estimator.lr, int(size), estimator)
    if not rows:
        raise ValueError("models must name at least one model; got none.")
    return list(rows.values())


def _numbers(name: str, given: Any, kind: Any, expected: str) -> list[Any]:
    """Return one or several values as a list, each checked."""
    values: list[Any] = [given] if isinstance(given, Real) else list(given)
    for value in values:
        # True is a number to Python.
        is_number = isinstance(value, kind) and not isinstance(value, bool)
        if not (is_number and 0 < value < float("inf")):
            raise ValueError(
                f"{name} must be one or several {expected}; got {given!r}."
            )
    if not values:
        raise ValueError(f"{name} must be one or several {expected}; got none.")
    return values


def _check_folder(folder: Path) -> None:
    """Find out now, not after the training, whether the files can be written."""
    folder.mkdir(parents=True, exist_ok=True)
    if not os.access(folder, os.W_OK):
        raise PermissionError(f"out={str(folder)!r} cannot be written to.")


# Training ---------------------------------------------------------------------------


def _train(
    rows: list[Row],
    images: Images,
    cv: int | str,
    n_jobs: int | None,
    seed: int,
    display: RunProgress,
) -> Iterator[list[Fit]]:
    """Train row after row; yield the fits of each."""
    estimators = [row.estimator for row in rows]
    if effective_n_jobs(n_jobs) == 1:
        _warm_up(estimators, images)
        # Fits in other processes have no way to tell of their epochs.
        callback = display.callback()
        if callback is not None:
            for estimator in estimators:
                estimator.set_params(callbacks=[callback])
    if cv == "holdout":
        # With one job, joblib trains a row only when its turn is asked for.
        parallel = Parallel(n_jobs=n_jobs, return_as="generator")
        trained = parallel(delayed(fit_holdout)(est, images) for est in estimators)
    else:
        folds = StratifiedKFold(int(cv), shuffle=True, random_state=seed)
        trained = (fit_folds(est, images, folds, n_jobs) for est in estimators)
    for i, row in enumerate(rows):
        display.begin_row(i)
        try:
            fits = next(trained)
        except ValueError as error:
            raise ValueError(f"{row.name}: {error}") from error
        display.end_row(_describe(fits))
        yield fits


def _warm_up(estimators: list[Any], images: Images) -> None:
    """Train each kind of network for a moment.

    The first steps of a process load and tune what later ones find in place; the
    first row's time should not hold that.
    """
    for estimator in {type(est): est for est in estimators}.values():
        brief = clone(estimator).set_params(max_epochs=1, patience=None)
        brief.fit(images.X_train[:512], images.y_train[:512])


def _describe(fits: list[Fit]) -> str:
    validation, test, time = (
        np.mean([getattr(fit, name) for fit in fits])
        for name in ("validation_accuracy", "test_accuracy", "training_time_s")
    )
    return f"validation {validation:.4f}, test {test:.4f}, {time:.1f} s"


# Summary ----------------------------------------------------------------------------


def _summarize(
    rows: list[Row],
    fits_of_rows: list[list[Fit]],
    images: Images,
    settings: dict[str, Any],
) -> BenchmarkResult:
    """Tabulate the rows that are finished."""
    import pandas as pd

    finished = list(zip(rows, fits_of_rows, strict=False))
    table = pd.DataFrame(
        [table_row(row, fits, images, settings["cv"]) for row, fits in finished]
    )
    best = rows[int(table["validation_accuracy"].argmax())].name
    fits = [fit for fits in fits_of_rows for fit in fits]
    record = {
        **settings,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "data": {
            "name": images.name,
            "source": images.source,
            "n_train": images.n_train,
            "n_test": images.n_test,
        },
        "planned_rows": [row.name for row in rows],
        "best": best,
        "rows": [
            {**cells, "parameters": _parameters(row), "fits": list(map(asdict, fits))}
            for cells, (row, fits) in zip(
                table.to_dict("records"), finished, strict=True
            )
        ],
        "devices": sorted({f"{fit.device} in {fit.precision}" for fit in fits}),
        "hardware": describe_hardware(),
        "versions": describe_versions(),
    }
    curves = {row.name: mean_history(fits) for row, fits in finished}
    return BenchmarkResult(table, best, curves, record)


def _parameters(row: Row) -> dict[str, Any]:
    # The progress bar's callback is no parameter of the experiment.
    return {**row.estimator.get_params(), "callbacks": None}
