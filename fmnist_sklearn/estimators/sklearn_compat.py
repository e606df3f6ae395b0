"""Fitting in with scikit-learn: its callbacks, and warnings at the caller's line."""

from __future__ import annotations

import copy
import sys
import warnings
from types import FrameType
from typing import Any

from sklearn.exceptions import ConvergenceWarning
from skorch.callbacks import Callback

try:
    from sklearn.callback import CallbackSupportMixin, with_callbacks
except ImportError:  # scikit-learn before 1.9 has no callbacks

    class CallbackSupportMixin:  # type: ignore[no-redef]
        """Stand in for scikit-learn's class."""

    def with_callbacks(method):
        """Return the method unchanged."""
        return method


class FitTasks(Callback):
    """Report a fit and its epochs to scikit-learn's callbacks.

    Parameters
    ----------
    net : ImageClassifier
        The estimator that is fitted, with callbacks set by ``set_callbacks``.
    X, y : array-like
        What ``fit`` received, validated.
    sample_weight : ndarray or None
        Weights of the rows.
    n_epochs : int
        Epochs, at most.
    """

    def __init__(
        self, net: Any, X: Any, y: Any, sample_weight: Any, n_epochs: int
    ) -> None:
        metadata = None if sample_weight is None else {"sample_weight": sample_weight}
        self.data_ = {"X": X, "y": y, "metadata": metadata}
        self.fit_context_ = net._init_callback_context(max_subtasks=n_epochs)
        self.fit_context_.call_on_fit_task_begin(estimator=net, **self.data_)

    def on_epoch_begin(self, net, dataset_train=None, dataset_valid=None, **kwargs):
        """Open the task of an epoch."""
        self.epoch_context_ = self.fit_context_.subcontext(task_name="epoch")
        self.epoch_context_.call_on_fit_task_begin(estimator=net, **self.data_)

    def on_epoch_end(self, net, dataset_train=None, dataset_valid=None, **kwargs):
        """Close the task; a callback that returns True ends the training."""
        if self._close(self.epoch_context_, net):
            net.stop_training()

    def end_fit(self, net: Any) -> None:
        """Close the task of the fit, once the best weights are in place."""
        self._close(self.fit_context_, net)

    def _close(self, context: Any, net: Any) -> bool:
        return context.call_on_fit_task_end(
            estimator=net,
            # A copy, because training continues in the network itself.
            reconstruction_attributes=lambda: {"module_": copy.deepcopy(net.module_)},
            **self.data_,
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
