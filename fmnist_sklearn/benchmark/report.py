"""``report.html`` and the figures of a run."""

from __future__ import annotations

import base64
import hashlib
import io
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..datasets import CLASS_NAMES
from ..displays.curves import EpochRows, TrainingCurvesDisplay
from ..displays.images import pixel_range
from ..displays.style import ROW_COLORS, add_legend, one_line, without_latex
from .tables import format_comparison

if TYPE_CHECKING:
    import jinja2
    import pandas as pd
    from matplotlib.figure import Figure

    from ..displays import SearchHeatmapDisplay

# metric -> (title, label of the y axis, its unit)
_CHARTS = {
    "valid_loss": ("Validation loss", "cross-entropy loss", "nats"),
    "train_loss": ("Training loss", "cross-entropy loss", "nats"),
    "valid_acc": ("Validation accuracy", "accuracy", "share of images"),
}
# Sizes of a chart in the page, which scales it to its own width.
SIZE = {"WIDTH": 460, "HEIGHT": 320, "LEFT": 62, "RIGHT": 12, "TOP": 12, "BOTTOM": 46}


@dataclass(frozen=True)
class Judged:
    """A row's confusions and worst mistakes on the test images.

    Attributes
    ----------
    name : str
        Name of the row.
    caption : str
        Of the confusions: how many models they are of.
    labels : list of str
        The classes.
    confusion : ndarray of shape (n_classes, n_classes)
        Numbers of images, a row for each true label.
    pairs : list of str
        The most frequent confusions.
    mistakes : list of dict
        "true", "predicted", "confidence" and "loss" of each, and its "source": the
        image as a data URI.
    """

    name: str
    caption: str
    labels: list[str]
    confusion: np.ndarray
    pairs: list[str]
    mistakes: list[dict[str, Any]]


def render(
    *,
    table: pd.DataFrame,
    best: str,
    curves: Mapping[str, EpochRows],
    heat_map: SearchHeatmapDisplay | None,
    comparison: pd.DataFrame | None = None,
    **page: Any,
) -> str:
    """Write ``report.html``.

    Text from users (names of rows, classes and files) is escaped, and the page's own
    policy forbids a browser to run other scripts or to load anything.

    Parameters
    ----------
    table : pandas.DataFrame
        Short texts; the rows' names in the first column.
    best : str
        Name of the best row.
    curves : mapping of str to sequence of mapping
        Name of a row -> its epochs.
    heat_map : SearchHeatmapDisplay or None
        Of a search; it is not drawn, but written as a table.
    comparison : pandas.DataFrame or None
        The rows compared with the best.
    **page : dict
        Other values of the template: "title", "notes" (what readers of the table must
        know), "facts" and "commands" (how the run was made), and "judged" (a
        :class:`Judged` for each row).

    Returns
    -------
    html : str
        One file that needs no other.
    """
    if heat_map is not None:
        from ..displays.heatmap import tick_labels

        page["columns_and_rows"] = [
            tick_labels(values) for values in (heat_map.x_values, heat_map.y_values)
        ]
    rows = list(curves)
    style = _template("report.css").render(n_rows=len(rows))
    script = _template("report.js").render()
    return _template("report.html").render(
        **page,
        columns=[
            (name, all(_number(text) is not None for text in table[name] if text))
            for name in table.columns
        ],
        table=table.to_numpy().tolist(),
        best=best,
        rows=rows,
        charts=make_charts(curves),
        intervals=None if comparison is None else make_intervals(comparison),
        size=SIZE,
        heat_map=heat_map,
        style=style,
        script=script,
        style_hash=_hash(style),
        script_hash=_hash(script),
    )


