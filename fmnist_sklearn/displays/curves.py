"""Training curves of fitted estimators, as a display in scikit-learn's habit."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.base import is_classifier
from sklearn.exceptions import NotFittedError
from sklearn.utils.validation import check_is_fitted

from .._unwrap import fitted_model
from .drawing import EpochRows, curve_points, draw_curve, label_axes
from .style import axes_for, row_colors, tidy

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.lines import Line2D

_LABELS = {
    "train_loss": "training loss",
    "valid_loss": "validation loss",
    "valid_acc": "validation accuracy",
    "dur": "duration of an epoch (s)",
}


class TrainingCurvesDisplay:
    """Training curves of one or several fitted estimators.

    It is recommended to use :meth:`from_estimator` or :meth:`from_estimators` to
    create a display. All parameters are stored as attributes.

    Parameters
    ----------
    curves : mapping of str to sequence of mapping
        Name of each curve -> its epochs, each a mapping such as
        ``{"epoch": 1, "train_loss": 0.8, "valid_loss": 0.6, "valid_acc": 0.78}``.

    metric : str, default="valid_loss"
        What to draw: "train_loss", "valid_loss", "valid_acc", or whatever else the
        epochs record.

    best_epochs : mapping of str to int, default=None
        Name of a curve -> the epoch whose weights were kept, counted from 1.

    loss_unit : str, default=None
        Unit of losses, for the label of the axis: "nats" for cross-entropy.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Axes with the curves.

    figure_ : matplotlib Figure
        Figure containing the curves.

    lines_ : list of matplotlib Line2D
        The curves, in the order of `curves`.

    training_lines_ : list of matplotlib Line2D
        The dashed curves beside them, where there are any.

    See Also
    --------
    sklearn.model_selection.LearningCurveDisplay : Scores against the number of
        training rows rather than epochs.

    Examples
    --------
    >>> import matplotlib.pyplot as plt
    >>> from fmnist_sklearn import TrainingCurvesDisplay
    >>> epochs = [{"epoch": 1, "valid_loss": 0.6}, {"epoch": 2, "valid_loss": 0.5}]
    >>> display = TrainingCurvesDisplay(curves={"LeNet-5": epochs})
    >>> _, ax = plt.subplots()
    >>> display.plot(ax).ax_.get_ylabel()
    'validation loss'
    """

    ax_: Axes
    figure_: Any  # a Figure, or the SubFigure that holds the axes
    lines_: list[Line2D]
    training_lines_: list[Line2D]

    def __init__(
        self,
        *,
        curves: Mapping[str, EpochRows],
        metric: str = "valid_loss",
        best_epochs: Mapping[str, int] | None = None,
        loss_unit: str | None = None,
    ) -> None:
        self.curves = curves
        self.metric = metric
        self.best_epochs = best_epochs
        self.loss_unit = loss_unit

    def plot(
        self,
        ax: Axes | None = None,
        *,
        mark_best: bool = True,
        with_training: bool = True,
        line_kw: Mapping[str, Any] | None = None,
    ) -> TrainingCurvesDisplay:
        """Draw the curves.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes to draw on. If None, a new figure and axes are created.

        mark_best : bool, default=True
            Whether to mark with a dot, which the legend explains, the epoch of each
            curve whose weights were kept: the best, or with ``load_best=False`` the
            last.

        with_training : bool, default=True
            Whether to draw with a validation metric that of the training, dashed,
            where the epochs record it.

        line_kw : mapping, default=None
            Keyword arguments for matplotlib's ``plot``, for every curve.

        Returns
        -------
        display : :class:`TrainingCurvesDisplay`
            The display itself.

        Raises
        ------
        ValueError
            If there are no curves, or no epoch of some curve records the metric.
        """
        if not self.curves:
            raise ValueError("curves is empty: at least one curve is needed.")
        points = {
            name: curve_points(name, rows, self.metric)
            for name, rows in self.curves.items()
        }
        ax = axes_for(ax)
        self.lines_, self.training_lines_ = [], []
        legend: list[tuple[Line2D, str]] = []
        colors = row_colors(len(points))
        for (name, (epochs, values)), color in zip(points.items(), colors, strict=True):
            kwargs = {"color": color, **(line_kw or {})}
            line = draw_curve(ax, name, epochs, values, **kwargs)
            self.lines_.append(line)
            trained = self._training_points(name) if with_training else None
            if trained is None:
                legend.append((line, str(line.get_label())))
                continue
            dashed = {"linewidth": 1.2, **kwargs, "linestyle": "--"}
            other = draw_curve(ax, f"{name}, training", *trained, **dashed)
            self.training_lines_.append(other)
            legend += [
                (line, f"{line.get_label()}, validation"),
                (other, str(other.get_label())),
            ]
        legend += self._mark_best(ax) if mark_best else []
        label = _LABELS.get(self.metric, self.metric)
        if self.training_lines_:
            label = self.metric.partition("_")[2]
        if self.loss_unit is not None and self.metric.endswith("loss"):
            label = f"{label} ({self.loss_unit})"
        label_axes(ax, label)
        tidy(ax)
        handles, labels = zip(*legend, strict=True)
        ax.legend(handles, labels)
        self.ax_ = ax
        self.figure_ = ax.figure
        return self

    def _training_points(self, name: str) -> tuple[list[int], list[float]] | None:
        """Find the training's counterpart of a validation metric."""
        kind, _, rest = self.metric.partition("_")
        metric = f"train_{rest}"
        rows = self.curves[name]
        if kind != "valid" or not any(row.get(metric) is not None for row in rows):
            return None
        return curve_points(name, rows, metric)

    def _mark_best(self, ax: Axes) -> list[tuple[Line2D, str]]:
        """Draw a dot on the epoch that each curve kept; return one for the legend."""
        dots: list[Line2D] = []
        marked: list[int] = []
        for name, line in zip(self.curves, self.lines_, strict=True):
            best = (self.best_epochs or {}).get(name)
            epochs = np.asarray(line.get_xdata()).tolist()
            if best is not None and best in epochs:
                at = epochs.index(best)
                value = np.asarray(line.get_ydata())[at]
                dots += ax.plot(best, value, "o", color=line.get_color())
                marked.append(best)
        if not dots:
            return []
        word = "epoch kept" if len(marked) == 1 else "epochs kept"
        return [(dots[0], f"{word}: {', '.join(map(str, marked))}")]

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        *,
        metric: str = "valid_loss",
        name: str | None = None,
        ax: Axes | None = None,
        mark_best: bool = True,
        with_training: bool = True,
        line_kw: Mapping[str, Any] | None = None,
    ) -> TrainingCurvesDisplay:
        """Draw the training curve of a fitted estimator.

        Parameters
        ----------
        estimator : fitted estimator
            One that records its epochs: a skorch net, such as
            :class:`~fmnist_sklearn.LeNet5Classifier`, or scikit-learn's
            ``MLPClassifier`` (its "train_loss", and "valid_acc" where it stopped
            early; "valid_score" of an ``MLPRegressor``). Of a Pipeline, the last
            step is meant; of a fitted search, its best estimator; of a wrapper such
            as ``FixedThresholdClassifier``, what it wraps.

        metric : str, default="valid_loss"
            See :class:`TrainingCurvesDisplay`.

        name : str, default=None
            Name of the curve. If None, the estimator's class.

        ax, mark_best, with_training, line_kw
            See :meth:`plot`.

        Returns
        -------
        display : :class:`TrainingCurvesDisplay`
            The display that was drawn.

        Raises
        ------
        TypeError
            If the estimator records no training curve.
        ValueError
            If it does not record `metric`.
        sklearn.exceptions.NotFittedError
            If it is not fitted.

        Examples
        --------
        >>> import matplotlib.pyplot as plt
        >>> from sklearn.datasets import load_iris
        >>> from sklearn.neural_network import MLPClassifier
        >>> from fmnist_sklearn import TrainingCurvesDisplay
        >>> X, y = load_iris(return_X_y=True)
        >>> mlp = MLPClassifier(max_iter=2000, random_state=0).fit(X, y)
        >>> _, ax = plt.subplots()
        >>> display = TrainingCurvesDisplay.from_estimator(
        ...     mlp, metric="train_loss", ax=ax
        ... )
        >>> len(display.lines_)
        1
        """
        if name is None:
            name = type(fitted_model(estimator)).__name__
        return cls.from_estimators(
            {name: estimator},
            metric=metric,
            ax=ax,
            mark_best=mark_best,
            with_training=with_training,
            line_kw=line_kw,
        )

    @classmethod
    def from_estimators(
        cls,
        estimators: Mapping[str, Any] | Iterable[Any],
        *,
        metric: str = "valid_loss",
        ax: Axes | None = None,
        mark_best: bool = True,
        with_training: bool = True,
        line_kw: Mapping[str, Any] | None = None,
    ) -> TrainingCurvesDisplay:
        """Draw the training curves of several fitted estimators, one curve each.

        Parameters
        ----------
        estimators : mapping of str to estimator, or iterable of estimators
            Curve names and the fitted estimators, as :meth:`from_estimator` takes
            them. Without names, a curve bears its estimator's class, numbered where
            several are of one class.

        metric : str, default="valid_loss"
            See :class:`TrainingCurvesDisplay`.

        ax, mark_best, with_training, line_kw
            See :meth:`plot`.

        Returns
        -------
        display : :class:`TrainingCurvesDisplay`
            The display that was drawn.

        Examples
        --------
        >>> import matplotlib.pyplot as plt
        >>> from sklearn.datasets import load_iris
        >>> from sklearn.neural_network import MLPClassifier
        >>> from fmnist_sklearn import TrainingCurvesDisplay
        >>> X, y = load_iris(return_X_y=True)
        >>> small, large = (
        ...     MLPClassifier((width,), max_iter=2000, random_state=0).fit(X, y)
        ...     for width in (10, 100)
        ... )
        >>> _, ax = plt.subplots()
        >>> display = TrainingCurvesDisplay.from_estimators(
        ...     {"10 units": small, "100 units": large}, metric="train_loss", ax=ax
        ... )
        >>> [line.get_label() for line in display.lines_]
        ['10 units', '100 units']
        """
        if not isinstance(estimators, Mapping):
            estimators = _named(list(estimators))
        models = {name: fitted_model(est) for name, est in estimators.items()}
        display = cls(
            curves={name: _epoch_rows(model) for name, model in models.items()},
            metric=metric,
            best_epochs={
                name: model.best_epoch_
                for name, model in models.items()
                if hasattr(model, "best_epoch_")
            },
            # Classifiers that record epochs are trained by cross-entropy.
            loss_unit="nats" if all(map(is_classifier, models.values())) else None,
        )
        return display.plot(
            ax, mark_best=mark_best, with_training=with_training, line_kw=line_kw
        )


