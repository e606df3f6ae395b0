"""Training curves of fitted estimators, as displays in the style of scikit-learn."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle
from typing import TYPE_CHECKING, Any

from sklearn.base import is_classifier
from sklearn.exceptions import NotFittedError
from sklearn.utils.validation import check_is_fitted

from .._sklearn import fitted_model
from .style import COLORS, add_legend, new_axes

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.lines import Line2D

EpochRows = Sequence[Mapping[str, Any]]

_LABELS = {
    "train_loss": "training loss",
    "valid_loss": "validation loss",
    "valid_acc": "validation accuracy",
    "dur": "duration of an epoch (s)",
}


@dataclass(kw_only=True, eq=False, repr=False)
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
        What to draw: "train_loss", "valid_loss", "valid_acc", or any other metric
        that the epochs record.

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
        The dashed training curves drawn with validation curves.

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

    curves: Mapping[str, EpochRows]
    metric: str = "valid_loss"
    best_epochs: Mapping[str, int] | None = None
    loss_unit: str | None = None

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
            Whether to draw the training metric, dashed, with a validation metric if
            the epochs record it.

        line_kw : mapping, default=None
            Keyword arguments for matplotlib's ``plot``, for every curve.

        Returns
        -------
        display : :class:`TrainingCurvesDisplay`
            The display itself.

        Raises
        ------
        ValueError
            If there are no curves, or a curve in which no epoch records the metric.
        """
        from matplotlib.ticker import MaxNLocator

        if not self.curves:
            raise ValueError("curves is empty: at least one curve is needed.")
        points = {
            name: _curve_points(name, rows, self.metric)
            for name, rows in self.curves.items()
        }
        self.ax_ = ax = new_axes() if ax is None else ax
        self.figure_ = ax.figure
        self.lines_: list[Line2D] = []
        self.training_lines_: list[Line2D] = []
        legend: list[tuple[str, Line2D]] = []
        dots: list[Line2D] = []
        kept: list[str] = []
        kind, _, quantity = self.metric.partition("_")
        training_metric = f"train_{quantity}"
        for (name, rows), color in zip(self.curves.items(), cycle(COLORS)):
            kwargs = {"color": color, **(line_kw or {})}
            line = _draw_curve(ax, name, *points[name], **kwargs)
            self.lines_.append(line)
            is_recorded = any(row.get(training_metric) is not None for row in rows)
            if with_training and kind == "valid" and is_recorded:
                trained = _curve_points(name, rows, training_metric)
                label = f"{name}, training"
                style = {"linewidth": 1.2, **kwargs, "linestyle": "--"}
                self.training_lines_.append(_draw_curve(ax, label, *trained, **style))
                legend.append((f"{name}, validation", line))
                legend.append((label, self.training_lines_[-1]))
            else:
                legend.append((name, line))
            best = (self.best_epochs or {}).get(name)
            epochs, values = points[name]
            if mark_best and best in epochs:
                value = values[epochs.index(best)]
                # Above the lines, whose zorder is 2.
                dots += ax.plot(best, value, "o", color=line.get_color(), zorder=2.1)
                kept.append(str(best))
        if dots:
            word = "epoch kept" if len(kept) == 1 else "epochs kept"
            legend.append((f"{word}: {', '.join(kept)}", dots[0]))
        label = _LABELS.get(self.metric, self.metric)
        if self.training_lines_:  # both are drawn: "loss"
            label = quantity
        if self.loss_unit is not None and self.metric.endswith("loss"):
            label = f"{label} ({self.loss_unit})"
        ax.set(xlabel="epoch", ylabel=label)
        # Only whole epochs get a tick.
        ax.xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10]))
        ax.grid(alpha=0.25)
        ax.spines[["top", "right"]].set_visible(False)
        add_legend(ax, legend)
        return self

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        *,
        metric: str = "valid_loss",
        name: str | None = None,
        ax: Axes | None = None,
        **plot_kw: Any,
    ) -> TrainingCurvesDisplay:
        """Draw the training curve of a fitted estimator.

        Parameters
        ----------
        estimator : fitted estimator
            One that records its epochs: a skorch net, such as
            :class:`~fmnist_sklearn.LeNet5Classifier`, or scikit-learn's
            ``MLPClassifier`` (its "train_loss", and "valid_acc" with early
            stopping; "valid_score" of an ``MLPRegressor``). In a Pipeline, the last
            step is used; in a fitted search, its best estimator; in a wrapper such
            as ``FixedThresholdClassifier``, the wrapped estimator.

        metric : str, default="valid_loss"
            See :class:`TrainingCurvesDisplay`.

        name : str, default=None
            Name of the curve. If None, the estimator's class.

        ax : matplotlib Axes, default=None
            Axes to draw on. If None, a new figure and axes are created.

        **plot_kw : dict
            `mark_best`, `with_training` and `line_kw`, see :meth:`plot`.

        Returns
        -------
        display : :class:`TrainingCurvesDisplay`
            The display that was drawn.

        Raises
        ------
        TypeError
            If the estimator does not record a training curve.
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
        estimators = [estimator] if name is None else {name: estimator}
        return cls.from_estimators(estimators, metric=metric, ax=ax, **plot_kw)

    @classmethod
    def from_estimators(
        cls,
        estimators: Mapping[str, Any] | Iterable[Any],
        *,
        metric: str = "valid_loss",
        ax: Axes | None = None,
        **plot_kw: Any,
    ) -> TrainingCurvesDisplay:
        """Draw the training curves of several fitted estimators, one curve each.

        Parameters
        ----------
        estimators : mapping of str to estimator, or iterable of estimators
            Curve names and the fitted estimators, as :meth:`from_estimator` takes
            them. Without names, a curve is named after its estimator's class, with a
            number if several are of one class.

        metric : str, default="valid_loss"
            See :class:`TrainingCurvesDisplay`.

        ax : matplotlib Axes, default=None
            Axes to draw on. If None, a new figure and axes are created.

        **plot_kw : dict
            `mark_best`, `with_training` and `line_kw`, see :meth:`plot`.

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
        if isinstance(estimators, Mapping):
            models = {name: fitted_model(est) for name, est in estimators.items()}
        else:
            fitted = [fitted_model(estimator) for estimator in estimators]
            classes = [type(model).__name__ for model in fitted]
            models = {}
            for i, (name, model) in enumerate(zip(classes, fitted, strict=True)):
                number = f" {classes[: i + 1].count(name)}"
                models[name + (number if classes.count(name) > 1 else "")] = model
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
        return display.plot(ax, **plot_kw)


