"""Predictions as images in a grid, the worst mistakes first."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.utils import check_consistent_length

from .._sklearn import fitted_model
from .style import AS_IT_IS, WRONG, drawn_text, new_axes

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@dataclass(kw_only=True, eq=False, repr=False)
class PredictionsDisplay:
    """Images with true and predicted label and confidence, by falling loss.

    It is recommended to use :meth:`from_estimator` or :meth:`from_predictions` to
    create a display. All parameters are stored as attributes.

    Parameters
    ----------
    images : ndarray of shape (n, C, H, W)
        Images, in the order to be shown. One channel is drawn in grey, three in
        colour; of any other number, the first channel is drawn.

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
    sklearn.metrics.ConfusionMatrixDisplay : Counts of each pair of true and predicted
        labels.

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

    images: np.ndarray
    y_true: Sequence[Any]
    y_pred: Sequence[Any]
    confidence: Sequence[float]
    loss: Sequence[float] | np.ndarray

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
            Largest number of images to draw.

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
        texts = [
            f"true: {drawn_text(self.y_true[i], 24)}\n"
            f"predicted: {drawn_text(self.y_pred[i], 24)}\n"
            f"{100 * float(self.confidence[i]):.0f} %, loss {self.loss[i]:.2f}"
            for i in range(n)
        ]
        # In inches, for the longest line and for the number of lines.
        width = max([1.7, *(0.07 * len(s) for s in "\n".join(texts).split("\n"))])
        height = 0.207 * max((text.count("\n") + 1 for text in texts), default=3)
        size = (width, 1.68 + height)
        ax, cells = _grid_of_axes(ax, n, n_columns, size=size, text=height / size[1])
        if not cells:
            ax.text(0.5, 0.5, "no mistakes", ha="center", va="center")
        low, high = pixel_range(self.images)
        for i, cell in enumerate(cells):
            image = (self.images[i] - low) / (high - low)
            # (C, H, W) -> (H, W, 3), or (H, W)
            drawn = image.transpose(1, 2, 0) if len(image) == 3 else image[0]
            settings = {"cmap": "gray", "vmin": 0, "vmax": 1, **(im_kw or {})}
            cell.imshow(drawn, **settings)
            cell.set_xlabel(texts[i], fontsize="small", **AS_IT_IS)
            if self.y_true[i] != self.y_pred[i]:
                cell.xaxis.label.set_color(WRONG)
        self.ax_, self.axes_, self.figure_ = ax, np.array(cells), ax.figure
        return self

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any,
        y: Any,
        *,
        image_shape: tuple[int, int, int] | None = None,
        **kwargs: Any,
    ) -> PredictionsDisplay:
        """Draw the worst mistakes of a fitted classifier.

        Parameters
        ----------
        estimator : fitted classifier
            One with ``predict_proba``, or a Pipeline or search that ends in one.

        X : array-like
            Images, as the estimator takes them.

        y : array-like of shape (n,)
            Their labels.

        image_shape : tuple of int, default=None
            (channels, height, width) of an image. If None, the shape that the
            estimator was fitted on if it has one, else that of `X`, or a grey square.

        **kwargs : dict
            `only_mistakes`, `display_labels` and `ax` as in :meth:`from_predictions`;
            `n_images`, `n_columns` and `im_kw` as in :meth:`plot`.

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
        kwargs |= {"classes": estimator.classes_, "image_shape": image_shape}
        return cls.from_predictions(X, y, estimator.predict_proba(X), **kwargs)

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
        **plot_kw: Any,
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

        only_mistakes : bool, default=True
            Whether to leave out images with a correct prediction.

        display_labels : sequence, default=None
            Names of the classes, in the order of `classes`. If None, the labels.

        image_shape : tuple of int, default=None
            (channels, height, width) of an image. If None, that of `X`, or a grey
            square.

        ax : matplotlib Axes, default=None
            Axes to divide among the images. If None, a new figure is created.

        **plot_kw : dict
            `n_images`, `n_columns` and `im_kw`, see :meth:`plot`.

        Returns
        -------
        display : :class:`PredictionsDisplay`
            The display that was drawn.

        Raises
        ------
        ValueError
            If lengths or numbers of classes differ, or the shape of the images is
            neither given nor that of a grey square.

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
        loss, mistakes = rank_predictions(y_true, y_proba, classes)
        order = mistakes if only_mistakes else np.argsort(-loss, kind="stable")
        chosen = y_proba.argmax(axis=1)
        name_of = dict(zip(classes.tolist(), names.tolist(), strict=True))
        display = cls(
            images=_as_images(X, image_shape)[order],
            y_true=[name_of.get(label, label) for label in y_true[order].tolist()],
            y_pred=names[chosen[order]].tolist(),
            confidence=y_proba.max(axis=1)[order],
            loss=loss[order],
        )
        return display.plot(ax, **plot_kw)


def rank_predictions(
    y_true: np.ndarray, y_proba: np.ndarray, classes: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the loss of each prediction, and the mistakes, the highest loss first.

    Parameters
    ----------
    y_true : ndarray of shape (n,)
        True labels.
    y_proba : ndarray of shape (n, n_classes)
        Probability of each class.
    classes : ndarray of shape (n_classes,)
        Labels of the columns of `y_proba`.

    Returns
    -------
    loss : ndarray of shape (n,)
        Cross-entropy, in nats.
    mistakes : ndarray of int
        Places of the wrong predictions.
    """
    # A label that the model does not know has probability 0.
    is_true = y_true[:, None] == classes
    expected = np.where(is_true, y_proba, 0).sum(axis=1)
    loss = -np.log(np.maximum(expected, np.finfo(np.float32).tiny))
    order = np.argsort(-loss, kind="stable")
    is_wrong = classes[y_proba.argmax(axis=1)] != y_true
    return loss, order[is_wrong[order]]


def _grid_of_axes(
    ax: Axes | None,
    n: int,
    n_columns: int,
    size: tuple[float, float],
    text: float,
) -> tuple[Axes, list[Axes]]:
    """Divide axes into small ones, row by row, each with room for text below.

    Parameters
    ----------
    ax : matplotlib Axes or None
        The axes to divide; their frame is hidden. None makes a new figure.
    n, n_columns : int
        Number of small axes, in all and in a row.
    size : tuple of float
        Width and height, in inches, of each in a new figure.
    text : float
        Fraction of the height of each that stays free below.

    Returns
    -------
    ax : matplotlib Axes
        The axes that are divided.
    cells : list of matplotlib Axes
        The small ones.
    """
    n_columns = max(min(n_columns, n), 1)
    n_rows = max(math.ceil(n / n_columns), 1)
    if ax is None:
        ax = new_axes(size[0] * n_columns, size[1] * n_rows)
    ax.set_axis_off()
    width, height = 1 / n_columns, 1 / n_rows
    cells = []
    for i in range(n):
        row, column = divmod(i, n_columns)
        left, bottom = column * width, 1 - (row + 1 - text) * height
        frame = (left + 0.04 * width, bottom, 0.92 * width, (0.96 - text) * height)
        cell = ax.inset_axes(frame)
        cell.set(xticks=[], yticks=[])
        cells.append(cell)
    return ax, cells


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


def pixel_range(images: np.ndarray) -> tuple[float, float]:
    """Choose the values of black and white: 0..255, 0..1, or the images' own range."""
    low, high = (float(images.min()), float(images.max())) if images.size else (0, 1)
    if low < 0 or high > 255:
        return low, high
    return (0, 1) if high <= 1 and images.dtype != np.uint8 else (0, 255)
