"""The scikit-learn contract: fitting, validation, labels, weights, pickling."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from sklearn.base import BaseEstimator
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import Tags, compute_class_weight
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import (
    _check_sample_weight,
    check_is_fitted,
    column_or_1d,
    validate_data,
)
from skorch.utils import is_dataset
from torch import Tensor, nn
from torch.utils._pytree import tree_map_only
from torch.utils.data import Subset

from ..training.batches import ImageDataset, normalise_weights, weights_as_float32
from ..training.callbacks import EarlyStopping
from ..training.preparation import (
    Seeds,
    pixel_statistics,
    resolve_device,
    resolve_precision,
    split_rows,
)
from . import _images as images
from ._parameters import ParameterNet
from ._sklearn_callbacks import CallbackSupportMixin, follow_fit, with_callbacks


class ImageClassifier(CallbackSupportMixin, ParameterNet):
    """A skorch net that keeps scikit-learn's contract; base of the public classes.

    A subclass names its ``module`` and writes out its constructor.
    """

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

    # Fitted state ---------------------------------------------------------------

    @property
    def classes_(self) -> np.ndarray:
        """The class labels, sorted, of shape (n_classes,)."""
        try:
            return self.__dict__["_classes"]
        except KeyError:
            raise AttributeError(
                f"This {type(self).__name__} instance is not fitted yet: it has no "
                "attribute 'classes_'"
            ) from None

    @classes_.setter
    def classes_(self, classes: np.ndarray) -> None:
        self._classes = classes

    @property
    def n_parameters_(self) -> int:
        """Number of learnable parameters of the network."""
        check_is_fitted(self)
        return sum(p.numel() for p in self.module_.parameters() if p.requires_grad)

    @property
    def n_iter_(self) -> int:
        """Number of epochs run, over all calls since the weights were drawn."""
        check_is_fitted(self)
        return len(self.history_)

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
        return super().initialize()

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
        """
        self.check_training_readiness()
        self._check_params()
        if (X_val is None) != (y_val is None):
            missing = "X_val" if X_val is None else "y_val"
            raise ValueError(f"X_val and y_val go together, but {missing} is None")
        if sample_weight_val is not None and X_val is None:
            raise ValueError("sample_weight_val needs X_val and y_val")
        continues = self.warm_start and self.__sklearn_is_fitted__()
        with self._unchanged_on_error():
            rows, labels, weights = self._check_fit_data(
                X, y, sample_weight, first_call=not continues
            )
            classes, targets = np.unique(labels, return_inverse=True)
            if continues and not np.array_equal(classes, self.classes_):
                raise ValueError(
                    "warm_start=True continues a net of the classes "
                    f"{self.classes_!r}, but y holds {classes!r}"
                )
            self.classes_ = classes
            self._is_partial_fit = False
            if not continues:
                self._start_afresh()
            dataset = self._make_dataset(rows, targets, weights)
            if X_val is None:
                train, valid = self._split(dataset, targets)
            else:
                train = dataset
                valid = self._check_validation_data(X_val, y_val, sample_weight_val)
            train = normalise_weights(train, self._class_weights(labels))
            valid = normalise_weights(valid)
            if continues:
                self._prepare_to_continue()
            else:
                self.initialize()
                self._set_scaling(train)
        with self._unfitted_on_error():
            followers = follow_fit(self, rows, labels, weights)
        try:
            self.train(train, valid, self.max_epochs, *followers)
        finally:
            stopper = self._find_callback(EarlyStopping)
            best = getattr(stopper, "best_epoch_", None)
            self.best_epoch_ = len(self.history_) if best is None else best
        for follower in followers:
            follower.end_fit(self)
        self._warn_if_cut_short(valid)
        return self

    def _warn_if_cut_short(self, valid: Any) -> None:
        if self.lr_schedule is not None or valid is None or not self._patience():
            return
        *earlier, last = self.history_[:, "valid_loss"]
        # Averaged weights get a little better for very long.
        if last < 0.99 * min(earlier, default=float("inf")):
            warnings.warn(
                f"the validation loss was still falling when max_epochs="
                f"{self.max_epochs} was reached; more epochs may fit better",
                ConvergenceWarning,
                stacklevel=4,
            )

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
            classes = np.unique(column_or_1d(images.to_array(classes)))
        if first and classes is None:
            raise ValueError("classes must be passed on the first call to partial_fit.")
        expected = classes if first or classes is None else self.classes_
        if classes is not expected and not np.array_equal(classes, expected):
            raise ValueError(
                f"`classes={classes!r}` is not the same as on last call to "
                f"partial_fit, was: {self.classes_!r}"
            )
        with self._unchanged_on_error():
            rows, labels, weights = self._check_fit_data(
                X, y, sample_weight, first_call=first
            )
            if first:
                self.classes_ = classes
            targets = self._encode(labels)
            self._is_partial_fit = True
            if first:
                self._start_afresh()
            dataset = self._make_dataset(rows, targets, weights)
            dataset = normalise_weights(dataset, self._class_weights(labels))
            if first:
                self.initialize()
                self._set_scaling(dataset)
            else:
                self._seeds.draw()
                self._prepare_to_continue()
        self.train(dataset, None, 1)
        self.best_epoch_ = len(self.history_)
        return self

    @contextmanager
    def _unchanged_on_error(self) -> Iterator[None]:
        """Leave the estimator as it was where the data or a parameter is refused."""
        before = self.__dict__.copy()
        try:
            yield
        except Exception:
            self.__dict__.clear()
            self.__dict__.update(before)
            raise

    def _prepare_to_continue(self) -> None:
        """Renew what a pickle leaves out and what depends on the kind of call."""
        self._initialize_callbacks()
        if not hasattr(self, "optimizer_"):
            self.initialize_optimizer()
            state = self.__dict__.pop("_optimizer_state", None)
            if state is not None:
                self.optimizer_.load_state_dict(state)
        params = self.get_params_for("optimizer")
        own = dict(enumerate(kwargs for _, kwargs in params.get("param_groups", [])))
        for number, group in enumerate(self.optimizer_.param_groups):
            lr = params.get("lr", self.lr)
            group["lr"] = own.get(number, {}).get("lr", lr)

    def _set_scaling(self, dataset: Any) -> None:
        mean, std = pixel_statistics(dataset, self.pixel_scaling)
        self.module_.scaling.mean.copy_(mean)
        self.module_.scaling.std.copy_(std)

    # Data -----------------------------------------------------------------------

    def _check_fit_data(
        self, X: Any, y: Any, sample_weight: Any, *, first_call: bool = True
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
        """Validate rows, labels and weights, and leave out rows of weight 0."""
        expected = self.image_shape if first_call else self.image_shape_
        expected = None if expected is None else tuple(expected)
        X, shape = images.flatten_images(X, expected)
        if is_dataset(X):
            raise TypeError(
                f"X must be an array of images, got a {type(X).__name__}; for data "
                "that does not fit in memory see partial_fit"
            )
        rows, y = validate_data(
            self, X, images.to_array(y), reset=first_call, dtype="numeric"
        )
        check_classification_targets(y)
        if first_call:
            n_columns = rows.shape[1]
            if self.image_shape is not None:
                shape = images.check_image_shape(self.image_shape, n_columns)
            self.image_shape_ = shape or images.infer_image_shape(n_columns)
        if sample_weight is None:
            return rows, y, None
        weights = _check_sample_weight(
            images.to_array(sample_weight),
            rows,
            dtype=np.float64,
            ensure_non_negative=True,
        )
        # What is next to nothing beside the largest weight counts as nothing.
        present = weights_as_float32(weights) > 0
        if not present.any():
            raise ValueError("sample_weight is zero for every row; nothing to train on")
        if not present.all():
            rows, y, weights = rows[present], y[present], weights[present]
        return rows, y, weights

    def _class_weights(self, labels: np.ndarray) -> np.ndarray | None:
        """Turn ``class_weight`` into a weight for each class."""
        if self.class_weight is None:
            return None
        if isinstance(self.class_weight, dict):
            # scikit-learn's function would look for the label "3" under the number 3.
            known = self.classes_.tolist()
            unknown = [label for label in self.class_weight if label not in known]
            if unknown and not set(known) <= self.class_weight.keys():
                raise ValueError(
                    f"class_weight names {unknown!r}, but the classes are "
                    f"{self.classes_!r}"
                )
            weights = np.array([self.class_weight.get(c, 1) for c in known], float)
        else:
            weights = compute_class_weight(
                self.class_weight, classes=self.classes_, y=labels
            )
        if not (np.isfinite(weights).all() and (weights >= 0).all() and weights.any()):
            raise ValueError(
                f"class_weight={self.class_weight!r} gives the classes "
                f"{self.classes_!r} the weights {weights!r}; they must be finite and "
                "not negative, and one must be above 0"
            )
        return weights_as_float32(weights)

    def _make_dataset(self, rows, targets, weights) -> ImageDataset:
        tensors = images.to_image_tensor(rows, self.image_shape_)
        if weights is not None:
            weights = None if np.ptp(weights) == 0 else weights_as_float32(weights)
        return ImageDataset(
            tensors,
            torch.as_tensor(targets, dtype=torch.int64),
            None if weights is None else torch.from_numpy(weights),
        ).to(self.device_)

    def _encode(self, labels: np.ndarray) -> np.ndarray:
        """Turn labels into class indices."""
        unknown = np.setdiff1d(labels, self.classes_)
        if len(unknown):
            raise ValueError(
                f"y holds labels that are not among the classes {self.classes_!r}: "
                f"{unknown!r}"
            )
        return np.searchsorted(self.classes_, labels)

    def _check_validation_data(self, X_val, y_val, sample_weight_val) -> ImageDataset:
        try:
            rows, labels, weights = self._check_fit_data(
                X_val, y_val, sample_weight_val, first_call=False
            )
            return self._make_dataset(rows, self._encode(labels), weights)
        except ValueError as error:
            raise ValueError(f"In X_val, y_val, sample_weight_val: {error}") from error

    def _split(self, dataset: ImageDataset, targets: np.ndarray) -> tuple[Any, Any]:
        """Split into the parts to train and to validate on; the second may be None."""
        if self.train_split is not None:
            return self.train_split(dataset, targets)
        if self.validation_fraction == 0:
            if self.patience not in ("auto", None):
                raise ValueError(
                    f"patience={self.patience!r} needs a validation part, but "
                    "validation_fraction=0 leaves none; use patience='auto' or None"
                )
            return dataset, None
        train, valid = split_rows(
            targets, self.validation_fraction, self.shuffle, self._seeds.split
        )
        return Subset(dataset, train.tolist()), Subset(dataset, valid.tolist())

    def get_dataset(self, X: Any, y: Any = None) -> ImageDataset:
        """Validate images to predict and put them where the network is.

        Parameters
        ----------
        X : array-like of shape (n, C * H * W), (n, H, W) or (n, C, H, W)
            Images of the shape that was fitted.
        y : ignored
            Part of skorch's interface.
        """
        X, _ = images.flatten_images(X, self.image_shape_)
        rows = validate_data(self, X, reset=False, dtype="numeric")
        return self._make_dataset(rows, np.zeros(len(rows), dtype=np.int64), None)

    # Prediction -----------------------------------------------------------------

    def predict_proba(self, X: Any) -> np.ndarray:
        """Estimate the probability of each class.

        Parameters
        ----------
        X : array-like of shape (n, C * H * W), (n, H, W) or (n, C, H, W)
            Images of the shape that was fitted.

        Returns
        -------
        ndarray of shape (n, n_classes), float32
            Rows sum to 1; columns are in the order of ``classes_``.

        Raises
        ------
        sklearn.exceptions.NotFittedError
            Before ``fit``.
        ValueError
            For images of another shape, pixels that are NaN or infinite, or so large
            that the network's outputs are.
        """
        return self._predict_scores(X, torch.softmax)

    def predict_log_proba(self, X: Any) -> np.ndarray:
        """Estimate the logarithm of the probability of each class.

        Parameters
        ----------
        X : array-like of shape (n, C * H * W), (n, H, W) or (n, C, H, W)
            Images of the shape that was fitted.

        Returns
        -------
        ndarray of shape (n, n_classes), float32
            Finite where the probability itself underflows to 0.
        """
        return self._predict_scores(X, torch.log_softmax)

    def _predict_scores(self, X: Any, link: Any) -> np.ndarray:
        check_is_fitted(self)
        dataset = X if is_dataset(X) else self.get_dataset(X)
        # One block for all rows: small ones, kept from each batch, would lie between
        # the large ones of the batches, whose memory could then not be used again.
        logits, n = torch.empty(0), 0
        for outputs in self.forward_iter(dataset):
            if n == 0:
                logits = torch.empty(len(dataset), outputs.shape[1])
            logits[n : n + len(outputs)] = outputs
            n += len(outputs)
        logits = logits[:n]
        if not torch.isfinite(logits).all():
            raise ValueError(
                "the network's outputs are not finite numbers: X holds values far "
                "beyond those that it was trained on, or its weights are not finite"
            )
        return link(logits, 1).numpy()

    def predict(self, X: Any) -> np.ndarray:
        """Predict the label of each image.

        Parameters
        ----------
        X : array-like of shape (n, C * H * W), (n, H, W) or (n, C, H, W)
            Images of the shape that was fitted. (A torch Dataset, as skorch's own
            scoring passes it, gives class indices, as its targets are.)

        Returns
        -------
        ndarray of shape (n,)
            Labels of ``classes_``.
        """
        indices = self._predict_scores(X, lambda logits, axis: logits.argmax(axis))
        return indices if is_dataset(X) else self.classes_[indices]

    # Pickling -------------------------------------------------------------------

    def __getstate__(self) -> dict[str, Any]:
        """Return what a pickle holds: the network on the CPU, no training leftovers.

        The optimizer's state is kept only where training can go on from it: with
        ``warm_start``, or after ``partial_fit``.
        """
        state = self.__dict__.copy()
        optimizer = state.pop("optimizer_", None)
        if optimizer is not None and (self.warm_start or self._is_partial_fit):
            state["_optimizer_state"] = optimizer.state_dict()
        if "module_" in state and self.device_.type != "cpu":
            for name in ("module_", "criterion_"):
                if isinstance(state.get(name), nn.Module):
                    state[name] = copy.deepcopy(state[name]).cpu()
            if "_optimizer_state" in state:
                state["_optimizer_state"] = tree_map_only(
                    torch.Tensor, Tensor.cpu, state["_optimizer_state"]
                )
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Restore the estimator; the network goes to the device this machine has."""
        self.__dict__.update(state)
        if "module_" in state:
            try:
                self.device_ = resolve_device(self.device)
            except ValueError:
                self.device_ = torch.device("cpu")
            self.place_module()
            if isinstance(state.get("criterion_"), nn.Module):
                self.criterion_.to(self.device_)

    def load_params(self, *args: Any, **kwargs: Any) -> None:
        """Load weights, optimizer or history from files, as skorch does.

        Parameters
        ----------
        *args, **kwargs
            As for ``skorch.NeuralNet.load_params``.
        """
        device = self.device
        self.device = str(getattr(self, "device_", "cpu"))
        try:
            super().load_params(*args, **kwargs)
        finally:
            self.device = device