def _named(estimators: Sequence[Any]) -> dict[str, Any]:
    classes = [type(fitted_model(estimator)).__name__ for estimator in estimators]
    total, seen = Counter(classes), Counter[str]()
    named = {}
    for name, estimator in zip(classes, estimators, strict=True):
        seen[name] += 1
        named[name if total[name] == 1 else f"{name} {seen[name]}"] = estimator
    return named


def _epoch_rows(model: Any) -> EpochRows:
    """Epochs that a fitted model recorded."""
    name = type(model).__name__
    # skorch names its history_ from 1.0 on; it is there, empty, before any fit.
    if hasattr(model, "history_"):
        if not model.history_:
            raise NotFittedError(f"This {name} instance has no epochs yet. Call 'fit'.")
        return list(model.history_)
    check_is_fitted(model)
    if not hasattr(model, "loss_curve_"):
        raise TypeError(
            f"estimator must record its training epochs in history_ or loss_curve_; "
            f"{name} has neither."
        )
    rows: list[dict[str, Any]] = [{"train_loss": loss} for loss in model.loss_curve_]
    scores = getattr(model, "validation_scores_", None)  # None: not stopped early
    if scores:
        # A regressor's are no accuracies.
        key = "valid_acc" if is_classifier(model) else "valid_score"
        for row, score in zip(rows, scores, strict=False):
            row[key] = score
    return rows
