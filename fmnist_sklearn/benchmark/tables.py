"""Cross-validation results of any scikit-learn estimator as one table."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from sklearn.model_selection._search import BaseSearchCV
from sklearn.utils.validation import check_is_fitted

from .._unwrap import last_step
from .scoring import describe_scoring, search_scores_accuracy


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
    >>> from fmnist_sklearn.benchmark import table_to_markdown
    >>> table = pd.DataFrame({"model": ["LeNet5"], "accuracy": [0.90712]})
    >>> print(table_to_markdown(table), end="")
    | model | accuracy |
    | --- | ---: |
    | LeNet5 | 0.9071 |
    """
    rules = ["---:" if kind.kind in "iuf" else "---" for kind in table.dtypes]
    rows = table.astype(object).to_numpy()
    lines = [map(str, table.columns), rules, *(map(_markdown, row) for row in rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _markdown(value: Any) -> str:
    return format_value(value).replace("|", r"\|").replace("\n", " ")


def format_value(value: Any) -> str:
    """Write a value short: four digits, whole numbers as such, nothing for nan."""
    if not isinstance(value, float):  # numpy's float64 is one
        return str(value)
    if math.isnan(value):
        return ""
    return format(value, ".0f" if abs(value) >= 1000 or value.is_integer() else ".4g")


_WIDTH = 80
# column -> that of its standard deviation, and digits after the point
_TIME = ("training_time_s", "training_time_std", 2)


class BenchmarkTable(pd.DataFrame):
    """What :func:`benchmark_table` returns: a data frame, but for how it prints."""

    @property
    def _constructor(self) -> Callable[..., BenchmarkTable]:
        return BenchmarkTable

    def __repr__(self) -> str:
        """Write the table whole, in lines of at most 80 characters."""
        return _in_lines(_columns(self), list(map(str, self.index)))

    def _repr_html_(self) -> str:
        """Write the table for notebooks."""
        columns = {column.header[0]: column.cells for column in _columns(self)}
        return pd.DataFrame(columns, index=self.index).to_html(border=0)


class Column(NamedTuple):
    """A column to print."""

    header: list[str]  # its lines
    cells: list[str]
    is_number: bool


def _columns(table: pd.DataFrame) -> list[Column]:
    names = list(map(str, table.columns))
    spreads: dict[str, tuple[str, int]] = {}
    if len(set(names)) == len(names):  # not so after a join of the reader's own
        spreads = {name: (f"{name}_std", 4) for name in names}
        spreads[_TIME[0]] = _TIME[1:]
    hidden = {std for name, (std, _) in spreads.items() if name in names}
    columns = []
    for position, name in enumerate(names):
        if name in hidden:
            continue
        values = table.iloc[:, position]
        std, digits = spreads.get(name, ("", 4))
        if std in names:
            pairs = zip(values, table[std], strict=True)
            cells = [_with_spread(mean, spread, digits) for mean, spread in pairs]
        else:
            cells = [
                " ".join(format_value(value).split()) for value in values.astype(object)
            ]
        columns.append(Column([name], cells, is_number=name != "model"))
    return columns


def _with_spread(mean: float, spread: float, digits: int) -> str:
    if pd.isna(mean):
        return ""
    return f"{mean:.{digits}f}" + ("" if pd.isna(spread) else f" ± {spread:.{digits}f}")


def _in_lines(columns: list[Column], index: list[str]) -> str:
    """Lay columns out, those that find no room below the others."""
    side = max(map(len, index), default=0)
    if side + sum(2 + _width(column) for column in columns) > _WIDTH:
        columns = list(map(_broken, columns))
    blocks: list[list[Column]] = [[]]
    room = _WIDTH - side
    for column in columns:
        room -= 2 + _width(column)
        if room < 0 and blocks[-1]:
            blocks.append([])
            room = _WIDTH - side - 2 - _width(column)
        blocks[-1].append(column)
    return "\n\n".join(_block(block, index, side) for block in blocks)


def _broken(column: Column) -> Column:
    """Break a header after underscores, as often as its column is narrow."""
    (name,) = column.header
    parts = [part for part in name.replace("_", "_\0").split("\0") if part]
    room = max(map(len, [*parts, *column.cells]))
    lines = [""]
    for part in parts:
        if len(lines[-1] + part) > room:
            lines.append("")
        lines[-1] += part
    return column._replace(header=lines)


def _width(column: Column) -> int:
    return max(map(len, [*column.header, *column.cells]))


def _block(columns: list[Column], index: list[str], side: int) -> str:
    height = max((len(column.header) for column in columns), default=1)
    lines = [[" " * side] for _ in range(height)]
    lines += [[label.ljust(side)] for label in index]
    for column in columns:
        above = [""] * (height - len(column.header))
        width = _width(column)
        for line, cell in zip(
            lines, [*above, *column.header, *column.cells], strict=True
        ):
            line.append(cell.rjust(width) if column.is_number else cell.ljust(width))
    return "\n".join("  ".join(line).rstrip() for line in lines)


class Candidates(NamedTuple):
    """What one search tried."""

    params: Sequence[Mapping[str, Any]]
    models: list[str]  # class of each
    known: Mapping[str, Any]  # parameters of the estimator that was searched with


def hyper_parameters(
    searches: Sequence[Candidates], taken: set[str]
) -> dict[str, pd.Series]:
    """Make a column for each hyper-parameter that varies.

    Parameters
    ----------
    searches : sequence of Candidates
        Their rows follow each other.
    taken : set of str
        Names of columns that there are already.
    """
    models = [model for search in searches for model in search.models]
    columns = {}
    for label, names in _labels(searches).items():
        values: list[Any] = []
        told: set[str] = set()
        for search in searches:
            of_search = [_value(p, search.known, label, names) for p in search.params]
            values += of_search
            if search.known or any(search.params):  # not of a cross-validation
                told.update(map(repr, of_search))
        if len(told) == 1:
            continue
        shown = _short_names(values)
        if list(map(str, shown)) == models:
            continue  # the swapped model itself
        # As objects, integers beside nan stay integers and None stays None.
        as_object = any(v is None or v is math.nan for v in shown)
        column = f"param_{label}" if label in taken else label
        columns[column] = pd.Series(shown, dtype=object if as_object else None)
    return columns


def _labels(searches: Sequence[Candidates]) -> dict[str, list[str]]:
    """Group the parameters' names by their last part, where that tells them apart."""
    of_search = [
        list(dict.fromkeys(name for params in search.params for name in params))
        for search in searches
    ]
    ambiguous = {
        last
        for names in of_search
        for last, count in Counter(map(_last_part, names)).items()
        if count > 1
    }
    labels: dict[str, list[str]] = {}
    for name in dict.fromkeys(name for names in of_search for name in names):
        last = _last_part(name)
        labels.setdefault(name if last in ambiguous else last, []).append(name)
    return labels


def _value(
    params: Mapping[str, Any], known: Mapping[str, Any], label: str, names: list[str]
) -> Any:
    """Find a candidate's value: its own, or else that of its estimator."""
    for name in names:
        if name in params:
            return params[name]
    # What belongs to a step that the candidate replaces is not known.
    kept = {
        name: value
        for name, value in known.items()
        if (name in names or _last_part(name) == label)
        and not any(name.startswith(f"{step}__") for step in params)
    }
    named = [value for name, value in kept.items() if name in names]
    found = named or list(kept.values())
    return found[0] if len(found) == 1 else math.nan


def _last_part(name: str) -> str:
    return name.rpartition("__")[2]


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
    >>> from fmnist_sklearn.benchmark import benchmark_table
    >>> X, y = load_iris(return_X_y=True)
    >>> search = GridSearchCV(LogisticRegression(max_iter=1000), {"C": [0.01, 1]})
    >>> table = benchmark_table(search.fit(X, y))
    >>> table[["model", "accuracy", "accuracy_std", "C"]]
       model                     accuracy     C
    0  LogisticRegression  0.8600 ± 0.0772  0.01
    1  LogisticRegression  0.9733 ± 0.0249     1
    """
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
