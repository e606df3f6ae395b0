"""Benchmarks: train models, and tabulate their accuracy and training time."""

from __future__ import annotations

import math
import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice, product
from numbers import Integral, Real
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import pandas as pd
from joblib import Parallel, delayed, effective_n_jobs
from sklearn.base import clone, is_classifier
from sklearn.exceptions import ConvergenceWarning, FitFailedWarning
from sklearn.metrics import confusion_matrix
from sklearn.model_selection import StratifiedKFold

# scikit-learn's own checks of parameters, private so far, whose messages users know.
from sklearn.utils._param_validation import (
    HasMethods,
    Interval,
    StrOptions,
    validate_params,
)

from .._sklearn import last_step, warn_user
from ..displays.images import rank_predictions
from ..estimators import ImageClassifier
from ..estimators.validation import check_values, flatten_images
from ..models import MODELS, find_model
from ..recipes import RECIPES
from ..storage import FitCache
from ..training.batches import split_rows
from .compare import Scored, compare_rows, rank_models
from .data import Images, take_images, take_set
from .progress import RunProgress, Work
from .results import (
    BenchmarkResult,
    SetsResult,
    describe_origin,
    judge_row,
    make_record,
    prepare_folder,
    resumable,
)
from .tables import benchmark_scoring, epoch_rows

_VALIDATION_FRACTION = 0.1  # set aside for classifiers that do not do so themselves
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
    estimator: Any  # not fitted; its parameters are those of the record
    cost: float = 1.0  # of an epoch, see Model

    @property
    def model(self) -> Any:
        """The last step of a Pipeline; other estimators are their own."""
        return last_step(self.estimator)


