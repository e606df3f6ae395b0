"""The scikit-learn contract: fitting, and what a fitted estimator says of itself."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import Tags
from sklearn.utils.validation import column_or_1d

from ..training import (
    Seeds,
    Training,
    TrainingNet,
    make_augment,
    normalise_weights,
    own_settings,
    pixel_statistics,
    resolve_device,
    resolve_precision,
)
from ._caller import warn_user
from ._constraints import CONSTRAINTS
from ._continuing import check_unchanged, remember, renew
from ._data import (
    Checked,
    check_rows,
    make_dataset,
    split,
    validation_dataset,
    weights_of_classes,
)
from ._html import HTMLReprMixin
from ._images import to_array
from ._parameters import ParametersMixin
from ._predictions import PredictionsMixin
from ._sklearn_callbacks import CallbackSupportMixin, follow_fit, with_callbacks
from ._skorch_tools import SkorchToolsMixin
from ._state import FittedAttributes, PicklesMixin, Snapshot
from ._teachers import check_teachers, start_teaching
from .memory import fit_with_cache

# Marks a method as scikit-learn's own, with its text, for those who look behind it.
_accuracy: Any = wraps(ClassifierMixin.score)


class ImageClassifier(
    CallbackSupportMixin,
    ParametersMixin,
    FittedAttributes,
    PredictionsMixin,
    PicklesMixin,
    SkorchToolsMixin,
    HTMLReprMixin,
    TrainingNet,
):
    """A skorch net that keeps scikit-learn's contract; base of the public classes.

    A subclass names its ``module`` and writes out its constructor.
    """

    _parameter_constraints = CONSTRAINTS

    # classes has a place in scikit-learn's routing, which skorch takes away.
    __metadata_request__partial_fit = {"classes": None}  # noqa: RUF012

    def __sklearn_tags__(self) -> Tags:
        """Describe the estimator: rows or images in, no NaN, single-label targets."""
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        return tags

    def get_metadata_routing(self):
        """Get the metadata this estimator asks for; it is a plain consumer."""
        return BaseEstimator.get_metadata_routing(self)

    def __repr__(self, N_CHAR_MAX: int = 700) -> str:
        """Show the parameters that differ from their defaults, as scikit-learn does."""
        return BaseEstimator.__repr__(self, N_CHAR_MAX)

    def __sklearn_is_fitted__(self) -> bool:
        """Whether there is a network to predict with."""
        return self.initialized_ and hasattr(self, "module_")

    def initialize(self) -> ImageClassifier:
        """Build network, loss, optimizer and callbacks afresh, as skorch does.

        ``fit`` does so itself. Called before any fit, it assumes the shape and the
        number of classes that the parameters give, else (1, 28, 28) and 10.

        Returns
        -------
        self
            The estimator.
        """
        self._check_params()
        if not hasattr(self, "_classes"):
            shape = self.get_params_for("module").get("image_shape", self.image_shape)
            self.image_shape_ = (1, 28, 28) if shape is None else tuple(shape)
            self.n_features_in_ = int(np.prod(self.image_shape_))
            n_classes = self.get_params_for("module").get("n_classes", 10)
            self.classes_ = np.arange(n_classes)
        if not hasattr(self, "_seeds"):
            self._start_afresh()
        super().initialize()
        remember(self)
        return self

    def _check_params(self) -> None:
        super()._check_params()
        make_augment(self.augment)
        if self.teacher is not None:
            check_teachers(self.teacher)

    def _start_afresh(self) -> None:
        """Settle what holds from now on: seeds, device and precision."""
        self._seeds = Seeds(self.random_state)
        self.device_ = resolve_device(self.device)
        self.precision_ = resolve_precision(
            self.precision, self.device_, self._bfloat16_pays
        )

    # Fitting --------------------------------------------------------------------

    @with_callbacks
    def fit(
        self,
        X: Any,
        y: Any,
        sample_weight: Any = None,
        X_val: Any = None,
        y_val: Any = None,
        sample_weight_val: Any = None,
    ) -> ImageClassifier:
        """Train the network on images and their labels.

        Parameters
        ----------
        X : array-like of shape (n, C * H * W), (n, H, W) or (n, C, H, W)
            Images: uint8 or any real dtype.
        y : array-like of shape (n,)
            Labels of any kind that scikit-learn takes.
        sample_weight : array-like of shape (n,), optional
            Weights of the rows in the loss. Rows of weight 0 count as absent.
        X_val, y_val : array-like, optional
            Rows to validate on, instead of a part of ``X``.
        sample_weight_val : array-like, optional
            Weights of the rows of ``X_val`` in the validation loss.

        Returns
        -------
        self
            The fitted estimator.

        Raises
        ------
        ValueError
            For parameters, shapes or values out of range, and if the loss becomes
            NaN or infinite, with the epoch named.

        Notes
        -----
        A call that fails leaves the estimator as it was. Ctrl-C does so too, up to the
        first finished epoch; after it the weights of the best epoch so far are kept,
        and ``n_iter_`` counts the epochs that were finished.
        """
        self.check_training_readiness()
        self._check_params()
        if (X_val is None) != (y_val is None):
            missing = "X_val" if X_val is None else "y_val"
            raise ValueError(f"X_val and y_val go together, but {missing} is None")
        if sample_weight_val is not None and X_val is None:
            raise ValueError("sample_weight_val needs X_val and y_val")
        continues = self.warm_start and self.__sklearn_is_fitted__()

        def prepare() -> tuple[Checked, Any, Any]:
            checked = check_rows(self, X, y, sample_weight, first_call=not continues)
            classes = np.unique(checked.labels)
            if continues and not np.array_equal(classes, self.classes_):
                raise ValueError(
                    "warm_start=True continues a net of the classes "
                    f"{self.classes_!r}, but y holds {classes!r}"
                )
            self.classes_ = classes
            dataset = make_dataset(self, checked, shared=True)
            if X_val is None:
                return checked, *split(self, dataset)
            valid = validation_dataset(self, X_val, y_val, sample_weight_val)
            return checked, dataset, valid

        self._learn(prepare, continues=continues, n_epochs=self.max_epochs)
        self._warn_if_cut_short()
        return self

    def partial_fit(
        self, X: Any, y: Any, classes: Any = None, sample_weight: Any = None
    ) -> ImageClassifier:
        """Train for one epoch over all the rows given.

        There is no validation part, early stopping, schedule or averaging of weights.
        The scaling of the pixels is fixed by the first call; the optimizer goes on
        where it was.

        Parameters
        ----------
        X : array-like of shape (n, C * H * W), (n, H, W) or (n, C, H, W)
            Images.
        y : array-like of shape (n,)
            Labels, all among ``classes``.
        classes : array-like of shape (n_classes,), optional
            All labels that may ever come; needed in the first call.
        sample_weight : array-like of shape (n,), optional
            Weights of the rows in the loss.

        Returns
        -------
        self
            The estimator.

        Raises
        ------
        ValueError
            If ``classes`` is missing in the first call or differs from it, or ``y``
            holds another label.
        """
        self.check_training_readiness()
        self._check_params()
        first = not self.__sklearn_is_fitted__()
        if self.class_weight == "balanced":
            raise ValueError(
                "class_weight='balanced' is not known before all rows are; pass "
                "partial_fit a sample_weight, or class_weight as a dict"
            )
        if classes is not None:
            classes = np.unique(column_or_1d(to_array(classes, name="classes")))
        if first and classes is None:
            raise ValueError("classes must be passed on the first call to partial_fit.")
        expected = classes if first or classes is None else self.classes_
        if classes is not expected and not np.array_equal(classes, expected):
            raise ValueError(
                f"`classes={classes!r}` is not the same as on last call to "
                f"partial_fit, was: {self.classes_!r}"
            )

        def prepare() -> tuple[Checked, Any, Any]:
            checked = check_rows(self, X, y, sample_weight, first_call=first)
            if first:
                self.classes_ = classes
            return checked, make_dataset(self, checked), None

        self._learn(prepare, continues=not first, n_epochs=1, partial=True)
        return self

    def _learn(
        self,
        prepare: Callable[[], tuple[Checked, Any, Any]],
        *,
        continues: bool,
        n_epochs: int,
        partial: bool = False,
    ) -> None:
        """Train on what ``prepare`` returns, or leave the estimator as it was."""
        training: Training | None = None
        before = Snapshot(self, in_place=continues)
        try:
            with own_settings(training=True):
                self._is_partial_fit = partial
                if continues:
                    check_unchanged(self)
                    renew(self)
                else:
                    self._start_afresh()
                checked, train, valid = prepare()
                factors = weights_of_classes(
                    self.class_weight, self.classes_, checked.labels
                )
                train = normalise_weights(train, factors)
                valid = normalise_weights(valid, factors, purpose="validate on")
                if not continues:
                    self.initialize()
                    self._set_scaling(train)
                train, teaching = start_teaching(self, train)
                followers = () if partial else follow_fit(self, *checked)
                training = Training(self, train, valid, n_epochs, followers, teaching)
                if self.memory is None:
                    training.run()
                else:
                    fit_with_cache(self, training, fresh=not continues)
                for follower in followers:
                    follower.end_fit(self)
        except BaseException as error:
            # Whole epochs are kept from an interrupt, and nothing from an error.
            if training is not None and training.leaves_something_after(error):
                training.settle()
            else:
                before.put_back(self)
            raise

    def _warn_if_cut_short(self) -> None:
        losses = [row["valid_loss"] for row in self.history_ if "valid_loss" in row]
        if self.lr_schedule is not None or not losses or not self._patience():
            return
        *earlier, last = losses
        # Averaged weights get a little better for very long.
        if last < 0.99 * min(earlier, default=float("inf")):
            warn_user(
                f"the validation loss was still falling when max_epochs="
                f"{self.max_epochs} was reached; more epochs may fit better",
                ConvergenceWarning,
                once=True,
            )

    def _set_scaling(self, dataset: Any) -> None:
        mean, std = pixel_statistics(dataset, self.pixel_scaling)
        self.module_.scaling.mean.copy_(mean)
        self.module_.scaling.std.copy_(std)

    @_accuracy
    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        y = to_array(y, name="y")
        sample_weight = to_array(sample_weight, name="sample_weight")
        return super().score(X, y, sample_weight)
