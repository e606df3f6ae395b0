"""Cross-validation results of any scikit-learn estimator as one table."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.model_selection._search import BaseSearchCV
from sklearn.utils.validation import check_is_fitted

from ._unwrap import last_step
from .scoring import benchmark_scoring, describe_scoring, search_scores_accuracy

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["benchmark_scoring", "benchmark_table", "table_to_markdown"]

_HALVING = ("iter", "n_resources")
_MEASURED = (
    "model",
    "accuracy",
    "accuracy_std",
    "training_time_s",
    "training_time_std",
    "epochs",
    "n_parameters",
    *_HALVING,
)


def benchmark_table(results: Any) -> pd.DataFrame:
    """Accuracy, training time and size of each cross-validated model, one a row.

    Parameters
    ----------
    results : fitted search, ``cv_results_`` or mapping
        One of:

        - a fitted ``GridSearchCV``, ``RandomizedSearchCV`` or halving search;
        - the ``cv_results_`` of one;
        - a mapping from row name to the result of
          :func:`~sklearn.model_selection.cross_validate`.

        Any estimator's results will do. Those scored with
        :func:`benchmark_scoring` also tell epochs and numbers of parameters, and
        their own training time is preferred to scikit-learn's ``fit_time``: a fit
        that was read back from a cache takes no time but keeps its own.

    Returns
    -------
    table : pandas.DataFrame
        Rows in the order of the search or mapping. Columns:

        - ``model``: class of the (last step's) estimator, or the mapping's row
          name; "model" where a ``cv_results_`` does not tell;
        - ``accuracy``, ``accuracy_std``: mean and standard deviation over splits, of
          the score named "accuracy" or else of the only score, if that is the accuracy
          (see Notes);
        - ``training_time_s``, ``training_time_std``: the same, in seconds;
        - ``epochs``, ``n_parameters``: means over splits, where known;
        - ``iter``, ``n_resources``: of a halving search, whose table keeps each
          candidate once an iteration, as ``cv_results_`` does;
        - a column for each hyper-parameter that varies, named without its
          prefixes (``clf__lr`` is ``lr``) where that is unambiguous.

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
    >>> benchmark_table(search.fit(X, y))[["model", "accuracy", "C"]].round(2)
                    model  accuracy     C
    0  LogisticRegression      0.86  0.01
    1  LogisticRegression      0.97  1.00
    """
    cv_results = getattr(results, "cv_results_", None)
    if isinstance(cv_results, Mapping):
        _check_search(results, _scores(cv_results, "mean_"))
        return _search_table(cv_results, getattr(results, "estimator", None))
    if isinstance(results, BaseSearchCV):
        check_is_fitted(results, "cv_results_")
    if isinstance(results, Mapping):
        if isinstance(results.get("params"), Sequence | np.ndarray):
            _check_result("results", _scores(results, "mean_"))
            return _search_table(results, None)
        if results and all(isinstance(row, Mapping) for row in results.values()):
            return _mapping_table(results)
    raise TypeError(
        "results must be a fitted search, its cv_results_, or a mapping from row name "
        f"to cross_validate result ({{'my model': result}}); got {_got(results)}."
    )


def _search_table(cv_results: Mapping[str, Any], estimator: Any) -> pd.DataFrame:
    import pandas as pd

    candidates = cv_results["params"]
    models = [_model_name(estimator, params) for params in candidates]
    halving = {key: cv_results[key] for key in _HALVING if key in cv_results}
    return pd.DataFrame(
        {
            "model": models,
            **_measures(cv_results),
            **halving,
            **_hyper_parameters(candidates, models),
        }
    )


def _mapping_table(results: Mapping[str, Mapping[str, Any]]) -> pd.DataFrame:
    import pandas as pd

    rows = []
    for name, result in results.items():
        scores = _scores(result)
        _check_result(repr(name), scores)
        scores.setdefault("test_accuracy", scores.get("test_score"))
        if "fit_time" in result:
            scores["fit_time"] = result["fit_time"]
        row = {}
        for key, values in scores.items():
            splits = np.asarray(values, dtype=float)
            row[f"mean_{key}"] = splits.mean()
            row[f"std_{key}"] = splits.std()
        rows.append(row)
    # In the form of cv_results_; what only some rows know is nan in the others.
    return pd.DataFrame({"model": list(results), **_measures(pd.DataFrame(rows))})


def _measures(cv_results: Any) -> dict[str, np.ndarray]:
    """Columns of `cv_results_` (or of a frame like it) that were measured."""
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
    if "n_parameters" in columns and np.all(columns["n_parameters"] % 1 == 0):
        columns["n_parameters"] = columns["n_parameters"].astype(int)
    return columns


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


def _hyper_parameters(
    candidates: Sequence[Mapping[str, Any]], models: list[str]
) -> dict[str, pd.Series]:
    import pandas as pd

    names = list(dict.fromkeys(name for params in candidates for name in params))
    last_parts = Counter(name.rpartition("__")[2] for name in names)
    columns = {}
    for name in names:
        # A candidate from another grid may not set it at all.
        values = [params.get(name, math.nan) for params in candidates]
        if len(set(map(repr, values))) == 1:
            continue
        shown = _short_names(values)
        if list(map(str, shown)) == models:
            continue  # the swapped model itself
        last_part = name.rpartition("__")[2]
        label = last_part if last_parts[last_part] == 1 else name
        if label in _MEASURED:
            label = f"param_{label}"
        # As objects, integers beside nan stay integers and None stays None.
        as_object = any(v is None or v is math.nan for v in shown)
        columns[label] = pd.Series(shown, dtype=object if as_object else None)
    return columns


def _short_names(values: list[Any]) -> list[Any]:
    """Name classes, functions and estimators; leave other values as they are."""

    def short(value: Any) -> Any:
        if callable(value) or hasattr(value, "get_params"):
            return getattr(value, "__name__", type(value).__name__)
        return value

    names = [short(value) for value in values]
    if len(set(map(repr, names))) == len(set(map(repr, values))):
        return names
    # Two of a class: what sets them apart must show, on one line.
    return [
        value if name is value else " ".join(repr(value).split())
        for name, value in zip(names, values, strict=True)
    ]


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


def table_to_markdown(table: pd.DataFrame) -> str:
    """Write a table in Markdown, without its index.

    Parameters
    ----------
    table : pandas.DataFrame
        Any table of short values.

    Returns
    -------
    markdown : str
        A pipe table. Floats have four significant digits (whole ones, and those
        from 1,000, no decimals), and nan is left empty.

    Examples
    --------
    >>> import pandas as pd
    >>> from fmnist_sklearn.tables import table_to_markdown
    >>> table = pd.DataFrame({"model": ["LeNet5"], "accuracy": [0.90712]})
    >>> print(table_to_markdown(table), end="")
    | model | accuracy |
    | --- | ---: |
    | LeNet5 | 0.9071 |
    """
    rules = ["---:" if kind.kind in "iuf" else "---" for kind in table.dtypes]
    rows = table.astype(object).to_numpy()
    lines = [map(str, table.columns), rules, *(map(_cell, row) for row in rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _cell(value: Any) -> str:
    if not isinstance(value, float):  # numpy's float64 is one
        return str(value).replace("|", r"\|").replace("\n", " ")
    if math.isnan(value):
        return ""
    return format(value, ".0f" if abs(value) >= 1000 or value.is_integer() else ".4g")
