"""``report.html`` and the figures: all that a run found, to be looked at."""

from __future__ import annotations

import base64
import hashlib
import io
import math
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ..datasets import CLASS_NAMES
from ..displays.curves import EpochRows, curve_points, draw_curve, label_axes
from ..displays.style import ROW_COLORS, row_colors, tidy
from ..storage.files import atomic_write
from .fits import Judgement

if TYPE_CHECKING:
    import jinja2
    import pandas as pd
    from matplotlib.figure import Figure

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


# figure -> (metric, title, label of the y axis)
_FIGURES = {
    "train_loss": ("train_loss", "Training loss", "cross-entropy loss"),
    "valid_loss": ("valid_loss", "Validation loss", "cross-entropy loss"),
    "accuracy": ("valid_acc", "Validation accuracy", "accuracy"),
}


def benchmark_figures(curves: Mapping[str, EpochRows]) -> dict[str, Figure]:
    """Draw the benchmark's three figures.

    Parameters
    ----------
    curves : mapping of str to sequence of mapping
        Row name -> its epochs, each a mapping with the keys "train_loss",
        "valid_loss", "valid_acc" and "epoch" (counted from 1; their order where it
        is missing).

    Returns
    -------
    figures : dict of str to matplotlib Figure
        "train_loss", "valid_loss" and "accuracy" (on the validation rows) against
        the epoch, one curve a row. They are unknown to pyplot: none needs closing.

    Raises
    ------
    ValueError
        If there is no curve, or one that lacks a metric.

    Examples
    --------
    >>> from fmnist_sklearn.benchmark.report import benchmark_figures
    >>> epochs = [
    ...     {"epoch": 1, "train_loss": 0.9, "valid_loss": 0.6, "valid_acc": 0.78},
    ...     {"epoch": 2, "train_loss": 0.6, "valid_loss": 0.5, "valid_acc": 0.82},
    ... ]
    >>> sorted(benchmark_figures({"LeNet-5": epochs}))
    ['accuracy', 'train_loss', 'valid_loss']
    """
    from matplotlib.figure import Figure

    if not curves:
        raise ValueError("curves must hold at least one row; got none.")
    colors = row_colors(len(curves))
    # More names than would fit between the curves go below them, 0.25 inch a line.
    below = 0.25 * len(curves) if len(curves) > len(ROW_COLORS) else 0
    figures = {}
    for key, (metric, title, ylabel) in _FIGURES.items():
        figure = Figure(figsize=(7, 4.5 + below), layout="constrained")
        ax = figure.subplots()
        for (name, rows), color in zip(curves.items(), colors, strict=True):
            epochs, values = curve_points(name, rows, metric)
            draw_curve(ax, name, epochs, values, color=color, linewidth=1.8)
        label_axes(ax, ylabel)
        ax.set_title(title)
        tidy(ax)
        if below:
            figure.legend(loc="outside lower center")
        else:
            ax.legend()
        figures[key] = figure
    return figures


def save_figures(
    figures: Mapping[str, Figure], folder: str | os.PathLike[str]
) -> list[Path]:
    """Write each figure as SVG and PNG; the same figure gives the same bytes.

    Parameters
    ----------
    figures : mapping of str to matplotlib Figure
        File name without its ending -> figure.

    folder : str or path
        Where to write; created where missing.

    Returns
    -------
    paths : list of Path
        The files, in the order of `figures`, each SVG before its PNG.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> from matplotlib.figure import Figure
    >>> from fmnist_sklearn.benchmark.report import save_figures
    >>> with TemporaryDirectory() as folder:
    ...     [path.name for path in save_figures({"empty": Figure()}, folder)]
    ['empty.svg', 'empty.png']
    """
    import matplotlib

    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    # Without a salt of our own, every SVG would get random ids.
    with matplotlib.rc_context({"svg.hashsalt": "fmnist_sklearn"}):
        for name, figure in figures.items():
            for ending, metadata in (("svg", {"Date": None}), ("png", None)):
                path = folder / f"{name}.{ending}"
                with atomic_write(path) as file:
                    figure.savefig(file, format=ending, dpi=150, metadata=metadata)
                paths.append(path)
    return paths


