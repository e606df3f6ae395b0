"""Cross-validation results of any scikit-learn estimator as one table."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.metrics import get_scorer
from sklearn.model_selection._search import BaseSearchCV
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted

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
    *_HALVING,
)


def benchmark_scoring() -> dict[str, Callable[..., float]]:
    """Scorers for accuracy, training time, epochs and number of parameters.

    Hand them to :func:`~sklearn.model_selection.cross_validate`, or to a search
    together with ``refit="accuracy"``, and the results to :func:`benchmark_table`.

    Returns
    -------
    scoring : dict of str to callable
        ``"accuracy"`` is scikit-learn's own scorer. The others read what the
        estimator (of a Pipeline, its last step) says about its fit:

        - ``"training_time_s"``: ``fit_time_``, in seconds;
        - ``"epochs"``: ``n_iter_``, the largest where it holds several;
        - ``"n_parameters"``: ``n_parameters_``, or the sizes of ``coefs_`` and
          ``intercepts_``, or of ``coef_`` and ``intercept_``.

        They give nan for an estimator that does not say. A search then warns that
        "scores are non-finite", as it does for any nan.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.model_selection import cross_validate
    >>> from fmnist_sklearn.tables import benchmark_scoring
    >>> X, y = load_iris(return_X_y=True)
    >>> result = cross_validate(
    ...     LogisticRegression(max_iter=1000), X, y, cv=3, scoring=benchmark_scoring()
    ... )
    >>> result["test_n_parameters"]
    array([15, 15, 15])
    """
    return {
        # get_scorer copies: a caller's set_score_request stays the caller's.
        "accuracy": get_scorer("accuracy"),
        "training_time_s": _FitScorer(_fit_time),
        "epochs": _FitScorer(_epochs),
        "n_parameters": _FitScorer(_n_parameters),
    }


@dataclass(frozen=True)
class _FitScorer:
    """A scorer that asks the fitted estimator and leaves the data alone.

    A class, since scikit-learn asks the scorers of a dict for
    ``_accept_sample_weight`` when a search is fitted with weights. Any weight is
    right for a quantity that depends on none.
    """

    read: Callable[[Any], float]

    def __call__(self, estimator: Any, X: Any = None, y: Any = None, **_: Any) -> float:
        return self.read(estimator)

    def _accept_sample_weight(self) -> bool:
        return True


def _fit_time(estimator: Any) -> float:
    while isinstance(estimator, Pipeline):
        estimator = estimator.steps[-1][1]
    # No further: the time of a search is not that of its one best estimator.
    return float(getattr(estimator, "fit_time_", math.nan))


def _epochs(estimator: Any) -> float:
    n_iter = np.asarray(getattr(_unwrap(estimator), "n_iter_", None), dtype=float)
    return float(n_iter.max()) if n_iter.size else math.nan


def _n_parameters(estimator: Any) -> float:
    estimator = _unwrap(estimator)
    if hasattr(estimator, "n_parameters_"):
        return estimator.n_parameters_
    if hasattr(estimator, "coefs_"):
        learned = [*estimator.coefs_, *estimator.intercepts_]
    elif hasattr(estimator, "coef_"):
        learned = [estimator.coef_]
        # Without an intercept, scikit-learn still stores zeros for it.
        if hasattr(estimator, "intercept_") and getattr(
            estimator, "fit_intercept", True
        ):
            learned.append(estimator.intercept_)
    else:
        return math.nan
    return sum(math.prod(np.shape(array)) for array in learned)


def _unwrap(estimator: Any) -> Any:
    """Find the fitted model in Pipelines, searches and one-estimator wrappers."""
    while True:
        if isinstance(estimator, Pipeline):
            estimator = estimator.steps[-1][1]
        elif hasattr(estimator, "best_estimator_"):
            estimator = estimator.best_estimator_
        elif hasattr(estimator, "estimator_"):
            estimator = estimator.estimator_
        else:
            return estimator


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
          the score named "accuracy" or else of the only score;
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
        scoring = getattr(results, "scoring", None)
        if isinstance(scoring, str) and scoring != "accuracy":
            raise _no_accuracy("the search", [scoring])
        return _search_table(cv_results, getattr(results, "estimator", None))
    if isinstance(results, BaseSearchCV):
        check_is_fitted(results, "cv_results_")
    if isinstance(results, Mapping):
        if isinstance(results.get("params"), Sequence | np.ndarray):
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
        if "test_score" in result:
            result = {"test_accuracy": result["test_score"], **result}
        if "test_accuracy" not in result:
            raise _no_accuracy(repr(name), [k for k in result if k.startswith("test_")])
        row = {}
        for key in result:
            if key == "fit_time" or key.startswith("test_"):
                splits = np.asarray(result[key], dtype=float)
                row[f"mean_{key}"] = splits.mean()
                row[f"std_{key}"] = splits.std()
        rows.append(row)
    # In the form of cv_results_; what only some rows know is nan in the others.
    return pd.DataFrame({"model": list(results), **_measures(pd.DataFrame(rows))})


def _measures(cv_results: Any) -> dict[str, np.ndarray]:
    """Columns of `cv_results_` (or of a frame like it) that were measured."""
    scores = [key for key in cv_results if key.startswith("mean_test_")]
    score = "accuracy" if "mean_test_accuracy" in scores else "score"
    if f"mean_test_{score}" not in scores:
        raise _no_accuracy("results", [key.removeprefix("mean_") for key in scores])

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
    while isinstance(estimator, Pipeline):
        step, estimator = estimator.steps[-1]
        estimator = params.get(prefix + step, estimator)
        prefix += f"{step}__"
    return type(estimator).__name__


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


def _no_accuracy(owner: str, metrics: list[str]) -> ValueError:
    return ValueError(
        f"{owner} must hold an accuracy to tabulate; got {metrics}. Cross-validate "
        "with scoring=benchmark_scoring() (a search also with refit='accuracy')."
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
