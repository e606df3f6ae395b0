"""What skorch's tools ask a net for outside of ``fit``: datasets, splits, steps."""

from __future__ import annotations

from typing import Any

from sklearn.utils.validation import check_consistent_length, column_or_1d
from skorch.utils import is_dataset

from ..training import TrainingNet
from ._continuing import renew_optimizer
from ._data import Checked, check_pixels, make_dataset, split, unlabelled_dataset
from ._images import to_array


class SkorchToolsMixin(TrainingNet):
    """Data sets and single steps, at any moment."""

    def get_dataset(self, X: Any, y: Any = None) -> Any:
        """Validate images, and labels where given.

        Parameters
        ----------
        X : array-like of shape (n, C * H * W), (n, H, W) or (n, C, H, W)
            Images of the shape that was fitted; a Dataset is returned as it is.
        y : array-like of shape (n,), optional
            Labels of ``classes_``.

        Returns
        -------
        ImageDataset
            Images with their class indices, where the network is. Without ``y`` these
            are 0, and all stays in main memory: batch by batch is how images are
            predicted.
        """
        if is_dataset(X):
            return X
        if y is None:
            return unlabelled_dataset(self, X)
        pixels = check_pixels(self, X)
        labels = column_or_1d(to_array(y, name="y"))
        check_consistent_length(pixels, labels)
        return make_dataset(self, Checked(pixels, labels, None))

    def get_split_datasets(self, X: Any, y: Any = None) -> tuple[Any, Any]:
        """Split images and labels as ``fit`` does.

        Parameters
        ----------
        X, y : array-like
            As for ``get_dataset``.

        Returns
        -------
        train, valid : torch.utils.data.Dataset
            The second is None where ``fit`` would train on every row.
        """
        return split(self, self.get_dataset(X, y))

    def train_step(self, batch: Any, **fit_params: Any) -> dict[str, Any]:
        """Update the network by one batch; at any time, also outside of ``fit``.

        Teachers belong to ``fit`` and ``partial_fit``: outside of them, the labels
        alone count.

        Parameters
        ----------
        batch : tuple of Tensor
            Raw images (n, C, H, W) and class indices (n,).
        **fit_params : dict
            Part of skorch's interface.

        Returns
        -------
        dict
            ``loss`` and ``y_pred``, the logits.
        """
        if self._training is None:
            self._make_ready()
        return super().train_step(batch, **fit_params)

    def validation_step(self, batch: Any, **fit_params: Any) -> dict[str, Any]:
        """Compute the loss of a batch; at any time, also outside of ``fit``.

        Parameters
        ----------
        batch, **fit_params
            As for ``train_step``.

        Returns
        -------
        dict
            ``loss`` and ``y_pred``, the logits.
        """
        if self._training is None:
            self._make_ready()
        return super().validation_step(batch, **fit_params)

    def _make_ready(self) -> None:
        """Build what a step needs and a fresh or unpickled estimator does not have."""
        if not self.__sklearn_is_fitted__():
            self.initialize()
        elif not hasattr(self, "optimizer_"):
            renew_optimizer(self)
