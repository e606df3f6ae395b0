"""Images with what a model says of them, the worst mistakes first."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.utils import check_consistent_length

from .._unwrap import fitted_model
from .style import WRONG, axes_for, grid_of_axes

if TYPE_CHECKING:
    from matplotlib.axes import Axes


class PredictionsDisplay:
    """Images with true and predicted label and confidence, by falling loss.

    It is recommended to use :meth:`from_estimator` or :meth:`from_predictions` to
    create a display. All parameters are stored as attributes.

    Parameters
    ----------
    images : ndarray of shape (n, C, H, W)
        Images, in the order to be shown. One channel is drawn in grey, three are
        colours; of other numbers, the first is drawn.

    y_true, y_pred : sequence of length n
        True and predicted labels.

    confidence : sequence of float
        Probability of the predicted label.

    loss : sequence of float
        Cross-entropy, in nats: minus the logarithm of the true label's probability.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Axes that hold the images.

    axes_ : ndarray of matplotlib Axes
        Axes of each image.

    figure_ : matplotlib Figure
        Figure containing them.

    See Also
    --------
    sklearn.metrics.ConfusionMatrixDisplay : How often which label is taken for which.

    Examples
    --------
    >>> import matplotlib.pyplot as plt
    >>> import numpy as np
    >>> from fmnist_sklearn import PredictionsDisplay
    >>> display = PredictionsDisplay(
    ...     images=np.zeros((1, 1, 28, 28)), y_true=["Shirt"], y_pred=["Coat"],
    ...     confidence=[0.8], loss=[2.3],
    ... )
    >>> _, ax = plt.subplots()
    >>> print(display.plot(ax).axes_[0].get_xlabel())
    true: Shirt
    predicted: Coat
    80 %, loss 2.30
    """

    ax_: Axes
    axes_: np.ndarray
    figure_: Any  # a Figure, or the SubFigure that holds the axes

    def __init__(
        self,
        *,
        images: np.ndarray,
        y_true: Sequence[Any],
        y_pred: Sequence[Any],
        confidence: Sequence[float],
        loss: Sequence[float],
    ) -> None:
        self.images = images
        self.y_true = y_true
        self.y_pred = y_pred
        self.confidence = confidence
        self.loss = loss

    def plot(
        self,
        ax: Axes | None = None,
        *,
        n_images: int = 12,
        n_columns: int = 6,
        im_kw: Mapping[str, Any] | None = None,
    ) -> PredictionsDisplay:
        """Draw the first images.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes to divide among the images. If None, a new figure is created.

        n_images : int, default=12
            How many to draw, at most.

        n_columns : int, default=6
            Images in a row.

        im_kw : mapping, default=None
            Keyword arguments for matplotlib's ``imshow``.

        Returns
        -------
        display : :class:`PredictionsDisplay`
            The display itself.
        """
        n = min(n_images, len(self.images))
        n_columns = max(min(n_columns, n), 1)
        n_rows = max(math.ceil(n / n_columns), 1)
        ax = axes_for(ax, 1.7 * n_columns, 2.3 * n_rows)
        cells = grid_of_axes(ax, n, n_columns, text=0.27)
        if not cells:
            ax.text(0.5, 0.5, "no mistakes", ha="center", va="center")
        low, high = _range(self.images)
        for i, cell in enumerate(cells):
            image = (self.images[i] - low) / (high - low)
            # (C, H, W) -> (H, W, 3), or (H, W)
            drawn = image.transpose(1, 2, 0) if len(image) == 3 else image[0]
            settings = {"cmap": "gray", "vmin": 0, "vmax": 1, **(im_kw or {})}
            cell.imshow(drawn, **settings)
            true, predicted = self.y_true[i], self.y_pred[i]
            cell.set_xlabel(
                f"true: {true}\npredicted: {predicted}\n"
                f"{self.confidence[i]:.0%}".replace("%", " %")
                + f", loss {self.loss[i]:.2f}",
                fontsize="small",
            )
            if true != predicted:
                cell.xaxis.label.set_color(WRONG)
        self.ax_ = ax
        self.axes_ = np.array(cells)
        self.figure_ = ax.figure
        return self

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any,
        y: Any,
        *,
        only_mistakes: bool = True,
        display_labels: Sequence[Any] | None = None,
        image_shape: tuple[int, int, int] | None = None,
        ax: Axes | None = None,
        n_images: int = 12,
        n_columns: int = 6,
        im_kw: Mapping[str, Any] | None = None,
    ) -> PredictionsDisplay:
        """Draw the worst mistakes of a fitted classifier.

        Parameters
        ----------
        estimator : fitted classifier
            One with ``predict_proba``; a Pipeline or a search too.

        X : array-like
            Images, as the estimator takes them.

        y : array-like of shape (n,)
            Their labels.

        only_mistakes : bool, default=True
            Whether images with the right label stay away.

        display_labels : sequence, default=None
            Names of the classes, in the order of ``classes_``. If None, the labels.

        image_shape : tuple of int, default=None
            (channels, height, width) of an image. If None, what the estimator was
            fitted on where it says, else that of `X`, or a grey square.

        ax, n_images, n_columns, im_kw
            See :meth:`plot`.

        Returns
        -------
        display : :class:`PredictionsDisplay`
            The display that was drawn.

        Examples
        --------
        >>> import matplotlib.pyplot as plt
        >>> from sklearn.datasets import load_digits
        >>> from sklearn.linear_model import LogisticRegression
        >>> from fmnist_sklearn import PredictionsDisplay
        >>> X, y = load_digits(return_X_y=True)
        >>> clf = LogisticRegression(C=1e-4, max_iter=500).fit(X[:900], y[:900])
        >>> _, ax = plt.subplots()
        >>> display = PredictionsDisplay.from_estimator(clf, X[900:], y[900:], ax=ax)
        >>> len(display.axes_)
        12
        """
        if image_shape is None:
            shape = getattr(fitted_model(estimator), "image_shape_", None)
            # A step before the model may have changed the images.
            if shape is not None and np.asarray(X[:1]).size == np.prod(shape):
                image_shape = shape
        return cls.from_predictions(
            X,
            y,
            estimator.predict_proba(X),
            classes=estimator.classes_,
            only_mistakes=only_mistakes,
            display_labels=display_labels,
            image_shape=image_shape,
            ax=ax,
            n_images=n_images,
            n_columns=n_columns,
            im_kw=im_kw,
        )

    @classmethod
    def from_predictions(
        cls,
        X: Any,
        y_true: Any,
        y_proba: Any,
        *,
        classes: Any = None,
        only_mistakes: bool = True,
        display_labels: Sequence[Any] | None = None,
        image_shape: tuple[int, int, int] | None = None,
        ax: Axes | None = None,
        n_images: int = 12,
        n_columns: int = 6,
        im_kw: Mapping[str, Any] | None = None,
    ) -> PredictionsDisplay:
        """Draw the worst mistakes, given the probabilities.

        Parameters
        ----------
        X : array-like of shape (n, C * H * W), (n, H, W) or (n, C, H, W)
            Images.

        y_true : array-like of shape (n,)
            Their labels.

        y_proba : array-like of shape (n, n_classes)
            Probability of each class.

        classes : array-like of shape (n_classes,), default=None
            Labels of the columns of `y_proba`. If None, the labels in `y_true`, sorted.

        only_mistakes, display_labels, image_shape
            See :meth:`from_estimator`.

        ax, n_images, n_columns, im_kw
            See :meth:`plot`.

        Returns
        -------
        display : :class:`PredictionsDisplay`
            The display that was drawn.

        Raises
        ------
        ValueError
            If lengths or numbers of classes do not go together, or the shape of the
            images is neither given nor that of a grey square.

        Examples
        --------
        >>> import matplotlib.pyplot as plt
        >>> import numpy as np
        >>> from fmnist_sklearn import PredictionsDisplay
        >>> proba = np.array([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4]])
        >>> _, ax = plt.subplots()
        >>> display = PredictionsDisplay.from_predictions(
        ...     np.zeros((3, 4, 4)), ["a", "a", "b"], proba, ax=ax
        ... )
        >>> list(zip(display.y_true, display.y_pred))
        [('a', 'b'), ('b', 'a')]
        """
        X, y_true, y_proba = np.asarray(X), np.asarray(y_true), np.asarray(y_proba)
        check_consistent_length(X, y_true, y_proba)
        classes = np.unique(y_true) if classes is None else np.asarray(classes)
        names = classes if display_labels is None else np.asarray(display_labels)
        if not len(classes) == len(names) == y_proba.shape[1]:
            raise ValueError(
                "classes and display_labels must have an entry for each column of "
                f"y_proba; got {len(classes)}, {len(names)} and {y_proba.shape[1]}."
            )
        # A label that the model does not know has probability 0.
        is_true = y_true[:, None] == classes
        expected = np.where(is_true, y_proba, 0).sum(axis=1)
        loss = -np.log(np.maximum(expected, np.finfo(np.float32).tiny))
        chosen = y_proba.argmax(axis=1)
        order = np.argsort(-loss, kind="stable")
        if only_mistakes:
            order = order[classes[chosen[order]] != y_true[order]]
        name_of = dict(zip(classes.tolist(), names.tolist(), strict=True))
        display = cls(
            images=_as_images(X, image_shape)[order],
            y_true=[name_of.get(label, label) for label in y_true[order].tolist()],
            y_pred=names[chosen[order]].tolist(),
            confidence=y_proba.max(axis=1)[order],
            loss=loss[order],
        )
        return display.plot(ax, n_images=n_images, n_columns=n_columns, im_kw=im_kw)


def _as_images(X: np.ndarray, image_shape: tuple[int, int, int] | None) -> np.ndarray:
    """Return images of shape (n, C, H, W)."""
    if image_shape is not None:
        return X.reshape(len(X), *image_shape)
    if X.ndim == 4:
        return X
    if X.ndim == 3:
        return X[:, None]
    side = math.isqrt(math.prod(X.shape[1:]))
    if X.ndim != 2 or side * side != X.shape[1]:
        raise ValueError(
            f"image_shape must be given for X of shape {X.shape}: rows of {side} x "
            f"{side} grey pixels would be read without it."
        )
    return X.reshape(len(X), 1, side, side)


def _range(images: np.ndarray) -> tuple[float, float]:
    """Choose what is black and what is white: 0..255, 0..1, or what there is."""
    low, high = (float(images.min()), float(images.max())) if images.size else (0, 1)
    if low < 0 or high > 255:
        return low, high
    return (0, 1) if high <= 1 and images.dtype != np.uint8 else (0, 255)
