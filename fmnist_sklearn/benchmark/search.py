"""Search a network's parameters by cross-validation, followed and resumable."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from numbers import Integral, Real
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.base import clone
from sklearn.model_selection import (
    GridSearchCV,
    ParameterGrid,
    ParameterSampler,
    RandomizedSearchCV,
    StratifiedKFold,
)
from sklearn.utils._param_validation import Interval, StrOptions, validate_params

from ..displays.heatmap import SearchHeatmapDisplay, score_grid, searched_parameters
from ..estimators import ImageClassifier
from ..estimators.validation import check_values
from ..models import find_model
from .cluster import Report, connected, following, running_on
from .data import Images, take_images
from .progress import RunProgress, Work
from .racing import RacingSearchCV
from .results import (
    SearchResult,
    csv_text,
    describe_origin,
    judge_row,
    make_record,
    optional,
    prepare_folder,
    resumable,
    to_jsonable,
    write_text,
)
from .run import COMMON_PARAMETERS, epoch_rows, evaluate, mean_epochs
from .tables import benchmark_scoring, benchmark_table, describe_params, scored_rows

_AT_LEAST_1 = Interval(Integral, 1, None, closed="left")


@validate_params(
    {
        **COMMON_PARAMETERS,
        "model": [str, ImageClassifier],
        "params": [Mapping],
        "strategy": [StrOptions({"grid", "random", "race", "halving"})],
        "n_iter": [_AT_LEAST_1],
        "max_epochs": [_AT_LEAST_1, None],
        "time_limit": [Interval(Real, 0, None, closed="neither"), None],
        "cv": [Interval(Integral, 2, None, closed="left")],
        "scheduler": [str, None],
        "workers": [_AT_LEAST_1, None],
    },
    prefer_skip_nested_validation=True,
)
def run_search(
    model: str | ImageClassifier,
    params: Mapping[str, Any],
    X: Any = None,
    y: Any = None,
    *,
    X_test: Any = None,
    y_test: Any = None,
    strategy: str = "grid",
    n_iter: int = 10,
    max_epochs: int | None = None,
    time_limit: float | None = None,
    data: str | Images = "auto",
    recipe: str = "fast",
    cv: int = 5,
    n_jobs: int | None = None,
    memory: Any = None,
    scheduler: str | None = None,
    workers: int | None = None,
    seed: int = 0,
    out: str | os.PathLike[str] | None = None,
    progress: bool = True,
    data_home: str | os.PathLike[str] | None = None,
) -> SearchResult:
    """Search a network's parameters by cross-validation.

    Parameters
    ----------
    model : str or ImageClassifier
        "LeNet5" or "MiniVGG", or the name of its classifier, in any case of letters; or
        an estimator, of a network of your own for instance, which `recipe` does not
        change.
    params : mapping of str to list
        Parameters of the classifier and the values to try; for strategy="random" also
        distributions, such as ``scipy.stats.loguniform(1e-4, 1e-1)``.
    X, y, X_test, y_test : array-like, default=None
        Your images and their labels, as for
        :func:`~fmnist_sklearn.run_benchmark`. None: those of Fashion-MNIST.
    strategy : {"grid", "random", "race", "halving"}, default="grid"
        "grid": all combinations. "random": `n_iter` of them, drawn. "race": all
        combinations, each only until it cannot win
        (:class:`~fmnist_sklearn.RacingSearchCV`); "halving" is another name of it.
    n_iter : int, default=10
        Combinations to try with strategy="random".
    max_epochs : int, default=None
        Epochs of a fit, at most. None: the recipe's.
    time_limit : float, default=None
        Seconds that a race may take, final training included. None: no limit.
    data, recipe
        As for :func:`~fmnist_sklearn.run_benchmark`.
    cv : int, default=5
        Stratified folds; a fit for each.
    n_jobs : int, default=None
        Fits to run at a time on this machine, as in scikit-learn. They share the
        cores.
    memory : str, path-like, FitCache or joblib.Memory, default=None
        Where to keep finished fits: an interrupted search that is run again repeats
        none of them. On a cluster, a folder that all machines share.
    scheduler : str, default=None
        Address of a Dask scheduler, such as "tcp://10.0.0.5:8786": the fits run on
        its workers, and `n_jobs` is not used.
    workers : int, default=None
        Number of Dask workers to start on this machine, and to stop at the end.
    seed : int, default=0
        Seed of everything random.
    out : str or path-like, default=None
        Folder for ``report.html``, ``search.csv``, ``search.md``, ``search.json``, the
        heat map and the best network; see :meth:`SearchResult.write`. ``search.csv``
        is also written after each candidate, so that an interrupted search keeps those
        that are done. A warning names files that cannot be written. None: write
        nothing.
    progress : bool, default=True
        Whether to show the progress on stderr.
    data_home : str or path-like, default=None
        As for :func:`~fmnist_sklearn.run_benchmark`.

    Returns
    -------
    result : SearchResult
        Its ``search`` is scikit-learn's, fitted; its ``table`` a DataFrame.

    Raises
    ------
    ValueError
        For a parameter out of range, a `time_limit` of another strategy than the race,
        and if all candidates fail.
    OSError
        If data="full" is not available, `out` cannot be written to at the start,
        `scheduler` cannot be reached or is lost, or a fit has lost its worker too
        often.
    ImportError
        If Dask is needed and not installed, or a worker lacks this package.

    Warns
    -----
    sklearn.exceptions.FitFailedWarning
        For fits that fail, such as a training that diverges. Their scores are nan, and
        the other candidates are trained.

    Examples
    --------
    >>> from fmnist_sklearn import load_fashion_mnist_sample, run_search
    >>> X, y = load_fashion_mnist_sample(return_X_y=True)
    >>> result = run_search(
    ...     "LeNet5",
    ...     {"lr": [0.001, 0.01], "batch_size": [64]},
    ...     X[:800],
    ...     y[:800],
    ...     cv=2,
    ...     max_epochs=1,
    ...     progress=False,
    ... )
    >>> result.search.best_params_["lr"]
    0.01
    """
    if scheduler is not None and workers is not None:
        raise ValueError(
            "scheduler and workers exclude each other: a running cluster, or one to "
            f"start here; got scheduler={scheduler!r} and workers={workers!r}."
        )
    if not params:
        raise ValueError(
            "params must name at least one parameter with values to try; got none."
        )
    if isinstance(model, str):
        kind = find_model(model)
        name, estimator = kind.name, kind.make(recipe)
    else:
        name, estimator = getattr(model.module, "__name__", ""), clone(model)
    if isinstance(memory, str | os.PathLike):
        # An absolute path, which processes that start in another folder find too.
        memory = str(Path(memory).expanduser().resolve())
    limits: dict[str, Any] = {} if max_epochs is None else {"max_epochs": max_epochs}
    if memory is not None:
        limits["memory"] = memory
    estimator.set_params(**limits, random_state=seed)
    scorer = ReportingScorer(list(params))
    is_race = strategy in ("race", "halving")
    if time_limit is not None and not is_race:
        raise ValueError(
            f"time_limit needs strategy='race'; got time_limit={time_limit!r} with "
            f"strategy={strategy!r}."
        )
    search, n_fits = _plan(estimator, params, strategy, n_iter, cv, seed, scorer)
    arrays = X, y, X_test, y_test
    images = take_images(*arrays, data=data, data_home=data_home, seed=seed)
    if out is not None:
        prepare_folder(out, "search")
    with connected(scheduler, workers) as client:
        search.n_jobs = n_jobs if client is None else None
        display = RunProgress([Work(name, n_fits)], enabled=progress)
        display.show(description=f"{name}, fit 0 of {n_fits}")
        followed = Following(display, n_fits, cv, out, is_race)
        if is_race:
            search.set_params(time_limit=time_limit, report=followed.show_race)
        with (
            resumable(memory),
            running_on(client, [images.X_train, images.y_train]),
            display,
            following(followed.receive, client) as scorer.report,
            warnings.catch_warnings(),
        ):
            # scikit-learn describes the fits that failed, and warns for each score too.
            warnings.filterwarnings("ignore", "One or more of the test scores")
            search.fit(images.X_train, images.y_train)
    scorer.report = None
    if is_race:
        search.set_params(report=None)
    if np.isnan(search.best_score_):
        raise ValueError("all candidates failed in a fold; the warnings say why")
    settings = {
        "model": name,
        "strategy": strategy,
        "recipe": recipe,
        "cv": cv,
        "seed": seed,
    }
    result = _summarize(search, images, settings, followed.reports)
    if out is not None:
        result.paths.extend(result.write(out))
    return result


# Following the fits -----------------------------------------------------------------

# (name of a candidate, epochs at most) -> the reports of its fits
Reports = dict[tuple[str, int], list[Report]]


@dataclass
class ReportingScorer:
    """What ``benchmark_scoring`` measures, as one scorer that also reports it.

    scikit-learn returns no fit to the searching process before all are done. The
    scorer is called once a fit, in the process that ran it.

    Parameters
    ----------
    names : list of str
        Parameters to report.
    report : callable, default=None
        Takes a mapping that JSON can hold; None: do not report.
    """

    names: list[str]
    report: Callable[[Report], None] | None = None

    def __call__(self, estimator: Any, X: Any, y: Any) -> dict[str, float]:
        """Return the scores of a fit."""
        scorers = benchmark_scoring()
        scores = {n: float(scorer(estimator, X, y)) for n, scorer in scorers.items()}
        if estimator.memory is not None:
            scores["from_memory"] = float(estimator.from_memory_)
        if self.report is not None:
            params = {name: getattr(estimator, name) for name in self.names}
            self.report(
                {
                    "candidate": describe_params(params),
                    "params": to_jsonable(params),
                    "max_epochs": estimator.max_epochs,
                    "history": epoch_rows(estimator),
                    "scores": scores,
                }
            )
        return scores


@dataclass
class Following:
    """Keeps the reports of the fits, shows them, and writes what is done.

    Parameters
    ----------
    display : RunProgress
        Shows the fits done and the best candidate so far, and a line for each candidate
        that is done.
    n_fits, n_folds : int
        Fits of the search, and of each candidate.
    out : path-like or None
        Folder for ``search.csv``, written after each candidate.
    is_race : bool, default=False
        Whether the search shows where it stands by `show_race` instead.
    """

    display: RunProgress
    n_fits: int
    n_folds: int
    out: str | os.PathLike[str] | None = None
    is_race: bool = False
    reports: Reports = field(default_factory=dict)
    rows: list[dict[str, Any]] = field(default_factory=list)

    def receive(self, report: Report) -> None:
        """Take the report of a fit; a cluster that loses a worker may repeat one."""
        key = report["candidate"], report["max_epochs"]
        fits = self.reports.setdefault(key, [])
        fits.append(report)
        if self.is_race:
            return
        if len(fits) == self.n_folds:
            self._finish(fits)
        best = max(self.rows, key=itemgetter("accuracy"), default=None)
        done = [fit for of_candidate in self.reports.values() for fit in of_candidate]
        n_done = min(len(done), self.n_fits)
        best_so_far = ""
        if best is not None:
            best_so_far = f"best {best['accuracy']:.4f} ({best['candidate']})"
        self.display.show(
            description=f"{self.display.works[0].name}, fit {n_done} of {self.n_fits}",
            epoch=best_so_far,
            completed=n_done,
        )

    def show_race(self, n_done: int, n_left: int, text: str) -> None:
        """Show where a race stands, after each of its fits."""
        self.display.show(description=text, completed=n_done, total=n_done + n_left)
        self.display.say(text)

    def _finish(self, fits: list[Report]) -> None:
        """Sum up, show and write a candidate."""
        scores = pd.DataFrame([fit["scores"] for fit in fits])
        row = {name: fits[0][name] for name in ("candidate", "max_epochs")}
        row |= {**scores.mean(), **fits[0]["params"]}
        row["accuracy_std"] = scores["accuracy"].std(ddof=0)
        self.rows.append(row)
        self.display.say(
            f"{len(self.rows)} of {self.n_fits // self.n_folds} {row['candidate']}, at "
            f"most {row['max_epochs']} epochs: accuracy {row['accuracy']:.4f}"
            f"{describe_origin(row)}"
        )
        if self.out is not None:
            with optional("search.csv"):
                csv = csv_text(pd.DataFrame(self.rows))
                write_text(Path(self.out, "search.csv"), csv)


# The plan ---------------------------------------------------------------------------


def _plan(
    estimator: Any,
    params: Mapping[str, Any],
    strategy: str,
    n_iter: int,
    cv: int,
    seed: int,
    scorer: ReportingScorer,
) -> tuple[Any, int]:
    """Make the search, and count its fits, at most."""
    params = dict(params)
    kind: Any
    settings: dict[str, Any] = {}
    if strategy == "random":
        kind, settings = RandomizedSearchCV, {"n_iter": n_iter, "random_state": seed}
        if all(isinstance(values, list | tuple) for values in params.values()):
            settings["n_iter"] = min(n_iter, len(ParameterGrid(params)))
        candidates = list(ParameterSampler(params, **settings))
    else:
        kind = GridSearchCV if strategy == "grid" else RacingSearchCV
        candidates = list(ParameterGrid(params))
    for candidate in candidates:  # before the first is trained
        check_values(clone(estimator).set_params(**candidate))
    folds = StratifiedKFold(cv, shuffle=True, random_state=seed)
    settings |= {"scoring": scorer, "refit": "accuracy", "cv": folds}
    return kind(estimator, params, **settings), cv * len(candidates)


def _summarize(
    search: Any, images: Images, settings: Mapping[str, Any], reports: Reports
) -> SearchResult:
    """Tabulate a fitted search, test its best network, and record all about them."""
    table = benchmark_table(search, "best")
    found = search.cv_results_
    varied = searched_parameters(found)
    scored, _ = scored_rows(search)
    names = [row.name for row in scored]
    best = search.best_estimator_
    tested = evaluate(best, images.X_test, images.y_test)
    findings = {
        "varied": varied,
        "best_params": search.best_params_,
        "best_accuracy": float(search.best_score_),
        "test_accuracy": tested["accuracy"],
        "judgement": tested,
        "devices": [f"{best.device_} in {best.precision_}"],
        "candidates": found["params"],
        "failed": [names[i] for i in np.flatnonzero(table["accuracy"].isna())],
        "refit": getattr(search, "refit_", "all"),
        "stopped": getattr(search, "stopped_", ""),
        "measured": {
            name: values
            for name, values in found.items()
            if not name.startswith(("param", "rank_test_", "mean_score_", "std_score_"))
        },
        "parameters": best.get_params(),
    }
    record = make_record(settings, images, findings)
    heat_map = None
    if len(varied) > 1:
        with optional("the heat map"):
            heat_map = SearchHeatmapDisplay(
                **score_grid(found, y=varied[0], x=varied[1])
            )
    name = names[search.best_index_]
    result = SearchResult(
        search=search,
        table=table,
        best=name,
        scored=scored,
        record=record,
        judged=[judge_row(name, record, [tested], images.X_test)],
        heat_map=heat_map,
    )
    for name, params in zip(names, found["params"], strict=True):
        searched = {key: params[key] for key in search.scoring.names}
        n_epochs = params.get("max_epochs", search.estimator.max_epochs)
        if fits := reports.get((describe_params(searched), n_epochs)):
            result.curves[name] = mean_epochs([fit["history"] for fit in fits])
    return result