@cache
def _template(name: str) -> jinja2.Template:
    import jinja2

    environment = jinja2.Environment(
        autoescape=True,
        # Texts in one line; the templates, which are markup, as they are.
        finalize=lambda value: value if hasattr(value, "__html__") else one_line(value),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["number"] = _number
    text = Path(__file__).with_name("templates").joinpath(name).read_text("utf-8")
    return environment.from_string(text)


def _hash(text: str) -> str:
    """Return what a browser compares an inline script or style with."""
    digest = hashlib.sha256(text.encode()).digest()
    return f"sha256-{base64.b64encode(digest).decode()}"


def _number(text: str) -> float | None:
    """Return the number at the start of a text, by which a column is sorted."""
    found = re.match(r"-?[\d,]*\.?\d+(e[-+]?\d+)?", text)
    return None if found is None else float(found[0].replace(",", ""))


# Curves: as SVG in the page, which its style sheet colours, and as figures -----------


def make_charts(curves: Mapping[str, EpochRows]) -> list[dict[str, Any]]:
    """Place the curves of each metric that at least one row has.

    Parameters
    ----------
    curves : mapping of str to sequence of mapping
        Name of a row -> its epochs.

    Returns
    -------
    charts : list of dict
        Values of the template, with coordinates in the units of ``SIZE``. A point is
        its x, y, epoch and text.
    """
    charts = []
    for metric in _CHARTS:
        known = {
            name: [
                (int(epoch["epoch"]), float(epoch[metric]))
                for epoch in epochs
                if math.isfinite(epoch.get(metric, math.nan))
            ]
            for name, epochs in curves.items()
        }
        if any(known.values()):
            charts.append(_make_chart(metric, known))
    return charts


def _make_chart(
    metric: str, known: Mapping[str, list[tuple[int, float]]]
) -> dict[str, Any]:
    from matplotlib.ticker import MaxNLocator

    values = [value for points in known.values() for _, value in points]
    last = max(epoch for points in known.values() for epoch, _ in points)
    y_ticks = MaxNLocator(nbins=6).tick_values(min(values), max(values))
    whole = MaxNLocator(nbins=8, integer=True, steps=[1, 2, 5, 10])
    x_ticks = [t for t in whole.tick_values(1, max(last, 2)) if 1 <= t <= last]
    low, high = min(*y_ticks, *values), max(*y_ticks, *values)
    n_digits = max(len(f"{tick:g}".partition(".")[2]) for tick in y_ticks)

    def x(epoch: float) -> float:
        share = (epoch - 1) / (last - 1) if last > 1 else 0.5
        width = SIZE["WIDTH"] - SIZE["LEFT"] - SIZE["RIGHT"]
        return round(SIZE["LEFT"] + share * width, 1)

    def y(value: float) -> float:
        share = (value - low) / (high - low)
        height = SIZE["HEIGHT"] - SIZE["TOP"] - SIZE["BOTTOM"]
        return round(SIZE["HEIGHT"] - SIZE["BOTTOM"] - share * height, 1)

    title, ylabel, unit = _CHARTS[metric]
    return {
        "metric": metric,
        "title": title,
        "ylabel": f"{ylabel} ({unit})",
        "curves": [
            {
                "row": row,
                "name": name,
                "points": [(x(e), y(value), e, f"{value:.4f}") for e, value in points],
            }
            for row, (name, points) in enumerate(known.items())
            if points
        ],
        "x_ticks": [(x(tick), f"{tick:.0f}") for tick in x_ticks],
        "y_ticks": [(y(tick), f"{tick:.{n_digits}f}") for tick in y_ticks],
    }


def make_intervals(comparison: pd.DataFrame) -> dict[str, Any]:
    """Place the dots and intervals of a comparison, the first 30 of them.

    Parameters
    ----------
    comparison : pandas.DataFrame
        What ``compare`` of a result returns.

    Returns
    -------
    intervals : dict
        Values of the template, with coordinates in the units of ``SIZE``. A row is its
        name, y, and the x of its value and of the ends of its interval or None.
        "table" is all of it as texts.
    """
    from matplotlib.ticker import MaxNLocator

    best = comparison.sort_values("difference", ascending=False, kind="stable")[:30]
    rows = best.loc[:, "difference":"difference_high"].to_numpy()
    known = rows[np.isfinite(rows)]
    ticks = list(MaxNLocator(nbins=6).tick_values(known.min(), known.max()))

    def x(value: float) -> float | None:
        place = np.interp(value, [ticks[0], ticks[-1]], [20, SIZE["WIDTH"] - 20])
        return None if math.isnan(place) else round(float(place), 1)

    return {
        "table": format_comparison(comparison),
        "height": 36 * len(rows) + 40,
        "ticks": [(x(tick), f"{tick:g}") for tick in ticks],
        "origin": x(0),
        "rows": [
            (name, 36 * i + 30, *map(x, row))
            for i, (name, row) in enumerate(zip(best["model"], rows, strict=True))
        ],
    }


@without_latex()
def benchmark_figures(curves: Mapping[str, EpochRows]) -> dict[str, Figure]:
    """Draw the benchmark's three figures.

    Parameters
    ----------
    curves : mapping of str to sequence of mapping
        Row name -> its epochs, each a mapping with the keys "train_loss",
        "valid_loss", "valid_acc" and "epoch" (counted from 1; their order where it
        is missing). Rows are left out where they lack a metric, as those of models
        without epochs do.

    Returns
    -------
    figures : dict of str to matplotlib Figure
        "train_loss", "valid_loss" and "accuracy" (on the validation rows) against
        the epoch, one curve a row, where there is one. They are unknown to pyplot, and
        need no closing.

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

    # More names than fit between the curves go below them, 0.25 inch a line.
    below = 0.25 * len(curves) if len(curves) > len(ROW_COLORS) else 0
    figures = {}
    for metric in ("train_loss", "valid_loss", "valid_acc"):
        known = {
            name: rows for name, rows in curves.items() if rows and metric in rows[0]
        }
        if not known:
            continue
        figure = Figure(figsize=(7, 4.5 + below), layout="constrained")
        ax = figure.subplots()
        display = TrainingCurvesDisplay(curves=known, metric=metric).plot(
            ax, with_training=False, line_kw={"linewidth": 1.8}
        )
        title, ylabel, _ = _CHARTS[metric]
        ax.set(title=title, ylabel=ylabel)
        legend = ax.get_legend()
        if below and legend is not None:
            legend.remove()
            entries = zip(known, display.lines_, strict=True)
            add_legend(figure, entries, loc="outside lower center")
        figures["accuracy" if metric == "valid_acc" else metric] = figure
    return figures


# Confusions and mistakes ------------------------------------------------------------


def judge_row(
    name: str,
    record: Mapping[str, Any],
    results: Sequence[Mapping[str, Any]],
    X_test: np.ndarray,
) -> Judged:
    """Sum up how the models of a row, one for each fold, did on the test images.

    Parameters
    ----------
    name : str
        Name of the row.
    record : mapping
        Record of the run.
    results : sequence of mapping
        What ``evaluate`` returns for each model. The mistakes shown are those of the
        first.
    X_test : ndarray
        The test images.
    """
    first = results[0]
    counts = np.sum([result["confusion"] for result in results], axis=0)
    names = class_names(record, first["labels"])
    of_label = dict(zip(first["labels"], names, strict=True))
    wrong = counts - np.diag(np.diag(counts))
    worst = np.argsort(-wrong, axis=None, kind="stable")[:5]
    return Judged(
        name=name,
        caption="Test images"
        + ("" if len(results) == 1 else f", over {len(results)} models"),
        labels=names,
        confusion=counts,
        pairs=[
            f"{names[i]} taken for {names[j]}: {wrong[i, j]:,}"
            for i, j in zip(*np.unravel_index(worst, wrong.shape), strict=True)
            if wrong[i, j]
        ],
        mistakes=[
            {
                **mistake,
                "true": of_label[mistake["true"]],
                "predicted": of_label[mistake["predicted"]],
                "source": data_uri(X_test[mistake["index"]], first["image_shape"]),
            }
            for mistake in first["mistakes"]
        ],
    )


def class_names(record: Mapping[str, Any], labels: Sequence[Any]) -> list[str]:
    """Name Fashion-MNIST's numbers by their classes, other labels as they are."""
    is_fashion = record["data"]["name"] in ("full", "sample")
    # Labels of Fashion-MNIST may be names already.
    if is_fashion and all(isinstance(label, int) for label in labels):
        return [CLASS_NAMES[label] for label in labels]
    return [str(label) for label in labels]


def data_uri(image: Any, shape: tuple[int, int, int]) -> str:
    """Encode an image as PNG in a data URI.

    Parameters
    ----------
    image : array-like
        Pixels in any layout, 0 to 255 or of another range.
    shape : tuple of int
        Channels, height and width.
    """
    from PIL import Image

    # The network lays rows out in a square that holds them, and pads with zeros.
    row = np.ravel(image)
    pixels = np.pad(row, (0, math.prod(shape) - len(row))).reshape(shape)
    low, high = pixel_range(pixels)
    pixels = ((pixels - low) / (high - low or 1) * 255).round().astype(np.uint8)
    # Of other numbers of channels than 3, the first is shown.
    picture = pixels.transpose(1, 2, 0) if len(pixels) == 3 else pixels[0]
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "PNG")
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"
