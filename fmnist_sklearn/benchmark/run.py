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
from joblib import effective_n_jobs
from sklearn.base import clone
from sklearn.utils._param_validation import (
    HasMethods,
    Interval,
    StrOptions,
    validate_params,
)

from ..datasets import fashion_mnist_source
from ..models import MODELS, find_model
from ..recipes import RECIPES
from ..storage import FitCache
from .data import Images, load_data, own_images
from .environment import describe_call, describe_hardware, describe_versions
from .fits import (
    Fit,
    Folds,
    Holdout,
    Trial,
    choose_validation,
    mean_history,
    table_row,
)
from .progress import RunProgress, Work
from .report import judged_row
from .results import BenchmarkResult


@validate_params(
    {
        "X": ["array-like", None],
        "y": ["array-like", None],
        "X_test": ["array-like", None],
        "y_test": ["array-like", None],
        "data": [StrOptions({"auto", "full", "sample"}), Images],
        "recipe": [StrOptions(set(RECIPES))],
        "models": [str, list, tuple, None],
        "lr": [Real, "array-like", None],
        "batch_size": [Integral, "array-like"],
        "cv": [StrOptions({"holdout"}), Interval(Integral, 2, None, closed="left")],
        "n_jobs": [Integral, None],
        "memory": [str, os.PathLike, FitCache, HasMethods("cache"), None],
        "seed": [Interval(Integral, 0, 2**32 - 1, closed="both")],
        "out": [str, os.PathLike, None],
        "progress": ["boolean"],
        "data_home": [str, os.PathLike, None],
    },
    prefer_skip_nested_validation=True,
)
def run_benchmark(
    X: Any = None,
    y: Any = None,
    *,
    X_test: Any = None,
    y_test: Any = None,
    data: str | Images = "auto",
    recipe: str = "fast",
    models: str | Sequence[str] | None = None,
    lr: float | Sequence[float] | None = None,
    batch_size: int | Sequence[int] = (64, 128),
    cv: int | str = "holdout",
    n_jobs: int | None = None,
    memory: Any = None,
    seed: int = 0,
    out: str | os.PathLike[str] | None = None,
    progress: bool = True,
    data_home: str | os.PathLike[str] | None = None,
) -> BenchmarkResult:
    """Train models and compare accuracy and training time.

    There is a row, with a curve of its own, for each model, learning rate and batch
    size. Without images of your own, they are those of Fashion-MNIST.

    Parameters
    ----------
    X : array-like of shape (n, C * H * W), (n, H, W) or (n, C, H, W), default=None
        Images of your own, instead of `data`.
    y : array-like of shape (n,), default=None
        Their labels, of any kind.
    X_test, y_test : array-like, default=None
        Images to test on, and their labels. None keeps a fifth of each class of `X`.
    data : {"auto", "full", "sample"} or Images, default="auto"
        "full": Fashion-MNIST, downloaded where it is not on this machine. "sample":
        the bundled tenth of it. "auto": the full data, or else, with a warning that
        says how to get it, the sample. Images: what
        ``fmnist_sklearn.benchmark.load_pictures`` returns of your own pictures.
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
    memory : str, path-like, FitCache or joblib.Memory, default=None
        Where to keep finished fits; a run that was ended before its time, and is
        started again, then repeats none of them, and tells the times that they took.
    seed : int, default=0
        Of everything random: folds, and in each fit weights, split, order and
        dropout.
    out : str or path-like, default=None
        Folder for ``report.html``, ``results.csv``, ``results.md``, ``results.json``
        and the figures; see :meth:`BenchmarkResult.write`. They are written after
        every row, so that an interrupted run keeps the finished ones. None: write
        nothing.
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
    ``run_benchmark()`` trains the four rows of the published table. On images of your
    own, here 8 x 8 pixels of handwritten digits:

    >>> from sklearn.datasets import load_digits
    >>> from fmnist_sklearn import run_benchmark
    >>> X, y = load_digits(return_X_y=True)
    >>> result = run_benchmark(
    ...     X, y, models="LeNet5", lr=0.01, batch_size=64, progress=False
    ... )
    >>> result.best
    'LeNet5 (lr=0.01, batch_size=64)'
    >>> result.record["data"]["n_test"]
    360
    """
    commands = describe_call(run_benchmark, locals())
    own = own_images(X, y, X_test, y_test, data, seed)
    trials = _make_trials(recipe, models, lr, batch_size, seed, memory)
    if out is not None:
        _check_folder(Path(out))
    validation = choose_validation(cv, seed)
    display = RunProgress(
        [
            Work(
                trial.name,
                trial.estimator.max_epochs,
                validation.n_fits,
                trial.model.cost,
            )
            for trial in trials
        ],
        enabled=progress,
    )
    if data in ("auto", "full") and not own and fashion_mnist_source(data_home) is None:
        display.say("Downloading Fashion-MNIST (30 MB)")
    images = own or load_data(data, data_home)
    display.say(
        f"{images.n_train:,} training and {images.n_test:,} test images "
        f"({images.source})"
    )
    settings = {
        "recipe": recipe,
        "cv": cv,
        "n_jobs": n_jobs,
        "seed": seed,
        "planned_rows": [trial.name for trial in trials],
        "commands": commands,
    }
    finished: list[tuple[Trial, list[Fit]]] = []
    with display:
        trained = _train(trials, images, validation, n_jobs, display)
        for trial, fits in zip(trials, trained, strict=True):
            finished.append((trial, fits))
            result = _summarize(finished, images, validation, settings)
            if out is not None:
                result.paths.extend(result.write(out))
    return result


