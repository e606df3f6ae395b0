"""Cross-validation results of any scikit-learn estimator as one table."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from itertools import count, takewhile
from numbers import Integral
from typing import Any, NamedTuple

import joblib
import numpy as np
import pandas as pd
from sklearn import model_selection as splitters
from sklearn.base import is_classifier
from sklearn.metrics import get_scorer
from sklearn.utils.validation import check_is_fitted

from .._sklearn import fitted_model, last_step
from ..displays.style import one_line
from .compare import Scored, compare_rows

MEASURED = (
    "model",
    "accuracy",
    "accuracy_std",
    "training_time_s",
    "training_time_std",
    "epochs",
    "n_parameters",
    "from_memory",
)
_MEANS_ONLY = ("epochs", "n_parameters", "from_memory")
_ROUNDS = ("iter", "n_resources", "n_folds")
# What Markdown takes for markup; "p < 0.1" is none, nor an underscore inside of a word.
_MARKUP = re.compile(r"[\\`*\[\]|~$]|(?<!\w)_|_(?!\w)|<(?=[a-zA-Z/!?])|&(?=[#\w])")

# ``cv`` of k folds, which test each row once, and of several times k folds.
_K_FOLDS = Integral, splitters.KFold, splitters.StratifiedKFold, splitters.GroupKFold
_REPEATED = splitters.RepeatedKFold, splitters.RepeatedStratifiedKFold


def benchmark_scoring() -> dict[str, Callable[..., float]]:
    """Return scorers of accuracy, training time, epochs and number of parameters.

    Use them in :func:`~sklearn.model_selection.cross_validate`, or in a search
    together with ``refit="accuracy"``, and pass the results to
    :func:`benchmark_table`.

    Returns
    -------
    scoring : dict of str to callable
        ``"accuracy"`` is scikit-learn's own scorer. The others read attributes of
        the fitted estimator (of a Pipeline, its last step):

        - ``"training_time_s"``: ``fit_time_``, in seconds;
        - ``"epochs"``: ``n_iter_``, the largest where it holds several;
        - ``"n_parameters"``: ``n_parameters_``, or the sizes of ``coefs_`` and
          ``intercepts_``, or of ``coef_`` and ``intercept_``.

        They give nan for an estimator without these attributes. A search then warns
        that "scores are non-finite", as it does for any nan.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.model_selection import cross_validate
    >>> from fmnist_sklearn.benchmark import benchmark_scoring
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
    """A scorer that reads the fitted estimator and ignores the data.

    A class, since scikit-learn calls ``_accept_sample_weight`` of the scorers of a dict
    when a search is fitted with weights. None of these quantities depends on weights.
    """

    read: Callable[[Any], float]

    def __call__(self, estimator: Any, X: Any = None, y: Any = None, **_: Any) -> float:
        return self.read(estimator)

    def _accept_sample_weight(self) -> bool:
        return True


def _fit_time(estimator: Any) -> float:
    # Not fitted_model: the time of a search is not that of its best estimator.
    return float(getattr(last_step(estimator), "fit_time_", math.nan))


def _epochs(estimator: Any) -> float:
    n_iter = np.asarray(getattr(fitted_model(estimator), "n_iter_", None), dtype=float)
    return float(n_iter.max()) if n_iter.size else math.nan


def _n_parameters(estimator: Any) -> float:
    estimator = fitted_model(estimator)
    if hasattr(estimator, "n_parameters_"):
        return estimator.n_parameters_
    learned: list[Any] = []
    if hasattr(estimator, "coefs_"):
        learned = [*estimator.coefs_, *estimator.intercepts_]
    elif hasattr(estimator, "coef_"):
        learned = [estimator.coef_]
        # Without an intercept, scikit-learn still stores zeros for it.
        if getattr(estimator, "fit_intercept", True):
            learned.append(getattr(estimator, "intercept_", []))
    return sum(map(np.size, learned)) if learned else math.nan


