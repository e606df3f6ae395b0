"""scikit-learn's own callbacks (version 1.9 and later) on a skorch net."""

from __future__ import annotations

import copy
import functools
from typing import Any

from skorch.callbacks import Callback

try:
    from sklearn.callback import CallbackSupportMixin, with_callbacks
except ImportError:  # scikit-learn before 1.9: nothing to support

    class CallbackSupportMixin:  # type: ignore[no-redef]
        """Stand in for scikit-learn's class; there are no callbacks to set."""

    def with_callbacks(method):
        """Call the method, from as deep in the stack as scikit-learn's wrapper."""

        @functools.wraps(method)
        def call(*args: Any, **kwargs: Any) -> Any:
            return method(*args, **kwargs)

        return call


class FitTasks(Callback):
    """Tell scikit-learn's callbacks of a fit and of each epoch in it.

    Parameters
    ----------
    net : ImageClassifier
        The estimator that is fitted, with its callbacks set.
    X, y : array-like
        What ``fit`` got, validated.
    sample_weight : ndarray or None
        Weights of the rows.
    """

    def __init__(self, net: Any, X: Any, y: Any, sample_weight: Any) -> None:
        metadata = None if sample_weight is None else {"sample_weight": sample_weight}
        self.data_ = {"X": X, "y": y, "metadata": metadata}
        self.fit_context_ = net._init_callback_context(max_subtasks=net.max_epochs)
        self.fit_context_.call_on_fit_task_begin(estimator=net, **self.data_)

    def on_epoch_begin(self, net, dataset_train=None, dataset_valid=None, **kwargs):
        """Open the task of an epoch."""
        self.epoch_context_ = self.fit_context_.subcontext(task_name="epoch")
        self.epoch_context_.call_on_fit_task_begin(estimator=net, **self.data_)

    def on_epoch_end(self, net, dataset_train=None, dataset_valid=None, **kwargs):
        """Close it; a callback that answers True ends the training."""
        if self._close(self.epoch_context_, net):
            net.stop_training()

    def end_fit(self, net: Any) -> None:
        """Close the task of the fit, when the kept weights are in place."""
        self._close(self.fit_context_, net)

    def _close(self, context: Any, net: Any) -> bool:
        return context.call_on_fit_task_end(
            estimator=net,
            # A copy, as training goes on in the network itself.
            reconstruction_attributes=lambda: {"module_": copy.deepcopy(net.module_)},
            **self.data_,
        )


def follow_fit(net: Any, X: Any, y: Any, sample_weight: Any) -> list[FitTasks]:
    """Start to follow a fit, where scikit-learn's callbacks are set on the net."""
    return (
        [FitTasks(net, X, y, sample_weight)] if hasattr(net, "_skl_callbacks") else []
    )
