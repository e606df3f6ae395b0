"""Colours, axes and grids of all displays, readable on white and on dark pages."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Blue, rose, green and grey, as in the published figures. Rose and green also differ in
# lightness, for readers with red-green colour blindness. All are visible on white and
# on black; texts and axes have the colours of the current matplotlib style.
ROW_COLORS = ("#2563a8", "#ee7f97", "#1f7a4d", "#8c9199")
COLORS = (*ROW_COLORS, "#b45309", "#7c3aed", "#8a6d00", "#b04ac0")
WRONG = "#d6486a"


def axes_for(ax: Axes | None, width: float = 6.4, height: float = 4.2) -> Axes:
    """Return the caller's axes, or those of a new figure of this size in inches."""
    if ax is not None:
        return ax
    import matplotlib.pyplot as plt

    _, new = plt.subplots(figsize=(width, height), layout="constrained")
    return new


def grid_of_axes(ax: Axes, n: int, n_columns: int, text: float = 0.0) -> list[Axes]:
    """Divide axes into small ones, row by row, each with room for text below.

    Parameters
    ----------
    ax : matplotlib Axes
        The axes to divide; their frame is hidden.
    n, n_columns : int
        Number of small axes, in all and in a row.
    text : float, default=0.0
        Fraction of the height of each that stays free below.
    """
    n_rows = max(-(-n // n_columns), 1)
    ax.set_axis_off()
    width, height = 1 / n_columns, 1 / n_rows
    cells = []
    for i in range(n):
        row, column = divmod(i, n_columns)
        left, top = column * width, 1 - row * height
        bottom = top - height * (1 - text)
        cell = ax.inset_axes(
            (left + 0.04 * width, bottom, 0.92 * width, top - bottom - 0.04 * height)
        )
        cell.set(xticks=[], yticks=[])
        cells.append(cell)
    return cells
