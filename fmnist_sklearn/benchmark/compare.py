"""Whether one row is better than another: paired tests, corrections, and a sentence."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from scipy import stats

LEVEL = 0.05  # p values below it are called a difference; intervals are of 1 - LEVEL
_NUMBERS = ["difference", "difference_low", "difference_high", "p_value"]
_N_NAMED = 4  # rows that a sentence names; of more it gives the number


class Difference(NamedTuple):
    """The difference of two models, its confidence interval and its p value."""

    difference: float
    low: float
    high: float
    p_value: float


def corrected_t_test(
    scores: Any, reference_scores: Any, *, n_train: float, n_test: float
) -> Difference:
    """Test whether a model's scores on folds differ from those of another model.

    The training sets of folds overlap, so that scores of different folds are
    correlated, and the ordinary paired t-test finds differences where there are none.
    Nadeau and Bengio's corrected resampled t-test has the variance
    ``(1 / k + n_test / n_train) * s**2``, where k is the number of folds and s the
    standard deviation of the k differences.

    Parameters
    ----------
    scores, reference_scores : array-like of shape (n_folds,)
        Scores of both models on the same folds, in the same order.
    n_train, n_test : float
        Numbers of rows of a fold, to train and to test on. Only their ratio matters.

    Returns
    -------
    result : Difference
        ``difference`` is the mean of `scores` minus that of `reference_scores`;
        ``low`` and ``high`` bound its 95 % confidence interval; ``p_value`` is
        two-sided. If the difference is the same in every fold, its spread is unknown:
        the interval and the p value are nan, or 0 and 1 where all scores are equal.

    Raises
    ------
    ValueError
        If the scores do not pair, are fewer than two, or not finite, and for a
        parameter out of range.

    References
    ----------
    Nadeau and Bengio (2003), "Inference for the generalization error", Machine
    Learning 52.

    Examples
    --------
    Of ten folds of 100 rows, each tests on 10:

    >>> from fmnist_sklearn.benchmark import corrected_t_test
    >>> a = [0.9, 0.8, 0.9, 0.9, 1.0, 0.8, 0.9, 0.7, 0.9, 0.9]
    >>> b = [0.8, 0.8, 0.9, 0.7, 0.9, 0.8, 0.8, 0.7, 0.9, 0.8]
    >>> result = corrected_t_test(a, b, n_train=90, n_test=10)
    >>> round(result.difference, 4), round(result.p_value, 4)
    (0.06, 0.0947)
    """
    a, b = np.asarray(scores, dtype=float), np.asarray(reference_scores, dtype=float)
    if a.shape != b.shape or a.ndim != 1 or len(a) < 2 or not np.isfinite(a + b).all():
        raise ValueError(
            "scores and reference_scores must be two or more finite scores each, one "
            f"for each fold; got the shapes {a.shape} and {b.shape}, and "
            f"{np.sum(~np.isfinite(a)) + np.sum(~np.isfinite(b))} that are not finite."
        )
    if not (n_train > 0 and n_test > 0):
        raise ValueError(
            f"n_train and n_test must be above 0; got {n_train!r} and {n_test!r}."
        )
    k, mean = len(a), float(np.mean(a - b))
    rounding = 1e-12 * max(np.abs(a).max(), np.abs(b).max())
    if np.ptp(a - b) <= rounding:
        unknown = math.nan if abs(mean) > rounding else 0.0
        return Difference(mean, unknown, unknown, 1.0 - unknown)
    error = math.sqrt((1 / k + n_test / n_train) * np.var(a - b, ddof=1))
    half = stats.t.ppf(1 - LEVEL / 2, k - 1) * error
    p_value = 2 * stats.t.sf(abs(mean) / error, k - 1)
    return Difference(mean, mean - half, mean + half, float(p_value))


def mcnemar_test(is_right: Any, reference_is_right: Any) -> Difference:
    """Test whether a model's accuracy differs from another's on the same test rows.

    Parameters
    ----------
    is_right, reference_is_right : array-like of bool of shape (n,)
        Whether each model's prediction of each test row is right.

    Returns
    -------
    result : Difference
        The difference of the accuracies; its 95 % interval by Bonett and Price, which
        is approximate; the two-sided p value of McNemar's exact test, which looks at
        the rows that only one of the models predicts right. Near the limit of
        significance, the two may disagree.

    Raises
    ------
    ValueError
        If the predictions do not pair.

    References
    ----------
    McNemar (1947), "Note on the sampling error of the difference between correlated
    proportions or percentages", Psychometrika 12. Bonett and Price (2012), "Adjusted
    Wald confidence interval for a difference of binomial proportions based on paired
    data", Journal of Educational and Behavioral Statistics 37.

    Examples
    --------
    Both are right on 80 rows, only the first on 12, only the second on 4:

    >>> from fmnist_sklearn.benchmark import mcnemar_test
    >>> first = [True] * 80 + [True] * 12 + [False] * 8
    >>> second = [True] * 80 + [False] * 12 + [True] * 4 + [False] * 4
    >>> result = mcnemar_test(first, second)
    >>> round(result.difference, 4), round(result.p_value, 4)
    (0.08, 0.0768)
    """
    a, b = np.asarray(is_right, dtype=bool), np.asarray(reference_is_right, dtype=bool)
    if a.shape != b.shape or a.ndim != 1 or not len(a):
        raise ValueError(
            "is_right and reference_is_right must have a value for each test row; got "
            f"the shapes {a.shape} and {b.shape}."
        )
    n, n_first, n_second = len(a), int(np.sum(a & ~b)), int(np.sum(b & ~a))
    n_differ = n_first + n_second
    p_value = stats.binomtest(n_first, n_differ).pvalue if n_differ else 1.0
    first, second = (n_first + 1) / (n + 2), (n_second + 1) / (n + 2)
    center = first - second
    error = math.sqrt((first + second - center**2) / (n + 2))
    half = stats.norm.ppf(1 - LEVEL / 2) * error
    difference = (n_first - n_second) / n
    return Difference(difference, center - half, center + half, float(p_value))


def holm(p_values: Any, n_hypotheses: int | None = None) -> np.ndarray:
    """Correct p values for their number, by Holm's step-down method.

    Parameters
    ----------
    p_values : array-like of shape (n,)
        nan is left as it is, and not counted.
    n_hypotheses : int, default=None
        Number of hypotheses that could have been tested, if more than n.

    Returns
    -------
    corrected : ndarray of shape (n,)
        Below a level where the hypothesis is rejected with that familywise level.

    Examples
    --------
    >>> from fmnist_sklearn.benchmark.compare import holm
    >>> holm([0.01, 0.04, 0.03]).round(4).tolist()
    [0.03, 0.06, 0.06]
    """
    corrected = np.array(p_values, dtype=float)
    known = np.flatnonzero(np.isfinite(corrected))
    order = known[np.argsort(corrected[known], kind="stable")]
    # As if the p values of hypotheses that were not tested were larger than all these.
    factors = (n_hypotheses or len(order)) - np.arange(len(order))
    corrected[order] = np.maximum.accumulate(factors * corrected[order]).clip(max=1)
    return corrected


# Rows of a table --------------------------------------------------------------------


@dataclass(frozen=True)
class Scored:
    """A row to compare: what it scored, and on what.

    Parameters
    ----------
    name : str
        Of the row.
    score, time : float
        Mean score, and seconds of training; nan where unknown.
    values : ndarray
        Scores of the folds, or whether each test row was predicted right.
    rows : hashable
        Identifies the rows of data that `values` belong to, in their order: values are
        paired only where these are equal.
    sizes : tuple of float, default=None
        Rows of a fold to train and to test on, up to a common factor. None: `values`
        are those of a single test set.
    unknown : str, default=""
        Why the row cannot be tested, if it cannot.
    """

    name: str
    score: float
    time: float
    values: np.ndarray
    rows: Hashable
    sizes: tuple[float, float] | None = None
    unknown: str = ""


def compare_rows(
    rows: Sequence[Scored], reference: str | int | None, *, best: int
) -> pd.DataFrame:
    """Compare rows with one of them.

    Parameters
    ----------
    rows : sequence of Scored
        All rows of a table.
    reference : str, int or None
        Name or position of the row to compare with. None: the best.
    best : int
        Position of the best row. Where folds are compared, it is assumed to be the
        best of their scores: any pair of rows could have been compared, and Holm's
        correction counts all pairs. (Of eight equal rows, the best differs from the
        worst.) The best by validation was chosen without the test set.

    Returns
    -------
    table : pandas.DataFrame
        As :func:`~fmnist_sklearn.compare_models` describes it.
    """
    columns = ["model", "score", "training_time_s"]
    table = pd.DataFrame([(r.name, r.score, r.time) for r in rows], columns=columns)
    index = best if reference is None else _find_row(list(table["model"]), reference)
    found = [_compare(row, rows[index]) for row in rows]
    table[_NUMBERS] = [difference for difference, _ in found]
    n_pairs = n_tested = int(table["p_value"].notna().sum())
    if reference is None and rows[best].sizes is not None:
        n_pairs = n_tested * (n_tested + 1) // 2
    table["p_holm"] = holm(table["p_value"], n_pairs)
    table["comparison"] = [text for _, text in found]
    table["dominated_by"] = [_find_dominating(row, rows) for row in rows]
    return table


def _find_row(names: list[str], reference: str | int) -> int:
    """Find a row by its name or position."""
    found = [i for i, name in enumerate(names) if reference in (i, name)]
    if len(found) != 1:
        raise ValueError(
            f"reference must be the name or the position of one row, of {names}; got "
            f"{reference!r}."
        )
    return found[0]


def _compare(row: Scored, other: Scored) -> tuple[Difference, str]:
    """Test a row against another; return what was found, and by which test or why not.

    The difference is known also where it cannot be tested.
    """
    nothing = Difference(row.score - other.score, *[math.nan] * 3)
    if row is other:
        return nothing, "reference"
    if unknown := row.unknown or other.unknown:
        return nothing, f"not tested: {unknown}"
    if row.rows != other.rows:
        return nothing, f"not tested: folds other than those of {other.name}"
    if row.sizes is None:
        found = mcnemar_test(row.values, other.values)
        return found, f"McNemar's exact test, {len(row.values):,} test images"
    n_train, n_test = row.sizes
    found = corrected_t_test(row.values, other.values, n_train=n_train, n_test=n_test)
    if math.isnan(found.p_value):
        return found, "not tested: the difference is the same in every fold"
    return found, f"corrected t-test, {len(row.values)} folds"


def _find_dominating(row: Scored, rows: Sequence[Scored]) -> str:
    """Name the best of the rows that are both better and faster, or nothing."""
    better = [o for o in rows if o.score > row.score and o.time < row.time]
    return max(better, key=lambda other: other.score).name if better else ""


def describe_comparison(table: pd.DataFrame) -> str:
    """Say in one clause which rows differ from the reference, with the numbers.

    Parameters
    ----------
    table : pandas.DataFrame
        What :func:`compare_rows` returns.
    """
    others = table[table["comparison"] != "reference"]
    tested = others[others["p_holm"].notna()]
    is_clear = tested["p_holm"] < LEVEL
    groups = {
        "not distinguishable from it": tested[~is_clear],
        "worse": tested[is_clear & (tested["difference"] < 0)],
        "better": tested[is_clear & (tested["difference"] > 0)],
        "not tested": others[others["p_holm"].isna()],
    }
    named = {label: _list_rows(rows) for label, rows in groups.items()}
    clauses = [f"{label}: {text}" for label, text in named.items() if text]
    tests = tested["comparison"].unique().tolist()
    is_corrected = (tested["p_holm"] != tested["p_value"]).any()
    correction = ", p corrected by Holm" if is_corrected else ""
    by = f" ({' and '.join(tests)}{correction})" if tests else ""
    return ("; ".join(clauses) or "no other row to compare with") + by


def _list_rows(rows: pd.DataFrame) -> str:
    """Name rows with their numbers, the nearest first."""
    nearest = rows.sort_values("difference", ascending=False, kind="stable")
    texts = []
    for row in nearest.head(_N_NAMED).to_dict("records"):
        difference, p_value = row["difference"], row["p_holm"]
        reason = row["comparison"].removeprefix("not tested: ")
        numbers = [] if math.isnan(difference) else [f"{difference:+.4f}"]
        numbers.append(reason if math.isnan(p_value) else format_p(p_value))
        texts.append(f"{row['model']} ({', '.join(numbers)})")
    more = len(rows) - len(texts)
    return ", ".join(texts) + (f" and {more} more" if more else "")


def format_p(p_value: float) -> str:
    """Write a p value with two digits.

    Examples
    --------
    >>> from fmnist_sklearn.benchmark.compare import format_p
    >>> [format_p(p) for p in (0.4213, 0.00012, 1.0)]
    ['p = 0.42', 'p < 0.001', 'p = 1']
    """
    return "p < 0.001" if p_value < 0.001 else f"p = {p_value:.2g}"


# Several data sets ------------------------------------------------------------------


class Ranks(NamedTuple):
    """Mean ranks of models over data sets, and the tests of their differences."""

    mean_ranks: np.ndarray  # (n_models,); the best model of a set has rank 1
    p_value: float
    critical_difference: float


def rank_models(scores: Any) -> Ranks:
    """Rank models on several data sets, and test whether they differ.

    Parameters
    ----------
    scores : array-like of shape (n_sets, n_models)
        A score of each model on each set; the higher, the better.

    Returns
    -------
    ranks : Ranks
        Mean ranks, equal scores sharing theirs; the p value of Friedman's test; and
        Nemenyi's critical difference at the level 0.05, by which the mean ranks of
        two models must differ. p value and critical difference are nan for fewer than
        three models or two sets, for which these tests are not defined.

    Raises
    ------
    ValueError
        If `scores` is not a table of finite numbers.

    References
    ----------
    Demsar (2006), "Statistical comparisons of classifiers over multiple data sets",
    Journal of Machine Learning Research 7.

    Examples
    --------
    >>> from fmnist_sklearn.benchmark import rank_models
    >>> ranks = rank_models([[0.9, 0.8, 0.7], [0.9, 0.8, 0.6], [0.8, 0.9, 0.5]])
    >>> ranks.mean_ranks.round(2).tolist(), round(ranks.critical_difference, 2)
    ([1.33, 1.67, 3.0], 1.91)
    """
    scores = np.asarray(scores, dtype=float)
    if scores.ndim != 2 or not scores.size or not np.isfinite(scores).all():
        raise ValueError(
            "scores must be finite, a row for each data set and a column for each "
            f"model; got {scores.tolist()!r}."
        )
    n_sets, n_models = scores.shape
    ranks = stats.rankdata(-scores, axis=1).mean(axis=0)
    if n_sets < 2 or n_models < 3:
        return Ranks(ranks, math.nan, math.nan)
    p_value = 1.0
    if np.ptp(scores, axis=1).any():  # with all scores equal, scipy divides 0 by 0
        p_value = stats.friedmanchisquare(*scores.T).pvalue
    q = stats.studentized_range.ppf(1 - LEVEL, n_models, np.inf) / math.sqrt(2)
    difference = q * math.sqrt(n_models * (n_models + 1) / (6 * n_sets))
    return Ranks(ranks, float(p_value), float(difference))


def compare_ranks(
    names: Sequence[str], ranks: Ranks, n_sets: int, reference: str | int | None
) -> pd.DataFrame:
    """Compare mean ranks, in the columns of :func:`compare_rows`.

    Parameters
    ----------
    names : sequence of str
        The models.
    ranks : Ranks
        Of these models.
    n_sets : int
        Number of data sets.
    reference : str, int or None
        Name or position of the model to compare with. None: the best.
    """
    k, means = len(names), ranks.mean_ranks
    index = means.argmin() if reference is None else _find_row(list(names), reference)
    difference = means[index] - means
    text = f"Nemenyi's test, {n_sets} data sets; Friedman's {format_p(ranks.p_value)}"
    if math.isnan(ranks.p_value):
        text = "not tested: Friedman's test needs three rows and two data sets"
    # Nemenyi's test presupposes that Friedman's test found a difference.
    q = np.abs(difference) / math.sqrt(k * (k + 1) / (12 * n_sets))
    p_values = np.maximum(stats.studentized_range.sf(q, k, np.inf), ranks.p_value)
    critical = ranks.critical_difference
    table = pd.DataFrame({"model": names, "score": means})
    table[_NUMBERS] = np.transpose(
        [difference, difference - critical, difference + critical, p_values]
    )
    table["p_holm"] = table["p_value"]
    table["comparison"] = text
    table.loc[index, [*_NUMBERS[1:], "p_holm"]] = math.nan
    table.loc[index, "comparison"] = "reference"
    return table
