"""Search a network's parameters by cross-validation, followed and resumable."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from math import ceil, floor, log
from numbers import Integral
from pathlib import Path
from typing import Any, NamedTuple

from joblib import effective_n_jobs
from sklearn.model_selection import (
    GridSearchCV,
    ParameterGrid,
    RandomizedSearchCV,
    StratifiedKFold,
)
from sklearn.utils._param_validation import (
    HasMethods,
    Interval,
    StrOptions,
    validate_params,
)

from ..displays.heatmap import searched_parameters
from ..models import Model, find_model
from ..recipes import RECIPES
from ..storage import FitCache
from .cluster import connected, running_on
from .data import Images, load_data, own_images
from .environment import describe_call, describe_hardware, describe_versions
from .fits import judge, mean_epochs
from .progress import ReportingScorer, SearchProgress, describe_params, following
from .report import judged_row
from .results import SearchResult, row_names
from .tables import benchmark_table

_FACTOR = 3  # of halving: as many candidates go, and as many epochs come
_AT_LEAST_1 = Interval(Integral, 1, None, closed="left")


@validate_params(
    {
        "model": [str],
        "params": [Mapping],
        "X": ["array-like", None],
        "y": ["array-like", None],
        "X_test": ["array-like", None],
        "y_test": ["array-like", None],
        "strategy": [StrOptions({"grid", "random", "halving"})],
        "n_iter": [_AT_LEAST_1],
        "max_epochs": [_AT_LEAST_1, None],
        "data": [StrOptions({"auto", "full", "sample"}), Images],
        "recipe": [StrOptions(set(RECIPES))],
        "cv": [Interval(Integral, 2, None, closed="left")],
        "n_jobs": [Integral, None],
        "memory": [str, os.PathLike, FitCache, HasMethods("cache"), None],
        "scheduler": [str, None],
        "workers": [_AT_LEAST_1, None],
        "seed": [Interval(Integral, 0, 2**32 - 1, closed="both")],
        "out": [str, os.PathLike, None],
        "progress": ["boolean"],
        "data_home": [str, os.PathLike, None],
    },
    prefer_skip_nested_validation=True,
)
def run_search(
    model: str,
    params: Mapping[str, Any],
    X: Any = None,
    y: Any = None,
    *,
    X_test: Any = None,
    y_test: Any = None,
    strategy: str = "grid",
    n_iter: int = 10,
    max_epochs: int | None = None,
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
    model : str
        "LeNet5" or "MiniVGG", or the name of its classifier, in any case of letters.
    params : mapping of str to list
        Parameters of the classifier and the values to try; for strategy="random" also
        distributions, such as ``scipy.stats.loguniform(1e-4, 1e-1)``.
    X, y, X_test, y_test : array-like, default=None
        Images of your own and their labels, as for
        :func:`~fmnist_sklearn.run_benchmark`. None: those of Fashion-MNIST.
    strategy : {"grid", "random", "halving"}, default="grid"
        "grid": all combinations. "random": `n_iter` of them, drawn. "halving": all
        with few epochs, then a third of them with three times as many, and so on.
    n_iter : int, default=10
        Combinations to try with strategy="random".
    max_epochs : int, default=None
        Epochs of a fit, at most. None: the recipe's.
    data, recipe
        As for :func:`~fmnist_sklearn.run_benchmark`.
    cv : int, default=5
        Stratified folds; a fit for each.
    n_jobs : int, default=None
        Fits to run at a time on this machine, as in scikit-learn. They share the
        cores.
    memory : str, path-like, FitCache or joblib.Memory, default=None
        Where to keep finished fits: a search that was ended before its time, and is
        run again, then repeats none of them. On a cluster, a folder that all machines
        share.
    scheduler : str, default=None
        Address of a Dask scheduler, such as "tcp://10.0.0.5:8786": the fits run on
        its workers, and `n_jobs` is not used.
    workers : int, default=None
        So many Dask workers are started on this machine, and stopped at the end.
    seed : int, default=0
        Of everything random.
    out : str or path-like, default=None
        Folder for ``report.html``, ``search.csv``, ``search.md``, ``search.json`` and
        the heat map; see :meth:`SearchResult.write`. None: write nothing.
    progress : bool, default=True
        Whether to tell the progress on stderr.
    data_home : str or path-like, default=None
        As for :func:`~fmnist_sklearn.run_benchmark`.

    Returns
    -------
    result : SearchResult
        Its ``search`` is scikit-learn's, fitted; its ``table`` a DataFrame.

    Raises
    ------
    ValueError
        For a parameter out of range, and for a training that diverges.
    OSError
        If data="full" cannot be had, `out` not be written to, or `scheduler` not be
        reached.
    ImportError
        If Dask is asked for and not installed.

    Examples
    --------
    >>> from fmnist_sklearn import run_search
    >>> result = run_search(
    ...     "LeNet5",
    ...     {"lr": [0.001, 0.01], "batch_size": [256]},
    ...     cv=2,
    ...     max_epochs=1,
    ...     data="sample",
    ...     progress=False,
    ... )
    >>> result.search.best_params_["lr"]
    0.01
    """
    commands = describe_call(run_search, locals())
    own = own_images(X, y, X_test, y_test, data, seed)
    if scheduler is not None and workers is not None:
        raise ValueError(
            "scheduler and workers exclude each other: a cluster that runs, or one to "
            f"be started here; got scheduler={scheduler!r} and workers={workers!r}."
        )
    if not params:
        raise ValueError(
            "params must name at least one parameter with values to try; got none."
        )
    kind = find_model(model)
    if out is not None:
        Path(out).mkdir(parents=True, exist_ok=True)
    given = {} if max_epochs is None else {"max_epochs": max_epochs}
    estimator = kind.make(
        recipe, **given, random_state=seed, memory=_wherever_read(memory)
    )
    scorer = ReportingScorer(list(params))
    search, rungs = _plan(estimator, params, strategy, n_iter, cv, seed, scorer)
    images = own or load_data(data, data_home)
    with connected(scheduler, workers) as client:
        search.n_jobs = n_jobs if client is None else None
        with running_on(client, [images.X_train, images.y_train]):
            display = SearchProgress(
                kind.name,
                n_fits=cv * sum(rung.n_candidates for rung in rungs),
                n_epochs=cv * sum(rung.n_candidates * rung.n_epochs for rung in rungs),
                n_folds=cv,
                n_jobs=effective_n_jobs(search.n_jobs),
                enabled=progress,
            )
            with display, following(display.end_fit, client) as scorer.report:
                search.fit(images.X_train, images.y_train)
    scorer.report = None
    settings = {
        "strategy": strategy,
        "recipe": recipe,
        "cv": cv,
        "seed": seed,
        "commands": commands,
    }
    curves = _curves(search, list(params), display.histories)
    result = _summarize(search, kind, images, settings, curves)
    if out is not None:
        result.paths.extend(result.write(out))
    return result


