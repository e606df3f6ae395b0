"""What a benchmark or a search found, and the files that hold it."""

from __future__ import annotations

import html
import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..displays import SearchHeatmapDisplay
from ..storage.files import atomic_write
from .fits import Folds, Holdout, choose_validation
from .report import Judged, Page, benchmark_figures, render, save_figures, score_matrix
from .tables import table_to_markdown

if TYPE_CHECKING:
    import pandas as pd

# (row, accuracy, training time in s, epochs), as published. The last row is printed
# there with a batch size of 18.
PUBLISHED_ROWS = (
    ("CNN5 (lr=0.001, batch_size=64, shuffle=False)", 0.907, 542, 83),
    ("CNN5 (lr=0.001, batch_size=128, shuffle=False)", 0.908, 592, 69),
    ("mini_vgg (lr=0.001, batch_size=64, shuffle=False)", 0.922, 755, 67),
    ("mini_vgg (lr=0.001, batch_size=128, shuffle=False)", 0.921, 1152, 40),
)


FASHION_MNIST = "Fashion-MNIST"


def data_title(record: Mapping[str, Any]) -> str:
    """Name the data of a record: Fashion-MNIST, or a folder of one's own pictures."""
    name = record["data"]["name"]
    return FASHION_MNIST if name in ("full", "sample") else name


def circumstances(record: Mapping[str, Any]) -> dict[str, str]:
    """Tell how a benchmark or a search was made, a fact a line.

    Parameters
    ----------
    record : mapping
        Of a ``BenchmarkResult`` or a ``SearchResult``.

    Returns
    -------
    facts : dict of str to str
        What a fact is of -> the fact.
    """
    data, hardware = record["data"], record["hardware"]
    gpu = f", {hardware['gpu']}" if hardware["gpu"] else ""
    return {
        "Recipe": f"{record['recipe']}; validation: {_validation(record).in_words}; "
        f"seed: {record['seed']}",
        "Data": f"{data['name']}, {data['n_train']:,} training and "
        f"{data['n_test']:,} test images",
        "Hardware": f"{hardware['cpu']}, {hardware['cores']} cores, "
        f"{hardware['torch_threads']} torch threads{gpu}; {hardware['system']}",
        "Trained on": ", ".join(record["devices"]),
        "Versions": ", ".join(f"{k} {v}" for k, v in record["versions"].items()),
        "Date": record["date"],
    }


def format_table(table: pd.DataFrame, record: Mapping[str, Any]) -> pd.DataFrame:
    """Return a result's table for readers; see :meth:`BenchmarkResult.format_table`."""
    import pandas as pd

    spread = _validation(record).spread
    rows = []
    for row in table.to_dict("records"):
        seconds, std = row["training_time_s"], row.get("training_time_std")
        digits = 1 if seconds < 100 else 0
        cells = {"model": row["model"]}
        for part in ("validation", "test"):
            name = f"{part}_accuracy"
            cells[f"{part} accuracy"] = (
                f"{row[name]:.4f} ± {row[f'{name}_{spread}']:.4f}"
            )
        cells["training time (s)"] = f"{seconds:.{digits}f}" + (
            "" if std is None else f" ± {std:.{digits}f}"
        )
        cells["epochs (kept)"] = f"{row['epochs']:.3g} ({row['best_epoch']:.3g})"
        cells["parameters"] = f"{row['n_parameters']:,}"
        rows.append(cells)
    return pd.DataFrame(rows)


def format_notes(table: pd.DataFrame, record: Mapping[str, Any]) -> list[str]:
    """Return what its readers must know; see :meth:`BenchmarkResult.format_notes`."""
    data = record["data"]
    notes = [
        f"Best row, by validation accuracy: {record['best']}.",
        f"Test accuracy is that on {data['n_test']:,} images kept out of training.",
        _validation(record).note,
    ]
    if data["name"] == "sample":
        notes.append(
            "These are figures of the bundled sample, a tenth of Fashion-MNIST: "
            "the full data gives much higher ones."
        )
    n_planned, n_rows = len(record["planned_rows"]), len(table)
    if n_rows < n_planned:
        notes.append(f"Unfinished: {n_rows} of {n_planned} rows.")
    return notes