@validate_params(
    {
        **COMMON_PARAMETERS,
        "data": [*COMMON_PARAMETERS["data"], Mapping],
        "models": [str, list, tuple, Mapping, None],
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
    data: str | Images | Mapping[str, Any] = "auto",
    recipe: str = "fast",
    models: str | Sequence[str] | Mapping[str, Any] | None = None,
    lr: float | Sequence[float] | None = None,
    batch_size: int | Sequence[int] = (64, 128),
    cv: int | str = "holdout",
    n_jobs: int | None = None,
    memory: Any = None,
    seed: int = 0,
    out: str | os.PathLike[str] | None = None,
    progress: bool = True,
    data_home: str | os.PathLike[str] | None = None,
) -> BenchmarkResult | SetsResult:
    """Train models and compare accuracy and training time.

    There is a row, with a curve of its own, for each model, learning rate and batch
    size, and one for each classifier of yours. The images are yours, or those of
    Fashion-MNIST.

    Parameters
    ----------
    X : array-like of shape (n, C * H * W), (n, H, W) or (n, C, H, W), default=None
        Images of your own, instead of `data`.
    y : array-like of shape (n,), default=None
        Their labels, of any kind.
    X_test, y_test : array-like, default=None
        Images to test on, and their labels. None keeps a fifth of each class of `X`.
    data : {"auto", "full", "sample"}, Images or mapping, default="auto"
        "full": Fashion-MNIST, downloaded if it is not on this machine. "sample":
        the bundled tenth of it. "auto": the full data, otherwise the sample, with a
        warning that explains how to get the full data. Images: what
        ``fmnist_sklearn.benchmark.load_pictures`` returns for a folder of pictures.
        A mapping from name to one of these, to (X, y) or to (X, y, X_test, y_test)
        runs all rows on several data sets, and ranks them.
    recipe : str, default="fast"
        Key of :data:`~fmnist_sklearn.RECIPES`: parameters of each model.
    models : str, list of str or mapping, default=None
        "LeNet5" and "MiniVGG", or the names of their classifiers, in any case of
        letters. None: both. A mapping from row name to such a name, or to any
        scikit-learn classifier, whose parameters stay as they are (`recipe`, `lr` and
        `batch_size` are for the names), except for an open ``random_state``, and
        the ``memory`` of a network. Classifiers that are not networks get the images
        as rows of pixels, and with cv="holdout" a tenth of them is set aside for
        validation.
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
        every row, so that an interrupted run keeps the finished ones. A warning names
        those that cannot be written. Each of several data sets has its own folder in
        it. None: write nothing.
    progress : bool, default=True
        Whether to show the progress on stderr: a bar on a terminal, otherwise a line
        for each row.
    data_home : str or path-like, default=None
        Cache folder of the full data; see
        :func:`~fmnist_sklearn.fetch_fashion_mnist`.

    Returns
    -------
    result : BenchmarkResult or SetsResult
        Its ``table`` is a DataFrame, its ``best`` the name of the best row, its
        ``verdict`` a sentence on whether it is better than the others. The latter is
        that of several data sets.

    Raises
    ------
    ValueError
        For a parameter out of range, and if all rows fail.
    OSError
        If data="full" is not available, or `out` cannot be written to at the start.

    Warns
    -----
    sklearn.exceptions.FitFailedWarning
        For a row that fails, such as one whose training diverges. It is left out of
        the table, and named in the notes below it; the other rows are trained.

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

    Compared with a classifier of scikit-learn:

    >>> from sklearn.svm import SVC
    >>> models = {"LeNet5": "LeNet5", "SVC": SVC()}
    >>> result = run_benchmark(
    ...     X, y, models=models, lr=0.01, batch_size=64, progress=False
    ... )
    >>> result.table[["model", "epochs"]]
                                 model  epochs
    0  LeNet5 (lr=0.01, batch_size=64)     5.0
    1                              SVC     NaN
    """
    trials = _make_trials(recipe, models, lr, batch_size, seed, memory)
    settings = {
        "recipe": recipe,
        "cv": cv,
        "n_jobs": n_jobs,
        "seed": seed,
        "planned_rows": [trial.name for trial in trials],
    }
    if data == {}:
        raise ValueError("data must have at least one data set; got an empty mapping.")
    arrays = X, y, X_test, y_test
    if isinstance(data, Mapping) and all(part is None for part in arrays):
        sets = {key: take_set(key, d, seed, data_home) for key, d in data.items()}
    else:
        images = take_images(*arrays, data=data, data_home=data_home, seed=seed)
        sets = {"": images}
    if out is not None:
        prepare_folder(out, "results")
    with resumable(memory):
        results = {
            name: _run_rows(trials, images, settings, out and Path(out, name), progress)
            for name, images in sets.items()
        }
    if "" in results:
        return results[""]
    result = _rank(results)
    if out is not None:
        result.paths.extend(result.write(out))
    return result


def _run_rows(
    trials: list[Trial],
    images: Images,
    settings: dict[str, Any],
    out: str | os.PathLike[str] | None,
    progress: bool,
) -> BenchmarkResult:
    """Train and test all rows on one data set."""
    cv, seed, n_jobs = (settings[name] for name in ("cv", "seed", "n_jobs"))
    n_fits = 1 if cv == "holdout" else int(cv)
    works = []
    for trial in trials:
        is_ours = isinstance(trial.model, ImageClassifier)
        n_epochs = trial.model.count_epochs(images.n_train) if is_ours else 1
        works.append(Work(trial.name, n_fits, n_epochs * trial.cost))
    display = RunProgress(works, enabled=progress)
    display.say(
        f"{images.n_train:,} training and {images.n_test:,} test images "
        f"({images.source})"
    )
    if effective_n_jobs(n_jobs) == 1:
        _warm_up(trials, images)
    finished: list[tuple[Trial, Record, list[Record]]] = []
    failed: dict[str, str] = {}
    settings = {**settings, "failed": failed}
    with display, display.following():
        trained = train_trials(trials, images, cv, seed, n_jobs)
        for i, trial in enumerate(trials):
            display.begin_work(i)
            fits = next(trained)
            if errors := [fit["error"] for fit in fits if "error" in fit]:
                failed[trial.name] = errors[0]
                display.end_work(f"failed: {errors[0]}")
                warn_user(f"{trial.name} failed: {errors[0]}", FitFailedWarning)
            else:
                row = table_row(trial, fits, images)
                display.end_work(
                    f"validation {row['validation_accuracy']:.4f}, test "
                    f"{row['test_accuracy']:.4f}, {row['training_time_s']:.1f} s"
                    f"{describe_origin(row)}"
                )
                finished.append((trial, row, fits))
            # After every row, so that an interrupted run keeps those it finished.
            if finished:
                result = _summarize(finished, images, settings)
                if out is not None:
                    result.paths.extend(result.write(out))
    if not finished:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in failed.items())
        raise ValueError(f"all rows failed: {reasons}")
    return result


def _make_trials(
    recipe: str, models: Any, lr: Any, batch_size: Any, seed: int, memory: Any
) -> list[Trial]:
    models = list(MODELS) if models is None else models
    models = [models] if isinstance(models, str) else models
    if not isinstance(models, Mapping):
        models = {find_model(name).name: name for name in models}
    lrs = [None] if lr is None else np.asarray(lr, dtype=float).ravel().tolist()
    sizes = np.ravel(batch_size).tolist()
    trials = {}  # by name: duplicates are trained once
    for label, model in models.items():
        if not isinstance(model, str):
            trials[label] = _own_trial(label, model, seed, memory)
            continue
        kind = find_model(model)
        for rate, size in product(lrs, sizes):
            params = {} if rate is None else {"lr": rate}
            params |= {"batch_size": size, "random_state": seed}
            estimator = kind.make(recipe, **params, memory=memory)
            check_values(estimator)
            name = f"{label} (lr={estimator.lr}, batch_size={size})"
            trials[name] = Trial(name, estimator, kind.cost)
    if not trials:
        raise ValueError(
            "models, lr and batch_size must each have at least one value; got "
            f"models={list(models)!r}, lr={lr!r} and batch_size={batch_size!r}."
        )
    return list(trials.values())


