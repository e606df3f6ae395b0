"""Cross-validation results of any scikit-learn estimator as one table."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from sklearn.model_selection._search import BaseSearchCV
from sklearn.utils.validation import check_is_fitted

from .._unwrap import last_step
from ..scoring import describe_scoring, search_scores_accuracy
from .hyper_parameters import Candidates, hyper_parameters

if TYPE_CHECKING:
    import pandas as pd

_HALVING = ("iter", "n_resources")
_MEASURED = (
    "model",
    "accuracy",
    "accuracy_std",
    "training_time_s",
    "training_time_std",
    "epochs",
    "n_parameters",
)


def benchmark_table(results: Any) -> pd.DataFrame:
    """Accuracy, training time and size of each cross-validated model, one a row.

    Parameters
    ----------
    results : fitted search, ``cv_results_``, mapping or list
        One of:

        - a fitted ``GridSearchCV``, ``RandomizedSearchCV`` or halving search;
        - the ``cv_results_`` of one;
        - a mapping from row name to the result of
          :func:`~sklearn.model_selection.cross_validate`, or to one of the above;
        - a list of fitted searches and ``cv_results_``.

        Any estimator's results will do. Those scored with
        :func:`benchmark_scoring` also tell epochs and numbers of parameters, and
        their own training time is preferred to scikit-learn's ``fit_time``: a fit
        that was read back from a cache takes no time but keeps its own.

    Returns
    -------
    table : pandas.DataFrame
        One that prints whole on 80 columns, with spreads behind their means. Rows in
        the order of the searches or the mapping. Columns:

        - ``model``: class of the (last step's) estimator, or the mapping's row
          name; "model" where a ``cv_results_`` does not tell;
        - ``accuracy``, ``accuracy_std``: mean and standard deviation over splits, of
          the score named "accuracy" or else of the only score, if that is the accuracy
          (see Notes);
        - ``training_time_s``, ``training_time_std``: the same, in seconds;
        - ``epochs``, ``n_parameters``: means over splits, where known;
        - for each further metric that was scored, its mean over splits, and behind it,
          as ``<metric>_std``, the standard deviation;
        - ``iter``, ``n_resources``: of a halving search, whose table keeps each
          candidate once an iteration, as ``cv_results_`` does;
        - a column for each hyper-parameter that varies, named without its
          prefixes (``clf__lr`` is ``lr``) where that is unambiguous. A candidate that
          does not set it has its estimator's own value, where that is known.

        What a failed fit leaves unknown is nan.

    Raises
    ------
    TypeError
        If `results` is none of the above.
    ValueError
        If the results hold no accuracy.
    sklearn.exceptions.NotFittedError
        If the search is not fitted.

    Notes
    -----
    A fitted search knows its scorer: one that is not the accuracy is refused, and so
    is an estimator's own ``score`` that may be something else, as a regressor's is.
    The result of ``cross_validate`` and a bare ``cv_results_`` do not know. Their only
    score (``test_score``) is taken for what the default scoring of a classifier gives,
    the accuracy, unless it leaves 0 to 1. Where it is another, do not hand it in:
    score the accuracy too, ``scoring=["accuracy", "f1_macro"]``.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.model_selection import GridSearchCV
    >>> from fmnist_sklearn.tables import benchmark_table
    >>> X, y = load_iris(return_X_y=True)
    >>> search = GridSearchCV(LogisticRegression(max_iter=1000), {"C": [0.01, 1]})
    >>> table = benchmark_table(search.fit(X, y))
    >>> table[["model", "accuracy", "accuracy_std", "C"]]
       model                     accuracy     C
    0  LogisticRegression  0.8600 ± 0.0772  0.01
    1  LogisticRegression  0.9733 ± 0.0249     1
    """
    import pandas as pd

    from .frame import BenchmarkTable

    parts = _find_parts(results)
    measured = pd.concat(
        [pd.DataFrame(part.measures) for part in parts], ignore_index=True
    )
    names = list(map(str, measured))
    known = [name for name in _MEASURED if name in names]
    further = [name for name in names if name not in (*_MEASURED, *_HALVING)]
    halving = [name for name in _HALVING if name in names]
    columns = {
        name: _whole_as_int(measured[name]) for name in (*known, *further, *halving)
    }
    candidates = [part.candidates for part in parts]
    taken = {*columns, *_MEASURED, *_HALVING}
    return BenchmarkTable({**columns, **hyper_parameters(candidates, taken)})


class _Part(NamedTuple):
    """The rows of one search, or the one row of a cross-validation."""

    measures: dict[str, Any]  # column -> values
    candidates: Candidates


def _find_parts(results: Any) -> list[_Part]:
    """Take what users hand over apart."""
    if isinstance(results, Mapping) and not _is_cv_results(results):
        named = results.items()
        if results and all(map(_is_result, results.values())):
            return [_part(result, repr(name), str(name)) for name, result in named]
    elif isinstance(results, list | tuple):
        if results and all(map(_is_search, results)):
            return [_part(result, "results") for result in results]
    elif _is_search(results):
        return [_part(results, "results")]
    raise TypeError(
        "results must be a fitted search, its cv_results_, a list of these, or a "
        "mapping from row name to cross_validate result ({'my model': result}); got "
        f"{_got(results)}."
    )


def _is_cv_results(results: Any) -> bool:
    return isinstance(results, Mapping) and isinstance(
        results.get("params"), Sequence | np.ndarray
    )


def _is_search(results: Any) -> bool:
    is_fitted = isinstance(getattr(results, "cv_results_", None), Mapping)
    return is_fitted or isinstance(results, BaseSearchCV) or _is_cv_results(results)


def _is_result(results: Any) -> bool:
    return isinstance(results, Mapping) or _is_search(results)


def _part(results: Any, owner: str, name: str | None = None) -> _Part:
    """Tabulate one search, or one cross-validation."""
    if not _is_search(results):
        return _cross_validation(results, owner, str(name))
    cv_results: Any = results
    estimator: Any = None
    if _is_cv_results(results):
        _check_result(owner, _scores(results, "mean_"))
    else:
        check_is_fitted(results, "cv_results_")
        cv_results = results.cv_results_
        estimator = getattr(results, "estimator", None)
        _check_search(results, _scores(cv_results, "mean_"))
    params = cv_results["params"]
    models = [_model_name(estimator, candidate) for candidate in params]
    measures = {
        "model": models if name is None else [name] * len(models),
        **_measures(cv_results),
        **{key: cv_results[key] for key in _HALVING if key in cv_results},
    }
    known = estimator.get_params() if hasattr(estimator, "get_params") else {}
    return _Part(measures, Candidates(list(params), models, known))


def _cross_validation(result: Mapping[str, Any], owner: str, name: str) -> _Part:
    scores = _scores(result)
    _check_result(owner, scores)
    if "test_accuracy" not in scores:
        scores["test_accuracy"] = scores.pop("test_score")
    if "fit_time" in result:
        scores["fit_time"] = result["fit_time"]
    summary: dict[str, Any] = {}  # in the form of cv_results_
    for key, values in scores.items():
        splits = np.asarray(values, dtype=float)
        summary[f"mean_{key}"] = [splits.mean()]
        summary[f"std_{key}"] = [splits.std()]
    measures = {"model": [name], **_measures(summary)}
    return _Part(measures, Candidates([{}], [""], {}))


def _measures(cv_results: Any) -> dict[str, np.ndarray]:
    """Columns of `cv_results_` (or of what is like it) that were measured."""
    score = "accuracy" if "mean_test_accuracy" in cv_results else "score"

    def column(name: str) -> np.ndarray:
        nothing = np.full(len(cv_results[f"mean_test_{score}"]), math.nan)
        return np.array(cv_results.get(name, nothing), dtype=float)

    columns = {
        "accuracy": column(f"mean_test_{score}"),
        "accuracy_std": column(f"std_test_{score}"),
    }
    timed = np.isfinite(column("mean_test_training_time_s"))
    # The time until a fit failed is not a training time.
    failed = np.isnan(columns["accuracy"])
    for name, statistic in (("training_time_s", "mean"), ("training_time_std", "std")):
        fit_time = np.where(failed, math.nan, column(f"{statistic}_fit_time"))
        own = column(f"{statistic}_test_training_time_s")
        columns[name] = np.where(timed, own, fit_time)
    for name in ("epochs", "n_parameters"):
        values = column(f"mean_test_{name}")
        if not np.isnan(values).all():
            columns[name] = values
    told = {score, "training_time_s", "epochs", "n_parameters"}
    for key in cv_results:
        metric = key.removeprefix("mean_test_")
        if metric == key or metric in told:
            continue
        values = column(key)
        # Some searches ask for a "score" beside the accuracy that it is.
        if metric == "score" and np.array_equal(values, columns["accuracy"], True):
            continue
        columns[metric] = values
        columns[f"{metric}_std"] = column(f"std_test_{metric}")
    return columns


def _whole_as_int(values: pd.Series) -> pd.Series:
    """Return counts as the integers that they are, where all are known and whole."""
    if values.name in ("epochs", "n_parameters", *_HALVING) and (values % 1 == 0).all():
        return values.astype(int)
    return values


def _model_name(estimator: Any, params: Mapping[str, Any]) -> str:
    """Class of the model that a candidate of a search fits."""
    prefix = ""
    if estimator is None:
        # A bare cv_results_ names its estimators only where it searched over them.
        models = {
            key: value
            for key, value in params.items()
            if hasattr(value, "predict") and not isinstance(value, type)
        }
        if not models:
            return "model"
        outermost = min(models, key=lambda key: key.count("__"))
        estimator, prefix = models[outermost], f"{outermost}__"
    return type(last_step(estimator, params, prefix)).__name__


def _scores(results: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Find the scores in results: "test_..." -> values."""
    return {
        key.removeprefix(prefix): values
        for key, values in results.items()
        if key.startswith(f"{prefix}test_")
    }


def _check_search(search: Any, scores: Mapping[str, Any]) -> None:
    """Refuse a fitted search that did not score the accuracy."""
    names = [name for name in ("accuracy", "score") if f"test_{name}" in scores]
    if not names:
        raise _no_accuracy("results", scores)
    if not search_scores_accuracy(search, names[0]):
        raise _no_accuracy("the search", [describe_scoring(search, names[0])])


def _check_result(owner: str, scores: Mapping[str, Any]) -> None:
    """Refuse a result without the accuracy, whose scorer is not known."""
    if "test_accuracy" in scores:
        return
    if list(scores) != ["test_score"]:
        raise _no_accuracy(owner, scores)
    values = np.asarray(scores["test_score"], dtype=float)
    if np.any((values < 0) | (values > 1)):
        first = ", ".join(f"{value:.3g}" for value in values[:3])
        raise _no_accuracy(owner, [f"test_score with values such as {first}"])


def _no_accuracy(owner: str, scores: Iterable[str]) -> ValueError:
    return ValueError(
        f"{owner} must hold an accuracy to tabulate; got {list(scores)}. "
        "Cross-validate with scoring='accuracy' or, to tell epochs and parameters "
        "too, with scoring=benchmark_scoring() (a search also with refit='accuracy')."
    )


def _got(results: Any) -> str:
    if not isinstance(results, Mapping):
        return " ".join(repr(results).split())[:200]
    if "fit_time" in results:
        return "one cross_validate result without a name"
    return f"a {type(results).__name__} with the keys {list(results)[:5]}"
