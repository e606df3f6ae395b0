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


def new_axes(width: float = 6.4, height: float = 4.2) -> Axes:
    """Return the axes of a new figure of this size in inches."""
    import matplotlib.pyplot as plt

    _, ax = plt.subplots(figsize=(width, height), layout="constrained")
    return ax
