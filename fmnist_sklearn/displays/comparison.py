"""Differences between models with their intervals, as a display."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from .style import AS_IT_IS, COLORS, drawn_text, new_axes

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes


@dataclass(kw_only=True, eq=False, repr=False)
class ComparisonDisplay:
    """The differences of models to one of them, a dot and an interval each.

    It is recommended to use :meth:`from_comparison` to create a display. All
    parameters are stored as attributes.

    Parameters
    ----------
    comparison : pandas.DataFrame
        What :func:`~fmnist_sklearn.compare_models` returns.

    label : str, default="difference to the reference, 95 % intervals"
        Of the axis of differences.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Axes with the dots.

    figure_ : matplotlib Figure
        Figure containing them.

    Examples
    --------
    >>> import matplotlib.pyplot as plt
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.model_selection import GridSearchCV
    >>> from fmnist_sklearn import ComparisonDisplay, compare_models
    >>> X, y = load_iris(return_X_y=True)
    >>> search = GridSearchCV(LogisticRegression(max_iter=1000), {"C": [0.1, 1]})
    >>> _, ax = plt.subplots()
    >>> table = compare_models(search.fit(X, y))
    >>> ComparisonDisplay.from_comparison(table, ax=ax).ax_.get_xlabel()
    'difference to the reference, 95 % intervals'
    """

    comparison: pd.DataFrame
    label: str = "difference to the reference, 95 % intervals"

    def plot(self, ax: Axes | None = None) -> ComparisonDisplay:
        """Draw the dots and intervals.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes to draw on. If None, a new figure and axes are created.

        Returns
        -------
        display : :class:`ComparisonDisplay`
            The display itself.
        """
        rows = self.comparison.sort_values("difference", ascending=False, kind="stable")
        n = len(rows)
        self.ax_ = ax = new_axes(8, 1.2 + 0.3 * n) if ax is None else ax
        self.figure_ = ax.figure
        ax.axvline(0, color=COLORS[3], linewidth=1)
        ends = rows["difference_low"], rows["difference_high"]
        ax.hlines(range(n), *ends, color=COLORS[0], linewidth=2)
        ax.plot(rows["difference"], range(n), "o", color=COLORS[0])
        labels = [drawn_text(name, 50) for name in rows["model"]]
        ax.set_yticks(range(n), labels=labels, **AS_IT_IS)
        ax.set_ylim(n - 0.5, -0.5)
        ax.xaxis.set_label_text(drawn_text(self.label), parse_math=False)
        ax.grid(axis="x", alpha=0.25)
        ax.spines[["top", "right"]].set_visible(False)
        return self

    @classmethod
    def from_comparison(
        cls, comparison: pd.DataFrame, *, ax: Axes | None = None
    ) -> ComparisonDisplay:
        """Draw the differences of models to the one they are compared with.

        Parameters
        ----------
        comparison : pandas.DataFrame
            What :func:`~fmnist_sklearn.compare_models` returns.

        ax : matplotlib Axes, default=None
            Axes to draw on. If None, a new figure and axes are created.

        Returns
        -------
        display : :class:`ComparisonDisplay`
            The display that was drawn: the best model at the top; a dot without an
            interval where there is no test.
        """
        return cls(comparison=comparison).plot(ax)
