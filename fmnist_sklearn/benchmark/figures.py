"""The benchmark's three figures: losses and accuracy against the epoch."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from ..displays.drawing import EpochRows, curve_points, draw_curve, label_axes
from ..displays.style import ROW_COLORS, row_colors, tidy
from ..storage.files import atomic_write

if TYPE_CHECKING:
    from matplotlib.figure import Figure

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
    >>> from fmnist_sklearn.benchmark.figures import benchmark_figures
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
    >>> from fmnist_sklearn.benchmark.figures import save_figures
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