# The trials -------------------------------------------------------------------------


def _make_trials(
    recipe: str, models: Any, lr: Any, batch_size: Any, seed: int, memory: Any
) -> list[Trial]:
    if models is None:
        models = list(MODELS)
    models = [models] if isinstance(models, str) else models
    lrs = [None] if lr is None else _numbers("lr", lr, Real, "positive numbers")
    sizes = _numbers("batch_size", batch_size, Integral, "integers of at least 1")
    trials = {}  # by name: one that was asked for twice is trained once
    for model in map(find_model, models):
        for rate in lrs:
            for size in sizes:
                given = {} if rate is None else {"lr": float(rate)}
                estimator = model.make(
                    recipe,
                    batch_size=int(size),
                    random_state=seed,
                    memory=memory,
                    **given,
                )
                name = f"{model.name} (lr={estimator.lr}, batch_size={size})"
                trials[name] = Trial(name, model, estimator.lr, int(size), estimator)
    if not trials:
        raise ValueError("models must name at least one model; got none.")
    return list(trials.values())


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
    trials: list[Trial],
    images: Images,
    validation: Holdout | Folds,
    n_jobs: int | None,
    display: RunProgress,
) -> Iterator[list[Fit]]:
    """Train trial after trial; yield the fits of each."""
    estimators = [trial.estimator for trial in trials]
    if effective_n_jobs(n_jobs) == 1:
        _warm_up(estimators, images)
    trained = validation.train(estimators, images, n_jobs)
    for i, trial in enumerate(trials):
        display.begin_work(i)
        try:
            with display.following():
                fits = next(trained)
        except ValueError as error:
            raise ValueError(f"{trial.name}: {error}") from error
        display.end_work(_describe(fits))
        yield fits


def _warm_up(estimators: list[Any], images: Images) -> None:
    """Train each kind of network for a moment.

    The first steps of a process load and tune what later ones find in place; the
    first row's time should not hold that.
    """
    for estimator in {type(est): est for est in estimators}.values():
        brief = clone(estimator).set_params(max_epochs=1, patience=None, memory=None)
        brief.fit(images.X_train[:512], images.y_train[:512])


def _describe(fits: list[Fit]) -> str:
    validation, test, time = (
        np.mean([getattr(fit, name) for fit in fits])
        for name in ("validation_accuracy", "test_accuracy", "training_time_s")
    )
    return f"validation {validation:.4f}, test {test:.4f}, {time:.1f} s"


# Summary ----------------------------------------------------------------------------


def _summarize(
    finished: list[tuple[Trial, list[Fit]]],
    images: Images,
    validation: Holdout | Folds,
    settings: dict[str, Any],
) -> BenchmarkResult:
    """Tabulate the trials that are finished, and record all that belongs to them."""
    import pandas as pd

    table = pd.DataFrame(
        [table_row(trial, fits, images, validation) for trial, fits in finished]
    )
    best, _ = finished[int(table["validation_accuracy"].argmax())]
    record = {
        **settings,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "data": {
            "name": images.name,
            "source": images.source,
            "n_train": images.n_train,
            "n_test": images.n_test,
        },
        "best": best.name,
        "rows": [
            {
                **row,
                "parameters": trial.estimator.get_params(),
                "fits": list(map(asdict, fits)),
            }
            for row, (trial, fits) in zip(
                table.to_dict("records"), finished, strict=True
            )
        ],
        "devices": sorted(
            {f"{fit.device} in {fit.precision}" for _, fits in finished for fit in fits}
        ),
        "hardware": describe_hardware(),
        "versions": describe_versions(),
    }
    curves = {trial.name: mean_history(fits) for trial, fits in finished}
    judged = [
        judged_row(trial.name, record, judgements, images.X_test)
        for trial, fits in finished
        if (judgements := [fit.judgement for fit in fits if fit.judgement])
    ]
    return BenchmarkResult(table, best.name, curves, record, judged=judged)
