"""In scikit-learn: models in Pipelines and searches, warnings at the user's line."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Mapping
from types import FrameType, MappingProxyType
from typing import Any

from sklearn.exceptions import ConvergenceWarning
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


# Warnings -------------------------------------------------------------------------

# Packages whose frames lie between a fit and the user's line, in a search too.
_BETWEEN = {__name__.partition(".")[0], "contextlib", "joblib", "sklearn"}
# Packages at the outermost frame of a worker process or thread.
_WORKERS = {"concurrent", "distributed", "multiprocessing", "threading"}


def warn_user(message: str, category: type[Warning] = UserWarning) -> None:
    """Warn at the line that called the package, or the search around it.

    ``warnings.warn`` does so with ``skip_file_prefixes`` from Python 3.12 on. The fits
    of a search in other processes and threads issue no ``ConvergenceWarning``.

    Parameters
    ----------
    message : str
        The text.
    category : type of Warning, default=UserWarning
        Its class.
    """
    frame, level = sys._getframe(), 1
    in_search = False
    while frame.f_back and _package(frame) in _BETWEEN:
        # A variable of scikit-learn's function that fits one candidate on one fold.
        in_search |= bool(frame.f_locals.get("candidate_progress"))
        frame, level = frame.f_back, level + 1
    # The last fit of a search, of the best candidate, warns in the user's process.
    in_worker = in_search and _package(frame) in _WORKERS
    if not (in_worker and category is ConvergenceWarning):
        warnings.warn(message, category, stacklevel=level)


def _package(frame: FrameType) -> str:
    return frame.f_globals.get("__name__", "").partition(".")[0]
