"""The model inside Pipelines, searches and wrappers of one estimator."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from sklearn.pipeline import Pipeline


def last_step(estimator: Any, params: Mapping[str, Any] = MappingProxyType({})) -> Any:
    """Find the last step of a Pipeline, fitted or not; other estimators are their own.

    Parameters
    ----------
    estimator : estimator
        A Pipeline, perhaps with a Pipeline as its last step, or anything else.
    params : mapping of str to object
        Parameters that will be set before the fit; ``{"clf": SVC()}`` puts another
        step in the place of "clf".
    """
    prefix = ""
    while isinstance(estimator, Pipeline):
        name, estimator = estimator.steps[-1]
        estimator = params.get(prefix + name, estimator)
        prefix += f"{name}__"
    return estimator


def fitted_model(estimator: Any) -> Any:
    """Find the fitted model: last step, best of a search, or a wrapper's only one."""
    estimator = last_step(estimator)
    for name in ("best_estimator_", "estimator_"):
        # The estimator_ of an ensemble is the unfitted pattern for its estimators_.
        if hasattr(estimator, name) and not hasattr(estimator, "estimators_"):
            return fitted_model(getattr(estimator, name))
    return estimator


def wrong_estimator(function: str, estimator: Any) -> TypeError:
    """Return the error of a function that takes the model alone."""
    return TypeError(
        f"{function} takes a fitted ImageClassifier, LeNet5Classifier or "
        f"MiniVGGClassifier, got an object of class {type(estimator).__name__}; pass "
        "pipeline[-1] of a Pipeline and best_estimator_ of a search, and keep what is "
        "around it with joblib"
    )