def _epoch_rows(model: Any) -> EpochRows:
    """Return the epochs that a fitted model recorded."""
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
    # A regressor's scores are not accuracies. None: not stopped early.
    key = "valid_acc" if is_classifier(model) else "valid_score"
    scores = getattr(model, "validation_scores_", None) or []
    for row, score in zip(rows, scores, strict=False):
        row[key] = score
    return rows


def _curve_points(
    name: str, rows: EpochRows, metric: str
) -> tuple[list[int], list[float]]:
    """Find the epochs that record a metric, and its values there.

    Epochs without a key "epoch" are counted from 1.

    Raises
    ------
    ValueError
        If no epoch records the metric.
    """
    points = [
        (row.get("epoch", number), row[metric])
        for number, row in enumerate(rows, start=1)
        if row.get(metric) is not None
    ]
    if not points:
        # skorch's history also has counts, lists of batches and whether one is best.
        recorded = sorted(
            {key for row in rows for key in row if isinstance(row[key], float)}
        )
        reason = (
            " A model trained without validation rows (validation_fraction=0) has no "
            "validation curve; draw metric='train_loss'."
            if metric.startswith("valid")
            else ""
        )
        raise ValueError(
            f"metric={metric!r} is not recorded by {name!r}, only {recorded}.{reason}"
        )
    epochs, values = zip(*points, strict=True)
    return list(epochs), list(values)


def _draw_curve(
    ax: Axes, label: str, epochs: list[int], values: list[float], **line_kw: Any
) -> Line2D:
    """Draw one curve."""
    # A line through one point is invisible.
    kwargs = {"marker": "o" if len(epochs) == 1 else "", **line_kw}
    (line,) = ax.plot(epochs, values, label=label, **kwargs)
    return line