def _own_trial(name: Any, estimator: Any, seed: int, memory: Any) -> Trial:
    """Plan the row of a classifier of the caller's."""
    if not (hasattr(estimator, "get_params") and is_classifier(estimator)):
        raise ValueError(
            f"models[{name!r}] must be a classifier, or the name of one of "
            f"{list(MODELS)}; got {estimator!r}."
        )
    estimator = clone(estimator)
    open_seeds = {
        key: seed
        for key, value in estimator.get_params().items()
        if value is None and key.rpartition("__")[2] == "random_state"
    }
    trial = Trial(str(name), estimator.set_params(**open_seeds))
    if isinstance(trial.model, ImageClassifier):
        if trial.model.memory is None:
            trial.model.set_params(memory=memory)
        check_values(trial.model)
    return trial


def _warm_up(trials: list[Trial], images: Images) -> None:
    """Train each kind of network for a moment.

    The first steps of a process load and tune code that later ones reuse; the time of
    the first row should not include that.
    """
    networks = [t.estimator for t in trials if isinstance(t.estimator, ImageClassifier)]
    kinds = {(type(net), getattr(net, "module", None)): net for net in networks}
    for estimator in kinds.values():
        brief = clone(estimator).set_params(max_epochs=1, patience=None, memory=None)
        # The row fails with the same error; that one epoch is too few is no news.
        with suppress(Exception), warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            brief.fit(images.X_train[:512], images.y_train[:512])


def _summarize(
    finished: list[tuple[Trial, Record, list[Record]]],
    images: Images,
    settings: dict[str, Any],
) -> BenchmarkResult:
    """Tabulate the trials that are finished, and record all about them."""
    table = pd.DataFrame([row for _, row, _ in finished])
    all_fits = [fit for _, _, fits in finished for fit in fits]
    devices = {f"{f['device']} in {f['precision']}" for f in all_fits if f["precision"]}
    scored = [_score(row, fits, images, settings["cv"]) for _, row, fits in finished]
    best_row = int(table["validation_accuracy"].argmax())
    comparison = compare_rows(scored, None, best=best_row)
    findings = {
        "rows": [
            {**row, "parameters": trial.estimator.get_params(), "fits": fits}
            for trial, row, fits in finished
        ],
        "devices": sorted(devices) or ["cpu"],
    }
    record = make_record(settings, images, findings)
    curves, judged = {}, []
    for trial, _, fits in finished:
        curves[trial.name] = mean_epochs([fit["history"] for fit in fits])
        tested = [fit["judgement"] for fit in fits]
        judged.append(judge_row(trial.name, record, tested, images.X_test))
    return BenchmarkResult(
        table=table.join(comparison.loc[:, "difference":]),
        best=scored[best_row].name,
        record=record,
        curves=curves,
        judged=judged,
        scored=scored,
    )


def _score(row: Record, fits: list[Record], images: Images, cv: int | str) -> Scored:
    """Return what a row is compared by: its folds, or with one fit its test images."""
    name, time = row["model"], row["training_time_s"]
    if cv == "holdout":
        wrong = fits[0]["judgement"]["wrong"]
        is_right = ~np.isin(np.arange(images.n_test), wrong)
        return Scored(name, row["test_accuracy"], time, is_right, "test images")
    scores = np.array([fit["validation_accuracy"] for fit in fits])
    sizes = int(cv) - 1, 1
    return Scored(name, row["validation_accuracy"], time, scores, "folds", sizes)


def _rank(results: dict[str, BenchmarkResult]) -> SetsResult:
    """Rank the rows of several data sets by their test accuracy."""
    first, *_ = results.values()
    tables = {name: result.table.set_index("model") for name, result in results.items()}
    accuracies = {name: table["test_accuracy"] for name, table in tables.items()}
    # A row that failed on one of them has no rank.
    table = pd.concat(accuracies, axis=1, join="inner", sort=False).reset_index()
    ranks = rank_models(table[list(results)].T)
    best = table["model"][int(ranks.mean_ranks.argmin())]
    record: Record = {**first.record, **ranks._asdict()}
    of_sets = pd.DataFrame([result.record["data"] for result in results.values()])
    totals = of_sets[["n_train", "n_test"]].sum().to_dict()
    record["data"] = {"name": ", ".join(results), **totals}
    record["rows"] = table.to_dict("records")
    record["failed"] = [
        f"{row} on {name}" for name, r in results.items() for row in r.record["failed"]
    ]
    return SetsResult(
        table=table.assign(mean_rank=ranks.mean_ranks),
        best=best,
        record=record,
        results=results,
        ranks=ranks,
    )


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
        delayed(try_fit)(clone(trial.estimator), images, split, seed)
        for trial in trials
        for split in splits
    )
    for _ in trials:
        yield list(islice(fits, len(splits)))