def _wherever_read(memory: Any) -> Any:
    """Return a folder so that processes that started elsewhere find it too."""
    if isinstance(memory, str | os.PathLike):
        return str(Path(memory).expanduser().resolve())
    return memory


class _Rung(NamedTuple):
    """Candidates that are tried with so many epochs."""

    n_candidates: int
    n_epochs: int


def _plan(
    estimator: Any,
    params: Mapping[str, Any],
    strategy: str,
    n_iter: int,
    cv: int,
    seed: int,
    scorer: ReportingScorer,
) -> tuple[Any, list[_Rung]]:
    """Make the search, and tell what it will fit."""
    common = {
        "scoring": scorer,
        "refit": "score",
        "cv": StratifiedKFold(cv, shuffle=True, random_state=seed),
        "error_score": "raise",
    }
    n_epochs = estimator.max_epochs
    if strategy == "random":
        search = RandomizedSearchCV(
            estimator, dict(params), n_iter=n_iter, random_state=seed, **common
        )
        if all(isinstance(values, list | tuple) for values in params.values()):
            n_iter = min(n_iter, len(ParameterGrid(dict(params))))
            search.n_iter = n_iter
        return search, [_Rung(n_iter, n_epochs)]
    n_candidates = len(ParameterGrid(dict(params)))
    if strategy == "grid":
        return (
            GridSearchCV(estimator, dict(params), **common),
            [_Rung(n_candidates, n_epochs)],
        )
    from sklearn.experimental import enable_halving_search_cv  # noqa: F401
    from sklearn.model_selection import HalvingGridSearchCV

    rungs = _rungs(n_candidates, n_epochs)
    search = HalvingGridSearchCV(
        estimator,
        dict(params),
        resource="max_epochs",
        min_resources=rungs[0].n_epochs,
        max_resources=n_epochs,
        factor=_FACTOR,
        return_train_score=False,
        **common,
    )
    return search, rungs


def _rungs(n_candidates: int, max_epochs: int) -> list[_Rung]:
    """Plan a halving search that ends near `max_epochs` with a few candidates."""
    n_wanted = 1 + floor(log(n_candidates, _FACTOR))
    n_epochs = max(max_epochs // _FACTOR ** (n_wanted - 1), 1)
    n_possible = 1 + floor(log(max_epochs // n_epochs, _FACTOR))
    rungs = []
    for _ in range(min(n_wanted, n_possible)):
        rungs.append(_Rung(n_candidates, n_epochs))
        n_candidates = ceil(n_candidates / _FACTOR)
        n_epochs *= _FACTOR
    return rungs


def _curves(search: Any, names: list[str], histories: Mapping[Any, Any]) -> list[Any]:
    """Average the epochs of each candidate over its fits, in the search's order."""
    curves = []
    for params in search.cv_results_["params"]:
        candidate = describe_params({name: params[name] for name in names})
        n_epochs = params.get("max_epochs", search.estimator.max_epochs)
        curves.append(mean_epochs(histories.get((candidate, n_epochs), [])))
    return curves


def _summarize(
    search: Any,
    kind: Model,
    images: Any,
    settings: Mapping[str, Any],
    curves: list[Any],
) -> SearchResult:
    table = benchmark_table(search)
    measured = {
        name: values
        for name, values in search.cv_results_.items()
        if not name.startswith(("param", "rank_test_", "mean_score_", "std_score_"))
    }
    best = search.best_estimator_
    judgement = judge(best, images.X_test, images.y_test)
    record = {
        "model": kind.name,
        **settings,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "data": {
            "name": images.name,
            "source": images.source,
            "n_train": images.n_train,
            "n_test": images.n_test,
        },
        "varied": searched_parameters(search.cv_results_),
        "best_params": search.best_params_,
        "best_accuracy": float(search.best_score_),
        "test_accuracy": judgement.accuracy,
        "judgement": asdict(judgement),
        "devices": [f"{best.device_} in {best.precision_}"],
        "candidates": search.cv_results_["params"],
        "measured": measured,
        "parameters": best.get_params(),
        "hardware": describe_hardware(),
        "versions": describe_versions(),
    }
    names = row_names(table, record["varied"])
    name = names[search.best_index_]
    return SearchResult(
        search,
        table,
        record,
        curves={row: curve for row, curve in zip(names, curves, strict=True) if curve},
        judged=[judged_row(name, record, [judgement], images.X_test)],
    )
