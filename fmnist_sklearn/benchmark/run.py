"""Benchmarks: train models, and tabulate their accuracy and training time."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice, product
from numbers import Integral, Real
from typing import Any

import numpy as np
import pandas as pd
from joblib import Parallel, delayed, effective_n_jobs
from sklearn.base import clone
from sklearn.metrics import confusion_matrix
from sklearn.model_selection import StratifiedKFold

# scikit-learn's own checks of parameters, private so far, whose messages users know.
from sklearn.utils._param_validation import (
    HasMethods,
    Interval,
    StrOptions,
    validate_params,
)

from ..displays.images import rank_predictions
from ..estimators.validation import check_values
from ..models import MODELS, Model, find_model
from ..recipes import RECIPES
from ..storage import FitCache
from ..training.batches import split_rows
from .data import Images, load_data, take_arrays
from .progress import RunProgress, Work
from .report import judge_row
from .results import BenchmarkResult, describe_command, make_record, prepare_folder

_N_MISTAKES = 12  # kept of each fit

# The results of one fit, or of a test, as results.json holds them: plain values.
Record = dict[str, Any]

# Parameters that benchmarks and searches share.
COMMON_PARAMETERS = {
    **{name: ["array-like", None] for name in ("X", "y", "X_test", "y_test")},
    "data": [StrOptions({"auto", "full", "sample"}), Images],
    "recipe": [StrOptions(set(RECIPES))],
    "n_jobs": [Integral, None],
    "memory": [str, os.PathLike, FitCache, HasMethods("cache"), None],
    "seed": [Interval(Integral, 0, 2**32 - 1, closed="both")],
    "out": [str, os.PathLike, None],
    "progress": ["boolean"],
    "data_home": [str, os.PathLike, None],
}


@dataclass(frozen=True)
class Trial:
    """A model with its parameters, planned: it becomes a row of the table."""

    name: str
    model: Model
    estimator: Any  # not fitted; its parameters are those of the record


@validate_params(
    {
        **COMMON_PARAMETERS,
        "models": [str, list, tuple, None],
        "lr": [Real, "array-like", None],
        "batch_size": [Integral, "array-like"],
        "cv": [StrOptions({"holdout"}), Interval(Integral, 2, None, closed="left")],
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
    size. The images are yours, or those of Fashion-MNIST.

    Parameters
    ----------
    X : array-like of shape (n, C * H * W), (n, H, W) or (n, C, H, W), default=None
        Images of your own, instead of `data`.
    y : array-like of shape (n,), default=None
        Their labels, of any kind.
    X_test, y_test : array-like, default=None
        Images to test on, and their labels. None keeps a fifth of each class of `X`.
    data : {"auto", "full", "sample"} or Images, default="auto"
        "full": Fashion-MNIST, downloaded if it is not on this machine. "sample":
        the bundled tenth of it. "auto": the full data, otherwise the sample, with a
        warning that explains how to get the full data. Images: what
        ``fmnist_sklearn.benchmark.load_pictures`` returns for a folder of pictures.
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
        "holdout": one fit a row, validated on the part that it sets aside. A number:
        cross-validation with this number of stratified folds.
    n_jobs : int, default=None
        Number of fits to run at a time, as in scikit-learn. They share the cores,
        which the training times show.
    memory : str, path-like, FitCache or joblib.Memory, default=None
        Where to keep finished fits: an interrupted run that is started again repeats
        none of them, and reports the times that they took.
    seed : int, default=0
        Seed of everything random: folds, and in each fit weights, split, order and
        dropout.
    out : str or path-like, default=None
        Folder for ``report.html``, ``results.csv``, ``results.md``, ``results.json``
        and the figures; see :meth:`BenchmarkResult.write`. They are written after
        every row, so that an interrupted run keeps the finished ones. None: write
        nothing.
    progress : bool, default=True
        Whether to show the progress on stderr: a bar on a terminal, otherwise a line
        for each row.
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
        If data="full" is not available, or `out` cannot be written to.

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
    own = take_arrays(X, y, X_test, y_test, data, seed)
    trials = _make_trials(recipe, models, lr, batch_size, seed, memory)
    if out is not None:
        prepare_folder(out)
    n_fits = 1 if cv == "holdout" else int(cv)
    works = [
        Work(trial.name, trial.estimator.max_epochs, n_fits, trial.model.cost)
        for trial in trials
    ]
    display = RunProgress(works, enabled=progress)
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
        "commands": describe_command(),
    }
    if effective_n_jobs(n_jobs) == 1:
        _warm_up(trials, images)
    finished: list[tuple[Trial, Record, list[Record]]] = []
    with display, display.following():
        trained = train_trials(trials, images, cv, seed, n_jobs)
        for i, trial in enumerate(trials):
            display.begin_work(i)
            try:
                fits = next(trained)
            except ValueError as error:
                raise ValueError(f"{trial.name}: {error}") from error
            row = table_row(trial, fits, images)
            display.end_work(
                f"validation {row['validation_accuracy']:.4f}, test "
                f"{row['test_accuracy']:.4f}, {row['training_time_s']:.1f} s"
            )
            finished.append((trial, row, fits))
            # After every row, so that an interrupted run keeps those it finished.
            result = _summarize(finished, images, settings)
            if out is not None:
                result.paths.extend(result.write(out))
    return result


def _make_trials(
    recipe: str, models: Any, lr: Any, batch_size: Any, seed: int, memory: Any
) -> list[Trial]:
    models = list(MODELS) if models is None else models
    models = [models] if isinstance(models, str) else models
    lrs = [None] if lr is None else np.asarray(lr, dtype=float).ravel().tolist()
    sizes = np.ravel(batch_size).tolist()
    trials = {}  # by name: duplicates are trained once
    for model, rate, size in product(map(find_model, models), lrs, sizes):
        params = {} if rate is None else {"lr": rate}
        params |= {"batch_size": size, "random_state": seed}
        estimator = model.make(recipe, **params, memory=memory)
        check_values(estimator)
        name = f"{model.name} (lr={estimator.lr}, batch_size={size})"
        trials[name] = Trial(name, model, estimator)
    if not trials:
        raise ValueError(
            "models, lr and batch_size must each have at least one value; got "
            f"models={models!r}, lr={lr!r} and batch_size={batch_size!r}."
        )
    return list(trials.values())


def _warm_up(trials: list[Trial], images: Images) -> None:
    """Train each kind of network for a moment.

    The first steps of a process load and tune code that later ones reuse; the time of
    the first row should not include that.
    """
    for estimator in {trial.model: trial.estimator for trial in trials}.values():
        brief = clone(estimator).set_params(max_epochs=1, patience=None, memory=None)
        brief.fit(images.X_train[:512], images.y_train[:512])


def _summarize(
    finished: list[tuple[Trial, Record, list[Record]]],
    images: Images,
    settings: dict[str, Any],
) -> BenchmarkResult:
    """Tabulate the trials that are finished, and record all about them."""
    table = pd.DataFrame([row for _, row, _ in finished])
    best, _, _ = finished[int(table["validation_accuracy"].argmax())]
    all_fits = [fit for _, _, fits in finished for fit in fits]
    devices = {f"{fit['device']} in {fit['precision']}" for fit in all_fits}
    findings = {
        "best": best.name,
        "rows": [
            {**row, "parameters": trial.estimator.get_params(), "fits": fits}
            for trial, row, fits in finished
        ],
        "devices": sorted(devices),
    }
    record = make_record(settings, images, findings)
    result = BenchmarkResult(table=table, best=best.name, record=record)
    for trial, _, fits in finished:
        result.curves[trial.name] = mean_epochs([fit["history"] for fit in fits])
        tested = [fit["judgement"] for fit in fits]
        result.judged.append(judge_row(trial.name, record, tested, images.X_test))
    return result


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
    # The images that a fit keeps for its validation, and those of the test.
    net = trial.estimator
    _, targets = np.unique(images.y_train, return_inverse=True)
    _, valid = split_rows(targets, net.validation_fraction, net.shuffle, seed=0)
    for part, n in (("validation", len(valid)), ("test", images.n_test)):
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
    return row | {"lr": net.lr, "batch_size": net.batch_size}


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