def try_fit(*args: Any) -> Record:
    """Return the record of :func:`fit_once`, or the "error" that it raises."""
    try:
        return fit_once(*args)
    except Exception as error:
        return {"error": f"{type(error).__name__}: {error}"}


def fit_once(
    estimator: Any, images: Images, split: Any = None, seed: int = 0
) -> Record:
    """Fit, validate and test an estimator.

    Parameters
    ----------
    estimator : classifier
        Is fitted.
    images : Images
        What to train and test on.
    split : pair of ndarray of int, default=None
        Rows to train on, and rows to validate on. None: a network sets some aside,
        and the validation accuracy is that of the epoch whose weights were kept; for
        other classifiers a tenth is set aside.
    seed : int, default=0
        Of that tenth.

    Returns
    -------
    record : dict
        The results, as ``results.json`` has them.
    """
    X, y, X_test = images.X_train, images.y_train, images.X_test
    if not isinstance(estimator, ImageClassifier):  # the others take rows of pixels
        X, X_test = (flatten_images(part, None)[0] for part in (X, X_test))
    net = last_step(estimator)
    is_network = isinstance(net, ImageClassifier)
    sets_aside = split is None and is_network and net.validation_fraction > 0
    train, valid = split or split_rows(
        np.unique(y, return_inverse=True)[1],
        net.validation_fraction if sets_aside else _VALIDATION_FRACTION,
        net.shuffle if sets_aside else True,
        seed,
    )
    start = perf_counter()
    estimator.fit(*((X, y) if sets_aside else (X[train], y[train])))
    duration = perf_counter() - start
    net = last_step(estimator)
    if sets_aside:
        accuracy = net.history_[net.best_epoch_ - 1]["valid_acc"]
    else:
        accuracy = estimator.score(X[valid], y[valid])
    tested = evaluate(estimator, X_test, images.y_test)
    has_epochs = is_network or hasattr(net, "loss_curve_")
    return {
        "validation_accuracy": float(accuracy),
        "n_validation": len(valid),
        "test_accuracy": tested["accuracy"],
        "training_time_s": net.fit_time_ if is_network else duration,
        # n_iter_ of others may count something else.
        "epochs": net.n_iter_ if has_epochs else math.nan,
        "best_epoch": getattr(net, "best_epoch_", math.nan),
        "from_memory": getattr(net, "from_memory_", False),
        "n_parameters": benchmark_scoring()["n_parameters"](net),
        "device": str(getattr(net, "device_", "cpu")),
        "precision": getattr(net, "precision_", None),
        "history": epoch_rows(net) if is_network else [],
        "judgement": tested,
    }


def evaluate(estimator: Any, X: Any, y: Any) -> Record:
    """Predict the test images, and compare with their labels.

    Parameters
    ----------
    estimator : classifier
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
          ``"loss"``, the cross-entropy in nats; of networks only;
        - ``"wrong"``: indices of all images that are predicted wrong;
        - ``"image_shape"``: channels, height and width; of networks only.
    """
    y = np.asarray(y)
    classes = estimator.classes_
    labels = np.union1d(classes, y)
    mistakes: Any = []
    shape = getattr(last_step(estimator), "image_shape_", None)
    if shape is None:
        predicted = estimator.predict(X)
    else:
        probabilities = estimator.predict_proba(X)  # (n, n_classes)
        predicted = classes[probabilities.argmax(axis=1)]
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
        "wrong": np.flatnonzero(predicted != y).tolist(),
        "image_shape": shape and tuple(shape),
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
    n_valid = fits[0]["n_validation"]
    for part, n in (("validation", n_valid), ("test", images.n_test)):
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
    if getattr(trial.model, "memory", None) is not None:
        row["from_memory"] = np.mean(of_fits["from_memory"])
    row["n_parameters"] = of_fits["n_parameters"][0]
    net: Any = trial.model if isinstance(trial.model, ImageClassifier) else None
    params = {name: getattr(net, name, math.nan) for name in ("lr", "batch_size")}
    return row | params


def mean_epochs(histories: list[list[dict[str, float]]]) -> list[dict[str, float]]:
    """Average each epoch over several histories, up to the end of the shortest."""
    epochs = zip(*histories, strict=False)
    return [
        {key: float(np.mean([of_fit[key] for of_fit in epoch])) for key in epoch[0]}
        for epoch in epochs
    ]
