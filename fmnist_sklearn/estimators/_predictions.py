"""What a fitted classifier tells of images: labels, probabilities, logits, features."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from sklearn.utils.validation import check_is_fitted
from skorch.utils import is_dataset
from torch import Tensor

from ..training import own_settings


class PredictionsMixin:
    """The methods of a classifier that predict."""

    classes_: np.ndarray

    def predict_proba(self, X: Any) -> np.ndarray:
        """Estimate the probability of each class.

        Parameters
        ----------
        X : array-like of shape (n, C * H * W), (n, H, W) or (n, C, H, W)
            Images of the shape that was fitted.

        Returns
        -------
        ndarray of shape (n, n_classes), float64
            Rows sum to 1; columns are in the order of ``classes_``.

        Raises
        ------
        sklearn.exceptions.NotFittedError
            Before ``fit``.
        ValueError
            For images of another shape, pixels that are NaN or infinite, or so large
            that the network's outputs are.
        """
        # In double precision, rows sum to 1 as closely as scikit-learn's metrics ask
        # for, also after an ensemble has averaged them.
        return self._predict_scores(X, lambda logits: logits.double().softmax(1))

    def predict_log_proba(self, X: Any) -> np.ndarray:
        """Estimate the logarithm of the probability of each class.

        Parameters
        ----------
        X : array-like of shape (n, C * H * W), (n, H, W) or (n, C, H, W)
            Images of the shape that was fitted.

        Returns
        -------
        ndarray of shape (n, n_classes), float64
            Finite where the probability itself underflows to 0.
        """
        return self._predict_scores(X, lambda logits: logits.double().log_softmax(1))

    def decision_function(self, X: Any) -> np.ndarray:
        """Return the logits: what the network gives before the softmax.

        Parameters
        ----------
        X : array-like of shape (n, C * H * W), (n, H, W) or (n, C, H, W)
            Images of the shape that was fitted.

        Returns
        -------
        ndarray of shape (n, n_classes), or (n,) for two classes; float64
            For two classes, how far the logit of ``classes_[1]`` lies above that of
            ``classes_[0]``, as scikit-learn has it.

        Notes
        -----
        Computed in double precision, which takes longer than ``predict_proba``: logits
        have no bound, and in float32 an image's would depend on the images beside it
        by more than scikit-learn's checks allow.
        """
        check_is_fitted(self)
        twin = self._twin_with_own_network()
        twin.module_.double()
        scores = twin._predict_scores(X, lambda logits: logits)
        return scores if scores.shape[1] != 2 else scores[:, 1] - scores[:, 0]

    def predict(self, X: Any) -> np.ndarray:
        """Predict the label of each image.

        Parameters
        ----------
        X : array-like of shape (n, C * H * W), (n, H, W) or (n, C, H, W)
            Images of the shape that was fitted. A torch Dataset, as skorch's own
            scoring passes it, gives class indices, as its targets are.

        Returns
        -------
        ndarray of shape (n,)
            Labels of ``classes_``.
        """
        indices = self._predict_scores(X, lambda logits: logits.argmax(1))
        return indices if is_dataset(X) else self.classes_[indices]

    def embed(self, X: Any) -> np.ndarray:
        """Return what the last hidden layer makes of each image.

        Parameters
        ----------
        X : array-like of shape (n, C * H * W), (n, H, W) or (n, C, H, W)
            Images of the shape that was fitted.

        Returns
        -------
        ndarray of shape (n, n_units), float32
            The inputs of the last dense layer: 84 or 512 values by default.

        Examples
        --------
        >>> from fmnist_sklearn import LeNet5Classifier, load_fashion_mnist_sample
        >>> X, y = load_fashion_mnist_sample(return_X_y=True)
        >>> net = LeNet5Classifier(max_epochs=1, patience=None).fit(X[:200], y[:200])
        >>> net.embed(X[:5]).shape
        (5, 84)
        """
        check_is_fitted(self)
        batches: list[Tensor] = []

        def keep(layer: Any, inputs: tuple[Tensor, ...]) -> None:
            batches.append(inputs[0].detach())

        twin = self._twin_with_own_network(predict_flip=False)
        twin.module_.head.out.register_forward_pre_hook(keep)
        twin._predict_scores(X, lambda logits: logits)
        return torch.cat(batches).float().cpu().numpy()

    def _twin_with_own_network(self, **attributes: Any) -> Any:
        """Return an estimator like this one, whose network may be changed."""
        twin: Any = object.__new__(type(self))
        twin.__dict__.update(self.__dict__)
        twin.__dict__.update(attributes, module_=copy.deepcopy(twin.module_))
        return twin

    def _predict_scores(self, X: Any, link: Callable[[Tensor], Tensor]) -> np.ndarray:
        """Apply a function to the logits of all rows."""
        check_is_fitted(self)
        net: Any = self
        with own_settings():
            dataset = X if is_dataset(X) else net.get_dataset(X)
            # A GPU is waited for once, at the end; others may lack double precision.
            on_gpu = net.device_.type == "cuda"
            device = net.device_ if on_gpu else torch.device("cpu")
            # One block for all rows: small ones, kept from each batch, would lie
            # between the large ones of the batches, whose memory could then not be
            # used again.
            logits, n = torch.empty(0), 0
            for outputs in net.forward_iter(dataset, device=device):
                if n == 0:
                    shape = len(dataset), outputs.shape[1]
                    logits = torch.empty(shape, dtype=outputs.dtype, device=device)
                logits[n : n + len(outputs)] = outputs.detach()
                n += len(outputs)
            logits = logits[:n]
            if not torch.isfinite(logits).all():
                raise ValueError(
                    "the network's outputs are not finite numbers: X holds values far "
                    "beyond those that it was trained on, or its weights are not "
                    "finite"
                )
            return link(logits).cpu().numpy()
