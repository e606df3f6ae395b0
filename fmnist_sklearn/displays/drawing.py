"""What all figures of training curves share, the benchmark's too."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.lines import Line2D

EpochRows = Sequence[Mapping[str, Any]]

# What skorch's history also holds, and no curve is drawn of.
_SKORCHS_OWN = re.compile("^batches$|_batch_count$|_best$|^event_")


def curve_points(
    name: str, rows: EpochRows, metric: str
) -> tuple[list[int], list[float]]:
    """Find the epochs that record a metric, and its values there.

    Epochs count from 1 where their mappings have no "epoch".

    Raises
    ------
    TypeError
        If the metric is no text.
    ValueError
        If no epoch records the metric.
    """
    if not isinstance(metric, str):
        raise TypeError(
            "metric must name one thing that epochs record, such as 'valid_loss', got "
            f"{metric!r}"
        )
    points = [
        (row.get("epoch", number), row[metric])
        for number, row in enumerate(rows, start=1)
        if row.get(metric) is not None
    ]
    if not points:
        keys = {str(key) for row in rows for key in row} - {"epoch"}
        recorded = sorted(key for key in keys if not _SKORCHS_OWN.search(key))
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


def draw_curve(
    ax: Axes, name: str, epochs: list[int], values: list[float], **line_kw: Any
) -> Line2D:
    """Draw one curve, labelled with its name unless `line_kw` says otherwise."""
    # A line through one point is invisible.
    marker = "o" if len(epochs) == 1 else ""
    (line,) = ax.plot(epochs, values, **{"marker": marker, "label": name, **line_kw})
    return line


def label_axes(ax: Axes, ylabel: str) -> None:
    """Label axes with curves against the epoch; only whole epochs get a tick."""
    from matplotlib.ticker import MaxNLocator

    ax.set(xlabel="epoch", ylabel=ylabel)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10]))
