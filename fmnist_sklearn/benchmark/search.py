"""Search a network's parameters by cross-validation, followed and resumable."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from numbers import Integral, Real
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.base import clone
from sklearn.model_selection import ParameterGrid, StratifiedKFold
from sklearn.utils._param_validation import Interval, StrOptions, validate_params

from ..displays.heatmap import SearchHeatmapDisplay, score_grid, searched_parameters
from ..estimators import ImageClassifier
from ..estimators.validation import check_values
from ..models import find_model
from .cluster import connected, running_on
from .data import Images, take_images
from .progress import RunProgress, Work
from .racing import FollowedSearchCV, RacingSearchCV
from .results import (
    SearchResult,
    csv_text,
    describe_origin,
    judge_row,
    make_record,
    optional,
    prepare_folder,
    resumable,
    write_file,
)
from .run import COMMON_PARAMETERS, evaluate, mean_epochs
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
        Its ``search`` is a ``GridSearchCV``, fitted; its ``table`` a DataFrame.

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
    given = {"max_epochs": max_epochs, "memory": memory, "random_state": seed}
    estimator.set_params(**{k: v for k, v in given.items() if v is not None})
    is_race = strategy in ("race", "halving")
    if time_limit is not None and not is_race:
        raise ValueError(
            f"time_limit needs strategy='race'; got time_limit={time_limit!r} with "
            f"strategy={strategy!r}."
        )
    scoring = benchmark_scoring()
    if estimator.memory is not None:
        scoring["from_memory"] = _is_from_memory
    search = (RacingSearchCV if is_race else FollowedSearchCV)(
        estimator,
        dict(params),
        scoring=scoring,
        refit="accuracy",
        cv=StratifiedKFold(cv, shuffle=True, random_state=seed),
        time_limit=time_limit,
        random_state=seed,
    )
    if strategy == "random":
        search.n_iter = n_iter
        if all(isinstance(values, list | tuple) for values in params.values()):
            search.n_iter = min(n_iter, len(ParameterGrid(params)))
    candidates = search.draw_candidates()
    for candidate in candidates:  # before the first is trained
        check_values(clone(estimator).set_params(**candidate))
    arrays = X, y, X_test, y_test
    images = take_images(*arrays, data=data, data_home=data_home, seed=seed)
    if out is not None:
        prepare_folder(out, "search")
    with connected(scheduler, workers) as client:
        search.n_jobs = n_jobs if client is None else None
        display = RunProgress([Work(name)], enabled=progress)
        display.show(description=name)
        search.report = _Follower(display, cv, is_race, out)
        with (
            resumable(memory),
            running_on(client, [images.X_train, images.y_train]),
            display,
        ):
            search.fit(images.X_train, images.y_train)
    search.report = None
    if np.isnan(search.best_score_):
        raise ValueError("all candidates failed in a fold; the warnings say why")
    settings = {
        "model": name,
        "strategy": strategy,
        "recipe": recipe,
        "cv": cv,
        "seed": seed,
    }
    result = _summarize(search, images, settings)
    if out is not None:
        result.paths.extend(result.write(out))
    return result


def _is_from_memory(estimator: Any, X: Any, y: Any) -> float:
    return float(estimator.from_memory_)


@dataclass
class _Follower:
    """Shows where a search stands, and writes its table, after each fit.

    A race has a line for each fit, another search one for each candidate that is done.
    """

    display: RunProgress
    n_folds: int
    is_race: bool
    out: str | os.PathLike[str] | None
    done: set[int] = field(default_factory=set)

    def __call__(
        self, n_done: int, n_left: int, text: str, results: Mapping[str, Any]
    ) -> None:
        self.display.show(description=text, completed=n_done, total=n_done + n_left)
        table = benchmark_table({self.display.works[0].name: results})
        if self.is_race:
            self.display.say(text)
        else:
            finished = np.flatnonzero(table["n_folds"] == self.n_folds)
            for i in {*finished} - self.done:
                self.done.add(i)
                row = table.loc[i].to_dict()
                self.display.say(
                    f"{len(self.done)} of {len(table)} "
                    f"{describe_params(results['params'][i])}: accuracy "
                    f"{row['accuracy']:.4f}{describe_origin(row)}"
                )
        if self.out is not None:
            with optional("search.csv"):
                csv = csv_text(table[table["n_folds"] > 0])
                write_file(Path(self.out, "search.csv"), csv)


def _summarize(
    search: Any, images: Images, settings: Mapping[str, Any]
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
    for i, name in enumerate(names):
        fits = [rows for (c, _), rows in sorted(search.histories_.items()) if c == i]
        if fits:
            result.curves[name] = mean_epochs(fits)
    return result