_SHADES = 10  # of a matrix's cells, in the style sheet
_MOST_CLASSES = 30  # whose matrix can be read; of more, the pairs tell


class Cell(NamedTuple):
    """A cell of a matrix."""

    text: str
    shade: int  # 0 to 10


@dataclass(frozen=True)
class Matrix:
    """Numbers of a small table, shaded."""

    caption: str
    rows_are: str
    columns_are: str
    columns: list[str]
    rows: list[tuple[str, list[Cell]]]


@dataclass(frozen=True)
class Picture:
    """A mistake, with its image."""

    source: str  # a data URI
    true: str
    predicted: str
    confidence: str
    loss: str


@dataclass(frozen=True)
class Judged:
    """A row's confusions and worst mistakes."""

    name: str
    confusion: Matrix | None
    pairs: list[str]
    mistakes: list[Picture]


@dataclass(frozen=True)
class Page:
    """What a report shows.

    Attributes
    ----------
    title : str
        Heading.
    table : pandas.DataFrame
        Short texts; the rows' names in the first column.
    best : str
        Name of the best row.
    notes : sequence of str
        What a reader of the table must know.
    curves : mapping of str to sequence of mapping
        Name of a row -> its epochs.
    facts : mapping of str to str
        How the run was made.
    commands : sequence of str
        How to make it again.
    judged : sequence of Judged
        Confusions and mistakes of rows.
    heat_maps : sequence of Matrix
        Of a search.
    """

    title: str
    table: pd.DataFrame
    best: str
    notes: Sequence[str]
    curves: Mapping[str, EpochRows]
    facts: Mapping[str, str]
    commands: Sequence[str]
    judged: Sequence[Judged] = ()
    heat_maps: Sequence[Matrix] = field(default_factory=list)


def render(page: Page) -> str:
    """Write a page as HTML.

    Whatever comes from users (names of rows, classes and files) is escaped, and the
    page's own policy lets a browser run no script and load nothing but what is in it.

    Parameters
    ----------
    page : Page
        What to show.

    Returns
    -------
    html : str
        One file that needs nothing else.
    """
    environment = _environment()
    rows = list(page.curves)
    style = environment.get_template("report.css").render(n_rows=len(rows))
    script = environment.get_template("report.js").render()
    return environment.get_template("report.html").render(
        page=page,
        table=_table(page.table, rows, page.best),
        columns=_columns(page.table),
        rows=rows,
        charts=make_charts(page.curves),
        size={
            "WIDTH": WIDTH,
            "HEIGHT": HEIGHT,
            "LEFT": LEFT,
            "RIGHT": RIGHT,
            "TOP": TOP,
            "BOTTOM": BOTTOM,
        },
        style=style,
        script=script,
        style_hash=_hash(style),
        script_hash=_hash(script),
    )