def epoch_rows(estimator: Any) -> list[dict[str, float]]:
    """Return what a fitted network recorded of each epoch, for curves."""
    keys = ("epoch", "train_loss", "valid_loss", "valid_acc", "dur")
    history = estimator.history_
    return [{key: epoch[key] for key in keys if key in epoch} for epoch in history]


# Tables -----------------------------------------------------------------------------


def benchmark_table(results: Any, reference: str | int | None = None) -> pd.DataFrame:
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
        :func:`benchmark_scoring` also hold epochs and numbers of parameters, and
        their own training time is preferred to scikit-learn's ``fit_time``: a fit
        that was read from a cache takes no time but keeps its own.
    reference : str or int, default=None
        Name or position of the row that the others are compared with; "best" is the
        best row. None: do not compare.

    Returns
    -------
    table : pandas.DataFrame
        Rows in the order of the searches or the mapping;
        ``fmnist_sklearn.benchmark.format_table`` makes it narrow enough to print.
        Columns:

        - ``model``: class of the (last step's) estimator, or the mapping's row
          name; "model" where a ``cv_results_`` does not name it;
        - ``accuracy``, ``accuracy_std``: mean and standard deviation over splits, of
          the score named "accuracy" or else of the only score, if that is the accuracy
          (see Notes);
        - ``training_time_s``, ``training_time_std``: the same, in seconds;
        - ``epochs``, ``n_parameters``: means over splits, where known; of a
          :func:`~fmnist_sklearn.run_search` with a memory also ``from_memory``, the
          share of the fits that were read from it;
        - for each further metric that was scored, its mean over splits, and behind it,
          as ``<metric>_std``, the standard deviation;
        - ``iter``, ``n_resources``: of a halving search, whose table keeps each
          candidate once an iteration, as ``cv_results_`` does;
        - ``n_folds``: of a :class:`~fmnist_sklearn.RacingSearchCV`, the folds that a
          candidate was not dropped before;
        - a column for each hyper-parameter that varies, named without its
          prefixes (``clf__lr`` is ``lr``) where that is unambiguous. A candidate that
          does not set it has its estimator's own value, where that is known;
        - with `reference`, the columns of :func:`~fmnist_sklearn.compare_models` from
          ``difference`` to ``dominated_by``.

        Values that a failed fit leaves unknown are nan.

    Raises
    ------
    TypeError
        If `results` is none of the above.
    ValueError
        If the results hold no accuracy, and for a `reference` that is not a row.
    sklearn.exceptions.NotFittedError
        If the search is not fitted.

    Notes
    -----
    A fitted search knows its scorers: another score than the accuracy is refused, and
    so is the default score of a regressor. The result of ``cross_validate`` and a bare
    ``cv_results_`` do not contain the scorers. A score named "accuracy" is trusted
    there; an only score (``test_score``) is taken as the accuracy, the default score of
    a classifier, unless a value is outside 0 to 1. If it is another score, also score
    the accuracy: ``scoring=["accuracy", "f1_macro"]``.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.model_selection import GridSearchCV
    >>> from fmnist_sklearn.benchmark import benchmark_table, format_table
    >>> X, y = load_iris(return_X_y=True)
    >>> search = GridSearchCV(LogisticRegression(max_iter=1000), {"C": [0.01, 1]})
    >>> table = benchmark_table(search.fit(X, y))
    >>> table[["accuracy", "C"]].round(4)
       accuracy     C
    0    0.8600  0.01
    1    0.9733  1.00
    >>> format_table(table[["model", "accuracy", "accuracy_std", "C"]])
                    model         accuracy     C
    0  LogisticRegression  0.8600 ± 0.0772  0.01
    1  LogisticRegression  0.9733 ± 0.0249     1
    """
    parts = _find_parts(results)
    table, varied = _tabulate(parts)
    if reference is not None:
        given = None if reference == "best" else reference
        varied |= compare_models(results, given).loc[:, "difference":]
    return table.assign(**varied)


def _tabulate(parts: list[_Part]) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Return what was measured of each row, and the columns of what varies."""
    frames = [pd.DataFrame(part.measured) for part in parts]
    table = pd.concat(frames, ignore_index=True)
    for name in table.columns.intersection([*_MEANS_ONLY, *_ROUNDS]):
        if table[name].isna().all():
            del table[name]
        elif (table[name] % 1 == 0).all():
            table[name] = table[name].astype(int)
    last = [name for name in _ROUNDS if name in table]
    table = table[[*table.columns.difference(last, sort=False), *last]]
    taken = {*table.columns, *MEASURED, *_ROUNDS}
    return table, _varied_parameters(parts, taken)


def compare_models(
    results: Any,
    reference: str | int | None = None,
    *,
    test_size: float | None = None,
) -> pd.DataFrame:
    """Compare models with one of them, and test whether the differences are noise.

    Two rows are tested only if they are known to have been scored on the same rows of
    data: candidates of one search; results of ``cross_validate`` with
    ``return_indices=True`` and equal indices, of the same data; rows of one benchmark.

    Parameters
    ----------
    results : fitted search, ``cv_results_``, mapping, list, or result of a run
        What :func:`benchmark_table` takes, or what :func:`run_benchmark` and
        :func:`run_search` return. The score named "accuracy" is compared, or else
        the only score, whichever that is; the larger, the better.
    reference : str or int, default=None
        Name or position of the row that the others are compared with. None: the best.
    test_size : float, default=None
        Share of the rows of data that each fold tests on, where a search does not
        contain it: of splitters other than scikit-learn's k-fold ones and shuffled
        splits with a share as ``test_size``, and of a bare ``cv_results_``.

    Returns
    -------
    table : pandas.DataFrame
        A row for each model, in their order, with the columns

        - ``model``: name of the row, with its varied parameters;
        - ``score``, ``training_time_s``: means;
        - ``difference``: of the score to the reference's;
          ``difference_low``, ``difference_high``: its 95 % confidence interval;
        - ``p_value``: two-sided, of Nadeau and Bengio's corrected t-test over folds
          (:func:`~fmnist_sklearn.benchmark.corrected_t_test`), or of McNemar's exact
          test on one test set (:func:`~fmnist_sklearn.benchmark.mcnemar_test`);
        - ``p_holm``: the same, corrected for the number of rows by Holm's method. If
          the reference is chosen as the best by the scores that are compared, all
          pairs of rows count;
        - ``comparison``: the test, or why there is none;
        - ``dominated_by``: the best of the rows that have both a better mean score and
          a shorter mean time, or nothing.

    Raises
    ------
    TypeError
        If `results` is none of the above.
    ValueError
        If `reference` is not a row, or the results hold several scores and no
        accuracy.

    References
    ----------
    Nadeau and Bengio (2003), "Inference for the generalization error", Machine
    Learning 52. Holm (1979), "A simple sequentially rejective multiple test
    procedure", Scandinavian Journal of Statistics 6.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.model_selection import GridSearchCV
    >>> from fmnist_sklearn import compare_models
    >>> X, y = load_iris(return_X_y=True)
    >>> grid = {"C": [0.001, 0.1, 1.0]}
    >>> search = GridSearchCV(LogisticRegression(max_iter=1000), grid, cv=10)
    >>> table = compare_models(search.fit(X, y))
    >>> table[["model", "difference", "p_holm"]].round(3)
                              model  difference  p_holm
    0  LogisticRegression (C=0.001)      -0.233   0.000
    1    LogisticRegression (C=0.1)      -0.020   0.717
    2    LogisticRegression (C=1.0)       0.000     NaN
    """
    if test_size is not None and not 0 < test_size < 1:
        raise ValueError(f"test_size must be between 0 and 1; got {test_size!r}.")
    if hasattr(results, "verdict"):
        return results.compare(reference)
    rows, best = scored_rows(results, test_size)
    return compare_rows(rows, reference, best=best)


def scored_rows(
    results: Any, test_size: float | None = None
) -> tuple[list[Scored], int]:
    """Return the rows to compare, and the position of the best.

    Parameters
    ----------
    results, test_size
        As for :func:`compare_models`. Of a halving search, the best row is one of the
        last iteration, and of a race one of those with the most folds.
    """
    parts = _find_parts(results, is_any_score=True)
    table, varied = _tabulate(parts)
    labels = pd.DataFrame({"model": table["model"], **varied})
    names = _row_names(labels)
    if len(set(names)) < len(names) and "n_resources" in table:
        names = _row_names(labels.assign(n_resources=table["n_resources"]))
    means = zip(names, table["accuracy"], table["training_time_s"], strict=True)
    rows: list[Scored] = []
    ranked: list[float] = []
    for part in parts:
        sizes = part.sizes if test_size is None else (1 - test_size, test_size)
        rounds = [part.measured[name] for name in _ROUNDS[::2] if name in part.measured]
        iterations = np.asarray(rounds[0] if rounds else [0] * len(part.params))
        for values, iteration in zip(part.scores.T, iterations, strict=True):
            name, score, time = next(means)
            reasons = {
                "not trained in all folds": "n_folds" in part.measured
                and iteration < len(values),
                "an earlier iteration": iteration < iterations.max(),
                "no scores of several folds": len(values) < 2,
                "a fit failed": not np.isfinite(values).all(),
                "folds not recorded, as return_indices=True does": part.rows is None,
                "sizes of the folds unknown, give test_size": not sizes,
            }
            unknown = next((why for why, holds in reasons.items() if holds), "")
            rows.append(Scored(name, score, time, values, part.rows, sizes, unknown))
            ranked.append(score if iteration == iterations.max() else math.nan)
    return rows, int(np.argmax(np.nan_to_num(ranked, nan=-math.inf)))


def _row_names(labels: pd.DataFrame) -> list[str]:
    """Name rows by their model and what varies."""
    names = []
    for model, *values in labels.itertuples(index=False):
        pairs = zip(labels.columns[1:], values, strict=True)
        params = {name: value for name, value in pairs if value is not math.nan}
        names.append(f"{model} ({describe_params(params)})" if params else str(model))
    return names


def describe_params(params: Mapping[str, Any]) -> str:
    """Name a candidate by its parameters, classes and functions by their names."""
    named = {k: getattr(value, "__name__", value) for k, value in params.items()}
    return ", ".join(f"{name}={value}" for name, value in named.items())


class _Part(NamedTuple):
    """The rows of one search, or the one row of a cross-validation."""

    measured: dict[str, Any]  # column -> values
    params: Sequence[Mapping[str, Any]]  # of each candidate
    models: list[str]  # class of each
    known: Mapping[str, Any]  # parameters of the estimator that was searched with
    scores: np.ndarray  # (n_folds, n_candidates)
    rows: Hashable  # identifies the folds; None: not known
    sizes: tuple[float, float] | None  # of a fold, see Scored


def _find_parts(results: Any, *, is_any_score: bool = False) -> list[_Part]:
    """Split `results` into searches and cross-validations."""
    named: list[tuple[str | None, Any]] = []
    if _is_search(results):
        named = [(None, results)]
    elif isinstance(results, Mapping):
        named = [(str(name), result) for name, result in results.items()]
    elif isinstance(results, list | tuple):
        named = [(None, result) for result in results]
    # A cross-validation needs a name; a search has that of its model.
    if named and all(
        _is_search(result) or (name is not None and isinstance(result, Mapping))
        for name, result in named
    ):
        return [_part(name, result, is_any_score) for name, result in named]
    got = " ".join(repr(results).split())[:200]
    raise TypeError(
        "results must be a fitted search, its cv_results_, a list of these, or a "
        "mapping from row name to cross_validate result ({'my model': result}); got "
        f"{got}."
    )


def _is_search(results: Any) -> bool:
    """Whether it is a search, fitted or not, or the ``cv_results_`` of one."""
    if isinstance(results, Mapping):
        return isinstance(results.get("params"), Sequence | np.ndarray)
    # Searches have an error_score, and no other estimator has.
    return hasattr(results, "cv_results_") or hasattr(results, "error_score")


def _part(name: str | None, results: Any, is_any_score: bool) -> _Part:
    """Check and take one search or one cross-validation."""
    owner = "results" if name is None else repr(name)
    estimator = search = rows = sizes = None
    cv_results, prefix = results, "mean_"
    if not isinstance(results, Mapping):
        check_is_fitted(results, "cv_results_")
        search, estimator, owner = results, results.estimator, "results"
        cv_results, sizes = results.cv_results_, _fold_sizes(results)
    elif not _is_search(results):
        prefix = ""
    _check_scores(owner, cv_results, prefix, search, is_any_score)
    if prefix:
        # Candidates of a search are scored on the same folds.
        rows = id(cv_results)
    else:
        if "indices" in results:
            rows = joblib.hash(results["indices"])
            sizes = _mean_sizes(*(results["indices"][key] for key in ("train", "test")))
        cv_results = _summary(results)
    score = "accuracy" if "mean_test_accuracy" in cv_results else "score"
    params = list(cv_results["params"])
    models = ["model"] * len(params)  # which a bare cv_results_ does not name
    if estimator is not None:
        models = [type(last_step(estimator, p)).__name__ for p in params]
    measured = {
        "model": models if name is None else [name] * len(models),
        **_measures(cv_results, score),
        **{key: cv_results[key] for key in _ROUNDS if key in cv_results},
    }
    known = {} if estimator is None else estimator.get_params()
    keys = (f"split{i}_test_{score}" for i in count())
    splits = [cv_results[key] for key in takewhile(cv_results.__contains__, keys)]
    scores = np.array(splits, dtype=float).reshape(-1, len(params))
    return _Part(measured, params, models, known, scores, rows, sizes)


def _fold_sizes(search: Any) -> tuple[float, float] | None:
    """Return how many rows a fold of a search has to train and to test on.

    A search keeps its splitter but no indices, so that only the ratio is known.
    """
    cv = search.cv
    if cv is None or isinstance(cv, _K_FOLDS + _REPEATED):
        return search.n_splits_ / getattr(cv, "n_repeats", 1) - 1, 1
    if isinstance(cv, list):
        return _mean_sizes(*zip(*cv, strict=True))
    if isinstance(cv, splitters.BaseShuffleSplit) and isinstance(cv.test_size, float):
        return 1 - cv.test_size, cv.test_size
    return None


def _mean_sizes(train: Any, test: Any) -> tuple[float, float]:
    """Return the mean numbers of rows of folds, given their indices or masks."""

    def size(fold: Any) -> int:
        return np.sum(fold) if np.asarray(fold).dtype == bool else len(fold)

    return float(np.mean([*map(size, train)])), float(np.mean([*map(size, test)]))


def _summary(result: Mapping[str, Any]) -> dict[str, Any]:
    """Write a ``cross_validate`` result as the ``cv_results_`` of one candidate."""
    summary: dict[str, Any] = {"params": [{}]}
    for key, values in result.items():
        if key == "fit_time" or key.startswith("test_"):
            splits = np.asarray(values, dtype=float)
            summary[f"mean_{key}"] = [splits.mean()]
            summary[f"std_{key}"] = [splits.std()]
            summary |= {f"split{i}_{key}": [x] for i, x in enumerate(splits)}
    return summary


def _measures(cv_results: Mapping[str, Any], score: str) -> dict[str, np.ndarray]:
    """Columns of what was measured, from ``cv_results_`` or what is like it."""
    unknown = np.full(len(cv_results[f"mean_test_{score}"]), math.nan)

    def column(name: str) -> np.ndarray:
        return np.array(cv_results.get(name, unknown), dtype=float)

    accuracy = column(f"mean_test_{score}")
    columns = {"accuracy": accuracy, "accuracy_std": column(f"std_test_{score}")}
    is_timed = np.isfinite(column("mean_test_training_time_s"))
    for name, statistic in (("training_time_s", "mean"), ("training_time_std", "std")):
        measured = column(f"{statistic}_test_training_time_s")
        # The time until a fit failed is not a training time.
        is_known = is_timed | np.isnan(accuracy)
        columns[name] = np.where(is_known, measured, column(f"{statistic}_fit_time"))
    for name in _MEANS_ONLY:
        columns[name] = column(f"mean_test_{name}")
    for key in cv_results:
        metric = key.removeprefix("mean_test_")
        if metric in (key, score, "training_time_s", *_MEANS_ONLY):
            continue
        columns[metric] = column(key)
        columns[f"{metric}_std"] = column(f"std_test_{metric}")
    # Some searches need a "score", which is the accuracy under a second name.
    if "score" in columns and np.array_equal(columns["score"], accuracy, True):
        del columns["score"], columns["score_std"]
    return columns


# Whether it is the accuracy that was scored -----------------------------------------


def _check_scores(
    owner: str, results: Mapping[str, Any], prefix: str, search: Any, is_any: bool
) -> None:
    """Raise if results do not hold the accuracy, as far as that can be known.

    With `is_any`, an only score may be another one. A fitted search knows its scorers;
    of other results, a score named "accuracy" is trusted, and of an only score the
    values count.
    """
    start = f"{prefix}test_"
    got = [key.removeprefix(prefix) for key in results if key.startswith(start)]
    name = "accuracy" if "test_accuracy" in got else "score"
    if f"test_{name}" in got and search is not None and not is_any:
        if _is_accuracy(search, name):
            return
        owner, got = "the search", [str(search.scoring or search.scorer_)]
    elif f"test_{name}" in got and (is_any or name == "accuracy"):
        return
    elif got == ["test_score"]:
        values = np.asarray(results[f"{start}score"], dtype=float)
        if not np.any((values < 0) | (values > 1)):
            return
        got = [f"test_score with values such as {values[0]:.3g}"]
    raise ValueError(
        f"{owner} must hold an accuracy to tabulate; got {got}. Cross-validate with "
        "scoring='accuracy' or, for epochs and parameters too, with "
        "scoring=benchmark_scoring() (a search also with refit='accuracy')."
    )


def _is_accuracy(search: Any, name: str) -> bool:
    """Whether a score of a fitted search is the accuracy, as classifiers' own is."""
    if search.scoring is None:
        params = search.cv_results_["params"]
        return all(is_classifier(last_step(search.estimator, p)) for p in params)
    scorer = search.scorer_
    if isinstance(scorer, Mapping):
        scorer = scorer[name]
    elif name == "accuracy":  # of a function that returns several scores
        return True
    # Scorers are not comparable. normalize=False and other options are in the repr.
    return repr(scorer) == repr(get_scorer("accuracy"))


# Hyper-parameters -------------------------------------------------------------------


def _varied_parameters(parts: list[_Part], taken: set[str]) -> dict[str, pd.Series]:
    """Make a column for each hyper-parameter that varies; `taken` are other columns."""
    models = [model for part in parts for model in part.models]
    columns = {}
    for label, names in _labels(parts).items():
        values: list[Any] = []
        distinct: set[str] = set()
        for part in parts:
            of_part = [_value(p, part.known, label, names) for p in part.params]
            values += of_part
            if part.known or any(part.params):  # not of a cross-validation
                distinct.update(map(repr, of_part))
        short = _short_names(values)
        # A column of the swapped models themselves would repeat "model".
        if len(distinct) > 1 and list(map(str, short)) != models:
            # As objects, integers stay integers next to nan, and None stays None.
            as_object = any(value is None or value is math.nan for value in short)
            column = f"param_{label}" if label in taken else label
            columns[column] = pd.Series(short, dtype=object if as_object else None)
    return columns


def _labels(parts: list[_Part]) -> dict[str, list[str]]:
    """Group the parameters' names by their last part, where it is unambiguous."""
    ambiguous = {
        last
        for part in parts
        for last, n in Counter(map(_last_part, set().union(*part.params))).items()
        if n > 1
    }
    labels: dict[str, list[str]] = {}
    names = [name for part in parts for params in part.params for name in params]
    for name in dict.fromkeys(names):
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
    # The parameters of a step that the candidate replaces are not known.
    kept = {
        name: value
        for name, value in known.items()
        if not any(name.startswith(f"{step}__") for step in params)
    }
    found = [kept[name] for name in names if name in kept] or [
        value for name, value in kept.items() if _last_part(name) == label
    ]
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
    # Two of one class: write out what differs, on one line.
    return [
        value if name is value else " ".join(repr(value).split())
        for name, value in zip(names, values, strict=True)
    ]


# Tables as texts --------------------------------------------------------------------


def format_table(table: pd.DataFrame) -> pd.DataFrame:
    """Return a table as short texts, each spread behind its mean.

    Parameters
    ----------
    table : pandas.DataFrame
        What :func:`benchmark_table` returns, or columns and rows of it.

    Returns
    -------
    texts : pandas.DataFrame
        Narrow enough to print: a column ``accuracy_std`` becomes the second part of
        ``accuracy``, and so on.

    Examples
    --------
    >>> import pandas as pd
    >>> from fmnist_sklearn.benchmark import format_table
    >>> format_table(pd.DataFrame({"accuracy": [0.90712], "accuracy_std": [0.0031]}))
              accuracy
    0  0.9071 ± 0.0031
    """
    texts = table.astype(object).map(format_value)
    numbers = table.select_dtypes("number")  # users may have formatted a column
    for name in numbers:
        stem = str(name).removesuffix("_s")
        digits = 4 if stem == name else 2  # of seconds
        for spread in numbers.columns.intersection([f"{stem}_std", f"{stem}_se"]):
            texts[name] = [
                "" if math.isnan(mean) else f"{mean:.{digits}f} ± {std:.{digits}f}"
                for mean, std in zip(table[name], table[spread], strict=True)
            ]
            del texts[spread]
    return texts


def format_comparison(comparison: pd.DataFrame) -> pd.DataFrame:
    """Return as short texts what a comparison adds to its table."""
    in_table = ["score", "training_time_s", "p_value"]
    return format_table(comparison.drop(columns=in_table, errors="ignore"))


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
    rows = table.astype(object).map(lambda value: markdown_text(format_value(value)))
    lines = [map(markdown_text, table.columns), rules, *rows.to_numpy()]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def markdown_text(text: Any) -> str:
    """Return a text as a line of Markdown that shows it as it is."""
    escapes = {"<": "&lt;", "&": "&amp;"}
    return _MARKUP.sub(
        lambda found: escapes.get(found[0], f"\\{found[0]}"), one_line(text)
    )


def format_value(value: Any) -> str:
    """Write a value short: four digits, whole numbers as such, nothing for nan."""
    if isinstance(value, str):
        return one_line(value)
    if not isinstance(value, float):  # numpy's float64 is one
        return " ".join(str(value).split())
    if math.isnan(value):
        return ""
    return format(value, ".0f" if abs(value) >= 1000 or value.is_integer() else ".4g")
