"""Scorers for benchmark tables, and which scorers are the accuracy."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.base import ClassifierMixin, is_classifier
from sklearn.metrics import accuracy_score, get_scorer

from .._unwrap import fitted_model, last_step


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


# Which scores are the accuracy -----------------------------------------------------


def search_scores_accuracy(search: Any, name: str) -> bool:
    """Whether what a fitted search scored is known to be the accuracy.

    Parameters
    ----------
    search : fitted search
        With one or several scorers.
    name : str
        Name of a score, as in ``mean_test_<name>``: "score" where there is only one.
    """
    if getattr(search, "scoring", None) is None:
        candidates = search.cv_results_["params"]
        models = (last_step(search.estimator, params) for params in candidates)
        return all(map(_scores_accuracy, models))
    scorer = _scorer_of(search, name)
    if name == "accuracy" and not hasattr(scorer, "_score_func"):
        return True  # a user's function, of that name
    return _is_accuracy(scorer)


def describe_scoring(search: Any, name: str) -> str:
    """Name the scorer of a fitted search, for an error."""
    scoring = getattr(search, "scoring", None)
    return scoring if isinstance(scoring, str) else repr(_scorer_of(search, name))


def _scorer_of(search: Any, name: str) -> Any:
    scorer = getattr(search, "scorer_", getattr(search, "scoring", None))
    if isinstance(scorer, Mapping):
        scorer = scorer[name]
    return get_scorer(scorer) if isinstance(scorer, str) else scorer


def _is_accuracy(scorer: Any) -> bool:
    """Whether a scorer is scikit-learn's accuracy, in its usual direction and unit."""
    # The function decides; of its scorers, normalize=False and others write that out.
    is_made_of_it = getattr(scorer, "_score_func", None) is accuracy_score
    return is_made_of_it and repr(scorer) == repr(get_scorer("accuracy"))


def _scores_accuracy(estimator: Any) -> bool:
    """Whether an estimator's own ``score`` is known to be the accuracy.

    It is where ``score`` is that of ``ClassifierMixin``, as it is or wrapped, and for
    scikit-learn's classifiers, unless their ``scoring``, or the estimator that they
    wrap, scores otherwise.
    """
    classes = (cls for cls in type(estimator).__mro__ if "score" in vars(cls))
    source = next(classes, object)
    if inspect.unwrap(vars(source).get("score", object)) is ClassifierMixin.score:
        return True
    if not (source.__module__.startswith("sklearn.") and is_classifier(estimator)):
        return False
    scoring = getattr(estimator, "scoring", None)
    if scoring is not None:
        return scoring == "accuracy" or _is_accuracy(scoring)
    inner = getattr(estimator, "estimator", None)
    return inner is None or _scores_accuracy(last_step(inner))