@cache
def _environment() -> jinja2.Environment:
    import jinja2

    return jinja2.Environment(
        loader=jinja2.PackageLoader(__package__),
        autoescape=lambda name: name == "report.html",
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _hash(text: str) -> str:
    """Return what a browser compares an inline script or style with."""
    digest = hashlib.sha256(text.encode()).digest()
    return f"sha256-{base64.b64encode(digest).decode()}"


# The table --------------------------------------------------------------------------


def _number(text: str) -> float | None:
    """Return the number that a text begins with."""
    found = re.match(r"-?[\d,]*\.?\d+(e[-+]?\d+)?", text)
    return None if found is None else float(found[0].replace(",", ""))


def _columns(table: pd.DataFrame) -> list[tuple[str, bool]]:
    """Return names, and whether all that is there is numbers."""
    return [
        (name, all(_number(text) is not None for text in table[name] if text))
        for name in table.columns
    ]


def _table(table: pd.DataFrame, rows: list[str], best: str) -> list[dict[str, Any]]:
    return [
        {
            "name": name,
            "row": rows.index(name) if name in rows else None,
            "is_best": name == best,
            "cells": [(text, _number(text)) for text in cells],
        }
        for name, *cells in table.itertuples(index=False)
    ]


# Matrices and mistakes --------------------------------------------------------------


def class_names(record: Mapping[str, Any], labels: Sequence[Any]) -> list[str]:
    """Name labels: Fashion-MNIST's numbers by their articles, others as they are."""
    is_fashion = record["data"]["name"] in ("full", "sample")
    # Names are also those of a folder of one's own that is called so.
    if is_fashion and all(isinstance(label, int) for label in labels):
        return [CLASS_NAMES[label] for label in labels]
    return [str(label) for label in labels]


def judged_row(
    name: str,
    record: Mapping[str, Any],
    judgements: Sequence[Judgement],
    X_test: np.ndarray,
) -> Judged:
    """Sum up what the models of a row, one a fold, made of the test images.

    Parameters
    ----------
    name : str
        Of the row.
    record : mapping
        Of the run.
    judgements : sequence of Judgement
        Of each model. The mistakes shown are the first's.
    X_test : ndarray
        The test images.
    """
    first = judgements[0]
    counts = np.sum([judgement.confusion for judgement in judgements], axis=0)
    names = class_names(record, first.labels)
    of_label = dict(zip(first.labels, names, strict=True))
    models = "" if len(judgements) == 1 else f", over {len(judgements)} models"
    return Judged(
        name=name,
        confusion=count_matrix(counts, names, f"Test images{models}"),
        pairs=_pairs(counts, names),
        mistakes=[
            Picture(
                source=data_uri(X_test[mistake.index], first.image_shape),
                true=of_label[mistake.true],
                predicted=of_label[mistake.predicted],
                confidence=f"{mistake.confidence:.0%}",
                loss=f"{mistake.loss:.2f}",
            )
            for mistake in first.mistakes
        ],
    )


def count_matrix(counts: np.ndarray, names: list[str], caption: str) -> Matrix | None:
    """Make a confusion matrix for reading; None where there are too many classes."""
    if len(names) > _MOST_CLASSES:
        return None
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    return Matrix(
        caption=caption,
        rows_are="true",
        columns_are="predicted",
        columns=names,
        rows=[
            (
                name,
                [
                    Cell(f"{count:,}" if count else "", int(np.ceil(share * _SHADES)))
                    for count, share in zip(counts[i], shares[i], strict=True)
                ],
            )
            for i, name in enumerate(names)
        ],
    )


def score_matrix(
    scores: np.ndarray, x: str, y: str, columns: list[str], rows: list[str]
) -> Matrix:
    """Make a search's scores over two parameters for reading."""
    low, high = np.nanmin(scores), np.nanmax(scores)
    shares = (scores - low) / (high - low or 1)
    return Matrix(
        caption=f"Accuracy over {y} and {x}",
        rows_are=y,
        columns_are=x,
        columns=columns,
        rows=[
            (
                name,
                [
                    Cell("", 0)
                    if np.isnan(score)
                    else Cell(f"{score:.4f}", round(1 + share * (_SHADES - 1)))
                    for score, share in zip(scores[i], shares[i], strict=True)
                ],
            )
            for i, name in enumerate(rows)
        ],
    )


def _pairs(counts: np.ndarray, names: list[str]) -> list[str]:
    """Tell which labels are taken for which most often."""
    wrong = counts - np.diag(np.diag(counts))
    order = np.argsort(-wrong, axis=None, kind="stable")[:5]
    places = zip(*np.unravel_index(order, wrong.shape), strict=True)
    return [
        f"{names[i]} taken for {names[j]}: {wrong[i, j]:,}"
        for i, j in places
        if wrong[i, j]
    ]


def data_uri(image: Any, shape: tuple[int, int, int]) -> str:
    """Write an image into the page itself, as PNG.

    Parameters
    ----------
    image : array-like
        Pixels in any layout, 0 to 255 or of another range.
    shape : tuple of int
        Channels, height and width.
    """
    from PIL import Image

    pixels = np.asarray(image).reshape(shape)
    if pixels.dtype != np.uint8:
        low, high = float(pixels.min()), float(pixels.max())
        # 0..1 and 0..255 as they are; others by their own range.
        if low < 0 or high > 255:
            pixels = (pixels - low) / (high - low or 1)
        elif high > 1:
            pixels = pixels / 255
        pixels = (pixels * 255).round().astype(np.uint8)
    # Of other numbers of channels than 3, the first is shown.
    picture = pixels.transpose(1, 2, 0) if len(pixels) == 3 else pixels[0]
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "PNG")
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"
