"""What a benchmark found, and the files that tell it."""

from __future__ import annotations

import html
import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..storage.files import atomic_write
from .figures import benchmark_figures, save_figures
from .markdown import (
    circumstances,
    data_title,
    format_notes,
    format_table,
    to_markdown,
)
from .report import Judged, Page, render

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, repr=False)
class BenchmarkResult:
    """What :func:`run_benchmark` returns.

    Attributes
    ----------
    table : pandas.DataFrame
        A row for each model, learning rate and batch size:

        - ``model``: name of the row;
        - ``validation_accuracy``: of the weights that were kept, on the validation
          part (cv="holdout"), or the mean over folds, each on the rows left out;
        - ``test_accuracy``: on the test images, which neither training nor early
          stopping saw; or the mean over the folds' models;
        - after each accuracy, its spread. One fit has no standard deviation, so for
          cv="holdout" this is ``..._se``, the standard error that the number n of
          images alone gives an accuracy p, ``sqrt(p * (1 - p) / n)``. For folds it is
          ``..._std``, the standard deviation over them;
        - ``training_time_s``: seconds of a fit (``training_time_std``: over folds);
        - ``epochs``, ``best_epoch``: run, and kept; means over folds;
        - ``n_parameters``, ``lr``, ``batch_size``.
    best : str
        Name of the row with the highest validation accuracy. Test accuracy has no
        say in it.
    curves : dict of str to list of dict
        Name of a row -> its epochs, with "epoch", "train_loss", "valid_loss" and
        "valid_acc"; means over folds as far as all of them trained.
    record : dict
        All that ``results.json`` holds.
    paths : list of Path
        The files written.
    judged : list of Judged
        For each row, confusions and worst mistakes on the test images, as the report
        shows them.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from fmnist_sklearn import run_benchmark
    >>> X, y = load_digits(return_X_y=True)
    >>> run_benchmark(X, y, models="LeNet5", lr=0.01, batch_size=64, progress=False)
    <BenchmarkResult of 1 row; best: LeNet5 (lr=0.01, batch_size=64), validation
    accuracy 0...>
    """

    table: pd.DataFrame
    best: str
    curves: dict[str, list[dict[str, float]]]
    record: dict[str, Any]
    paths: list[Path] = field(default_factory=list)
    judged: list[Judged] = field(default_factory=list)

    def __repr__(self) -> str:
        """Tell the number of rows, and the best of them."""
        rows = "1 row" if len(self.table) == 1 else f"{len(self.table)} rows"
        accuracy = self.table["validation_accuracy"].max()
        return (
            f"<{type(self).__name__} of {rows}; best: {self.best}, validation accuracy "
            f"{accuracy:.4f}>"
        )

    def _repr_html_(self) -> str:
        """Return the table and its notes, for notebooks."""
        return small_html(self)

    def format_table(self) -> pd.DataFrame:
        """Return the table for readers: one short text a cell.

        Returns
        -------
        table : pandas.DataFrame
            Accuracies with their spread, the kept epoch behind the epochs run, and
            the headers in words.
        """
        return format_table(self.table, self.record)

    def format_notes(self) -> list[str]:
        """Return what a reader of the table must know, a sentence or two a line.

        Returns
        -------
        notes : list of str
            The best row, and what accuracies and spreads mean.
        """
        return format_notes(self.table, self.record)

    def to_markdown(self) -> str:
        """Return ``results.md``: the table, the published one, and the circumstances.

        Returns
        -------
        markdown : str
            A page of its own.
        """
        return to_markdown(self.table, self.record)

    def to_html(self) -> str:
        """Return ``report.html``: table, curves, confusions and worst mistakes.

        Returns
        -------
        html : str
            A page that needs no other file, no network, and scripts only for sorting.
        """
        return render(
            Page(
                title=f"Benchmark on {data_title(self.record)}",
                table=self.format_table(),
                best=self.best,
                notes=self.format_notes(),
                curves=self.curves,
                facts=circumstances(self.record),
                commands=self.record.get("commands", ()),
                judged=self.judged,
            )
        )

    def write(self, folder: str | os.PathLike[str]) -> list[Path]:
        """Write all files, each whole or not at all, over those of an earlier run.

        Parameters
        ----------
        folder : str or path-like
            Where to; created where missing.

        Returns
        -------
        paths : list of Path
            ``report.html``, ``results.csv``, ``results.md``, ``results.json``, and
            ``train_loss``, ``valid_loss`` and ``accuracy`` as SVG and PNG.
        """
        texts = {
            "report.html": self.to_html(),
            "results.csv": self.table.to_csv(index=False, lineterminator="\n"),
            "results.md": self.to_markdown(),
            "results.json": to_json(self.record),
        }
        return write_texts(texts, folder) + save_figures(
            benchmark_figures(self.curves), folder
        )


def small_html(result: Any) -> str:
    """Return a result's table and notes as a piece of HTML, for notebooks."""
    notes = "".join(f"<li>{html.escape(note)}</li>" for note in result.format_notes())
    table = result.format_table().to_html(index=False, border=0, classes="fmnist")
    style = (
        "<style>.fmnist :is(th, td) { text-align: right; } "
        ".fmnist :is(th, td):first-child { text-align: left; }</style>"
    )
    return f"{style}{table}<ul>{notes}</ul>"


def write_texts(texts: Mapping[str, str], folder: str | os.PathLike[str]) -> list[Path]:
    """Write files of text, each whole or not at all.

    Parameters
    ----------
    texts : mapping of str to str
        Name of a file -> its content.
    folder : str or path-like
        Where to; created where missing.

    Returns
    -------
    paths : list of Path
        The files.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in texts.items():
        with atomic_write(folder / name, "w", encoding="utf-8") as file:
            file.write(text)
    return [folder / name for name in texts]


def to_json(record: Mapping[str, Any]) -> str:
    """Return a record as JSON, indented."""
    return json.dumps(to_jsonable(record), indent=1, allow_nan=False)


def to_jsonable(value: Any) -> Any:
    """Return a value that JSON can hold: numpy's numbers plain, classes by name.

    Parameters
    ----------
    value : object
        Nested mappings and sequences of whatever parameters are.

    Returns
    -------
    value : dict, list, str, int, float, bool or None
        nan and infinity, which JSON has not, are None.

    Examples
    --------
    >>> import torch
    >>> from fmnist_sklearn.benchmark.results import to_jsonable
    >>> to_jsonable({"optimizer": torch.optim.SGD, "hidden_units": (128, 64)})
    {'optimizer': 'torch.optim.sgd.SGD', 'hidden_units': [128, 64]}
    """
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):  # numpy's float64 is one
        return float(value) if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): to_jsonable(item) for key, item in value.items()}
    if isinstance(value, Sequence):
        return [to_jsonable(item) for item in value]
    if hasattr(value, "tolist"):
        return to_jsonable(value.tolist())
    if hasattr(value, "__qualname__"):
        return f"{value.__module__}.{value.__qualname__}"
    return repr(value)