def to_markdown(table: pd.DataFrame, record: Mapping[str, Any]) -> str:
    """Return the page ``results.md``; see :meth:`BenchmarkResult.to_markdown`."""
    import pandas as pd

    columns = ["published row", "accuracy", "training time (s)", "epochs"]
    published = pd.DataFrame(PUBLISHED_ROWS, columns=columns)
    as_published = [
        "## As published\n",
        table_to_markdown(published),
        "Accuracy there is validation accuracy, on the first 20 % of the "
        "60,000 training images.\n",
    ]
    return "\n".join(
        [
            f"# Benchmark on {data_title(record)}\n",
            table_to_markdown(format_table(table, record)),
            *(f"{note}\n" for note in format_notes(table, record)),
            *(as_published if data_title(record) == FASHION_MNIST else []),
            "## How\n",
            *(f"- {term}: {fact}" for term, fact in circumstances(record).items()),
            "",
        ]
    )


def _validation(record: Mapping[str, Any]) -> Holdout | Folds:
    return choose_validation(record["cv"], record["seed"])


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


@dataclass(frozen=True, repr=False)
class SearchResult:
    """What :func:`run_search` returns.

    Attributes
    ----------
    search : GridSearchCV, RandomizedSearchCV or HalvingGridSearchCV
        Fitted; its ``best_estimator_`` was trained anew on all training images.
    table : pandas.DataFrame
        Its :func:`~fmnist_sklearn.benchmark_table`.
    record : dict
        All that ``search.json`` holds.
    paths : list of Path
        The files written.
    curves : dict of str to list of dict
        Name of a candidate -> its epochs, means over the folds as far as all of them
        trained. A cluster that loses a report leaves its fit out.
    judged : list of Judged
        Confusions and worst mistakes of the best network on the test images.

    Examples
    --------
    >>> from fmnist_sklearn import run_search
    >>> run_search(
    ...     "LeNet5",
    ...     {"lr": [0.001, 0.01], "batch_size": [256]},
    ...     cv=2,
    ...     max_epochs=1,
    ...     data="sample",
    ...     progress=False,
    ... )
    <SearchResult of 2 candidates; best: batch_size=256, lr=0.01, accuracy 0...>
    """

    search: Any
    table: pd.DataFrame
    record: dict[str, Any]
    paths: list[Path] = field(default_factory=list)
    curves: dict[str, list[dict[str, float]]] = field(default_factory=dict)
    judged: list[Judged] = field(default_factory=list)

    def __repr__(self) -> str:
        """Tell the number of candidates, and the best of them."""
        record = self.record
        best = ", ".join(f"{k}={v}" for k, v in record["best_params"].items())
        candidates = len({*row_names(self.table, record["varied"])})
        return (
            f"<{type(self).__name__} of {candidates} candidates; best: {best}, "
            f"accuracy {record['best_accuracy']:.4f}>"
        )

    def _repr_html_(self) -> str:
        """Return the table and its notes, for notebooks."""
        return small_html(self)

    def format_table(self) -> pd.DataFrame:
        """Return the table for readers: one short text a cell, the best row first.

        Returns
        -------
        table : pandas.DataFrame
            Of a halving search, the later iterations before the earlier.
        """
        import pandas as pd

        by = [name for name in ("iter", "accuracy") if name in self.table]
        named = self.table.assign(name=row_names(self.table, self.record["varied"]))
        ordered = named.sort_values(by, ascending=False, kind="stable")
        rows = []
        for row in ordered.to_dict("records"):
            cells = {
                "model": row["name"],
                "accuracy": f"{row['accuracy']:.4f} ± {row['accuracy_std']:.4f}",
                "training time (s)": f"{row['training_time_s']:.2f} ± "
                f"{row['training_time_std']:.2f}",
                "epochs": f"{row['epochs']:.3g}",
                "parameters": f"{row['n_parameters']:,}",
            }
            rows.append(cells)
        return pd.DataFrame(rows)

    def format_notes(self) -> list[str]:
        """Return what a reader of the table must know, a sentence or two a line.

        Returns
        -------
        notes : list of str
            The best candidate and its test accuracy, and what the figures mean.
        """
        record = self.record
        best = ", ".join(f"{k}={v}" for k, v in record["best_params"].items())
        return [
            f"Best: {best}. Trained on all {record['data']['n_train']:,} training "
            f"images, its accuracy on {record['data']['n_test']:,} test images is "
            f"{record['test_accuracy']:.4f}.",
            f"Means ± standard deviations over {record['cv']} folds; accuracy is that "
            "on the fold left out.",
        ]

    def to_html(self) -> str:
        """Return ``report.html``: table, curves, heat map, confusions and mistakes.

        Returns
        -------
        html : str
            A page that needs no other file, no network, and scripts only for sorting.
        """
        names = row_names(self.table, self.record["varied"])
        display = self._heat_map()
        return render(
            Page(
                title=self._title(),
                table=self.format_table(),
                best=names[self.search.best_index_],
                notes=self.format_notes(),
                curves=self.curves,
                facts=circumstances(self.record),
                commands=self.record["commands"],
                judged=self.judged,
                heat_maps=[]
                if display is None
                else [
                    score_matrix(
                        display.scores,
                        display.x,
                        display.y,
                        *(
                            [label.get_text() for label in axis.get_ticklabels()]
                            for axis in (display.ax_.xaxis, display.ax_.yaxis)
                        ),
                    )
                ],
            )
        )

    def write(self, folder: str | os.PathLike[str]) -> list[Path]:
        """Write all files, each whole or not at all, over those of an earlier search.

        Parameters
        ----------
        folder : str or path-like
            Where to; created where missing.

        Returns
        -------
        paths : list of Path
            ``report.html``, ``search.csv``, ``search.md``, ``search.json``, and, where
            at least two parameters vary, ``heatmap.svg`` and ``heatmap.png`` over the
            first two, means over the others.
        """
        page = "\n".join(
            [
                f"# {self._title()}\n",
                table_to_markdown(self.format_table()),
                *(f"{note}\n" for note in self.format_notes()),
            ]
        )
        texts = {
            "report.html": self.to_html(),
            "search.csv": self.table.to_csv(index=False, lineterminator="\n"),
            "search.md": page,
            "search.json": to_json(self.record),
        }
        paths = write_texts(texts, folder)
        display = self._heat_map()
        if display is not None:
            paths += save_figures({"heatmap": display.figure_}, folder)
        return paths

    def _title(self) -> str:
        return f"Search on {data_title(self.record)}: {self.record['model']}"

    def _heat_map(self) -> SearchHeatmapDisplay | None:
        varied = self.record["varied"]
        if len(varied) < 2:
            return None
        from matplotlib.figure import Figure

        figure = Figure(figsize=(7, 4.5), layout="constrained")
        return SearchHeatmapDisplay.from_search(
            self.search, y=varied[0], x=varied[1], ax=figure.subplots()
        )


def row_names(table: pd.DataFrame, varied: Sequence[str]) -> list[str]:
    """Name a search's rows by model and what varies; of halving, by epochs too."""
    names = []
    for row in table.to_dict("records"):
        params = [f"{name}={row[name]}" for name in varied]
        if "n_resources" in row:
            params.append(f"max_epochs={row['n_resources']}")
        model = str(row["model"])
        names.append(f"{model} ({', '.join(params)})" if params else model)
    return names
