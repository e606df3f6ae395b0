"""Curves as plain SVG for the report, which style sheets colour and switch."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from ..displays.drawing import EpochRows

# metric -> (title, label of the y axis)
CHARTS = {
    "valid_loss": ("Validation loss", "cross-entropy loss (nats)"),
    "train_loss": ("Training loss", "cross-entropy loss (nats)"),
    "valid_acc": ("Validation accuracy", "accuracy (share of images)"),
}
# Sizes in the units of the drawing, which is scaled to the room that there is.
WIDTH, HEIGHT = 460, 320
LEFT, RIGHT, TOP, BOTTOM = 62, 12, 12, 46
N_COLORS = 8  # in the style sheet; later rows take dashes too


class Tick(NamedTuple):
    """A mark on an axis."""

    at: float
    text: str


class Point(NamedTuple):
    """A value of a curve."""

    x: float
    y: float
    epoch: int
    text: str


@dataclass(frozen=True)
class Curve:
    """One row's curve."""

    row: int
    name: str
    path: str
    points: list[Point]


@dataclass(frozen=True)
class Chart:
    """All rows' curves of a metric."""

    metric: str
    title: str
    ylabel: str
    summary: str  # for who does not see it
    curves: list[Curve]
    x_ticks: list[Tick]
    y_ticks: list[Tick]


def make_charts(curves: Mapping[str, EpochRows]) -> list[Chart]:
    """Draw the metrics that at least one of the curves has."""
    charts = (_make_chart(curves, metric) for metric in CHARTS)
    return [chart for chart in charts if chart is not None]


def _make_chart(curves: Mapping[str, EpochRows], metric: str) -> Chart | None:
    from matplotlib.ticker import MaxNLocator

    known = {
        row: [
            (int(epoch["epoch"]), float(epoch[metric]))
            for epoch in epochs
            if math.isfinite(epoch.get(metric, math.nan))
        ]
        for row, epochs in enumerate(curves.values())
    }
    values = [value for points in known.values() for _, value in points]
    if not values:
        return None
    last = max(epoch for points in known.values() for epoch, _ in points)
    y_locator = MaxNLocator(nbins=6)
    ticks = y_locator.tick_values(min(values), max(values))
    low, high = min(*ticks, *values), max(*ticks, *values)
    n_digits = max(len(f"{tick:g}".partition(".")[2]) for tick in ticks)

    def x(epoch: float) -> float:
        share = (epoch - 1) / (last - 1) if last > 1 else 0.5
        return round(LEFT + share * (WIDTH - LEFT - RIGHT), 1)

    def y(value: float) -> float:
        share = (value - low) / (high - low)
        return round(HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM), 1)

    def draw(row: int, name: str) -> Curve:
        points = [Point(x(e), y(v), e, f"{v:.4f}") for e, v in known[row]]
        path = " ".join(f"{point.x},{point.y}" for point in points)
        return Curve(row, name, path, points)

    title, ylabel = CHARTS[metric]
    drawn = [draw(row, name) for row, name in enumerate(curves) if known[row]]
    best = max if metric == "valid_acc" else min
    summary = "; ".join(
        f"{curve.name}: {curve.points[-1].text} after {curve.points[-1].epoch} epochs, "
        f"best {best(point.text for point in curve.points)}"
        for curve in drawn
    )
    epochs = MaxNLocator(nbins=8, integer=True, steps=[1, 2, 5, 10])
    return Chart(
        metric=metric,
        title=title,
        ylabel=ylabel,
        summary=f"{title} against the epoch. {summary}.",
        curves=drawn,
        x_ticks=[
            Tick(x(tick), f"{tick:.0f}")
            for tick in epochs.tick_values(1, max(last, 2))
            if 1 <= tick <= last
        ],
        y_ticks=[
            Tick(y(tick), f"{tick:.{n_digits}f}")
            for tick in ticks
            if low <= tick <= high
        ],
    )
