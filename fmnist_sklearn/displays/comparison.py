"""Differences between models with their intervals, as a display."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from .style import AS_IT_IS, COLORS, drawn_text, new_axes, without_latex

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes


@dataclass(kw_only=True, eq=False, repr=False)
class ComparisonDisplay:
    """A dot and an interval for each model.

    It is recommended to use :meth:`from_comparison` to create a display. All
    parameters are stored as attributes.

    Parameters
    ----------
    names : sequence of str
        The models, from top to bottom.

    values, lows, highs : sequence of float
        Of each model, the value to draw and the ends of its interval; nan for an
        interval that is not known.

    label : str
        Of the axis of values.

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
    'difference to LogisticRegression (C=1.0), with 95 % intervals'
    """

    names: Sequence[str]
    values: Sequence[float] | np.ndarray
    lows: Sequence[float] | np.ndarray
    highs: Sequence[float] | np.ndarray
    label: str

    @without_latex()
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
        n = len(self.names)
        self.ax_ = ax = new_axes(7, 1.2 + 0.3 * n) if ax is None else ax
        self.figure_ = ax.figure
        ax.axvline(0, color=COLORS[3], linewidth=1)
        ax.hlines(range(n), self.lows, self.highs, color=COLORS[0], linewidth=2)
        ax.plot(self.values, range(n), "o", color=COLORS[0])
        labels = [drawn_text(name, 40) for name in self.names]
        ax.set_yticks(range(n), labels=labels, **AS_IT_IS)
        ax.set_ylim(n - 0.5, -0.5)
        ax.xaxis.set_label_text(drawn_text(self.label, 70), parse_math=False)
        ax.grid(axis="x", alpha=0.25)
        ax.set_axisbelow(True)
        ax.spines[["top", "right"]].set_visible(False)
        return self

    @classmethod
    def from_comparison(
        cls, table: pd.DataFrame, *, ax: Axes | None = None
    ) -> ComparisonDisplay:
        """Draw the differences of models to the one they are compared with.

        Parameters
        ----------
        table : pandas.DataFrame
            What :func:`~fmnist_sklearn.compare_models` returns.

        ax : matplotlib Axes, default=None
            Axes to draw on. If None, a new figure and axes are created.

        Returns
        -------
        display : :class:`ComparisonDisplay`
            The display that was drawn: the largest difference at the top; a dot
            without an interval where there is no test.
        """
        return cls(**difference_intervals(table)).plot(ax)


def difference_intervals(table: pd.DataFrame) -> dict[str, Any]:
    """Return the parameters of a display of a comparison."""
    table = table.sort_values("difference", ascending=False, kind="stable")
    (reference,) = table.loc[table["comparison"] == "reference", "model"]
    return {
        "names": table["model"].tolist(),
        "values": table["difference"].to_numpy(),
        "lows": table["difference_low"].to_numpy(),
        "highs": table["difference_high"].to_numpy(),
        "label": f"difference to {reference}, with 95 % intervals",
    }
