"""What a benchmark or a search found: its tables, its page and its folder of files."""

from __future__ import annotations

import base64
import html
import io
import json
import math
import os
import platform
import re
import shlex
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import joblib
import numpy as np
import pandas as pd
import torch

from .._sklearn import warn_user
from .._version import __version__
from ..datasets import CLASS_NAMES
from ..displays import ComparisonDisplay
from ..displays.curves import EpochRows, TrainingCurvesDisplay
from ..displays.images import pixel_range
from ..displays.style import add_legend, fill_page, one_line
from ..estimators.memory import as_cache
from ..export import export_html
from ..persistence import save_model
from ..storage import atomic_write, check_writable
from .compare import Ranks, Scored, compare_ranks, compare_rows, describe_comparison
from .data import Images
from .tables import (
    MEASURED,
    describe_params,
    format_comparison,
    format_table,
    markdown_text,
    table_to_markdown,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from ..displays import SearchHeatmapDisplay

# (row, accuracy, training time in s, epochs), as published. The last row is printed
# there with a batch size of 18.
PUBLISHED_ROWS = (
    ("CNN5 (lr=0.001, batch_size=64, shuffle=False)", 0.907, 542, 83),
    ("CNN5 (lr=0.001, batch_size=128, shuffle=False)", 0.908, 592, 69),
    ("mini_vgg (lr=0.001, batch_size=64, shuffle=False)", 0.922, 755, 67),
    ("mini_vgg (lr=0.001, batch_size=128, shuffle=False)", 0.921, 1152, 40),
)
FASHION_MNIST = "Fashion-MNIST"

# metric -> (title, label of the y axis)
_CURVES = {
    "train_loss": ("Training loss", "cross-entropy loss"),
    "valid_loss": ("Validation loss", "cross-entropy loss"),
    "valid_acc": ("Validation accuracy", "accuracy"),
}


def make_record(
    settings: Mapping[str, Any], images: Images, findings: Mapping[str, Any]
) -> dict[str, Any]:
    """Add to a run's settings and findings the data, machine and versions.

    Parameters
    ----------
    settings, findings : mapping of str to object
        Entries of the record, the former at its start.
    images : Images
        What the run trained and tested on.
    """
    return {
        **settings,
        "commands": describe_command(),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "data": {
            "name": images.name,
            "source": images.source,
            "n_train": images.n_train,
            "n_test": images.n_test,
            "preparation": images.preparation,
        },
        **findings,
        "hardware": describe_hardware(),
        "versions": describe_versions(),
    }


def prepare_folder(folder: str | os.PathLike[str], name: str) -> None:
    """Create a folder, and check before the training that it takes ``<name>.csv``."""
    Path(folder).mkdir(parents=True, exist_ok=True)
    check_writable(Path(folder, f"{name}.csv"))


@contextmanager
def optional(part: str) -> Iterator[None]:
    """Turn an error into a warning: the other results of hours are kept."""
    try:
        yield
    except Exception as error:
        warn_user(f"{part} could not be written: {type(error).__name__}: {error}")


@contextmanager
def resumable(memory: Any) -> Iterator[None]:
    """Add to an interrupt how many fits are kept, and what goes on with them."""
    try:
        yield
    except KeyboardInterrupt as interrupt:
        note = "no fits are kept without memory (--memory DIR)"
        if (cache := as_cache(memory)) is not None:
            command = "".join(f": {line}" for line in describe_command())
            note = f"{len(cache.entries())} fits are kept in {os.fspath(cache.path)}"
            note += f", and the same call goes on from there{command}"
        interrupt.add_note(note)
        raise


def write_file(path: Path, content: str | bytes) -> None:
    """Write a file, a text with escapes for bytes of file names that are not UTF-8."""
    if isinstance(content, str):
        content = content.encode(errors="backslashreplace")
    with atomic_write(path) as file:
        file.write(content)


def csv_text(table: pd.DataFrame) -> str:
    """Write a table as CSV, a line for each row whatever is in its texts."""
    lines = table.map(
        lambda value: one_line(value) if isinstance(value, str) else value
    )
    return lines.to_csv(index=False, lineterminator="\n")


@dataclass(frozen=True, repr=False, kw_only=True)
class RunResult(ABC):
    """The result of a run: tables, a report and a folder of files."""

    _name: ClassVar[str]  # of its files

    table: pd.DataFrame
    best: str
    record: dict[str, Any]
    curves: dict[str, list[dict[str, float]]] = field(default_factory=dict)
    judged: list[dict[str, Any]] = field(default_factory=list)
    paths: list[Path] = field(default_factory=list)
    heat_map: SearchHeatmapDisplay | None = None
    scored: list[Scored] = field(default_factory=list)
    search: Any = None

    def __post_init__(self) -> None:
        """Record what the comparison found."""
        self.record["best"], self.record["verdict"] = self.best, self.verdict
        self.record["comparison"] = self.compare().to_dict("records")

    @abstractmethod
    def format_table(self) -> pd.DataFrame:
        """Return the table for readers: one short text a cell."""

    @abstractmethod
    def format_notes(self) -> list[str]:
        """Return what a reader of the table must know, a sentence or two a line."""

    def compare(self, reference: str | int | None = None) -> pd.DataFrame:
        """Compare the rows with one of them.

        Parameters
        ----------
        reference : str or int, default=None
            Name or position of the row that the others are compared with. None: the
            best.

        Returns
        -------
        table : pandas.DataFrame
            As :func:`~fmnist_sklearn.compare_models` describes it.
        """
        best = [row.name for row in self.scored].index(self.best)
        return compare_rows(self.scored, reference, best=best)

    @property
    def verdict(self) -> str:
        """The best row, and which others are not distinguishable from it."""
        compared = len(self.table) > 1
        others = f"; {describe_comparison(self.compare())}" if compared else ""
        return f"{self._lead()}{others}."

    def _title(self) -> str:
        return f"Benchmark on {_data_title(self.record)}"

    @abstractmethod
    def _lead(self) -> str:
        """Name the best row, as the verdict begins."""

    def _difference_label(self) -> str:
        """Label the axis of the differences."""
        return "difference to the best, 95 % intervals"

    def __repr__(self) -> str:
        """Return the class and the best row."""
        return f"<{type(self).__name__}: {self._lead()}>"

    def _repr_html_(self) -> str:
        """Return the table and its notes, for notebooks."""
        notes = "".join(f"<li>{html.escape(note)}</li>" for note in self.format_notes())
        table = self.format_table().to_html(index=False, border=0, classes="fmnist")
        style = (
            "<style>.fmnist :is(th, td) { text-align: right; } "
            ".fmnist :is(th, td):first-child { text-align: left; }</style>"
        )
        return f"{style}{table}<ul>{notes}</ul>"

    def to_markdown(self) -> str:
        """Return the table and its notes as a page of Markdown.

        Returns
        -------
        markdown : str
            A complete page.
        """
        notes = (f"{markdown_text(note)}\n" for note in self.format_notes())
        title = f"# {markdown_text(self._title())}\n"
        page = [title, table_to_markdown(self.format_table()), *notes]
        if len(self.table) > 1:
            differences = table_to_markdown(format_comparison(self.compare()))
            page += ["## Is it better?\n", differences]
        return "\n".join(page)

    def to_html(
        self, page: str | None = None, figures: Mapping[str, bytes] | None = None
    ) -> str:
        """Return ``report.html``: table, figures, confusions and worst mistakes.

        Parameters
        ----------
        page : str or None, default=None
            Address of the best network's own page, which the report links to.
        figures : mapping of str to bytes, default=None
            The figures as SVG, by their names. None: draws all that there are.

        Returns
        -------
        html : str
            A page that needs no other file and no network, and a script only for
            sorting.
        """
        if figures is None:
            drawn = self._draw().items()
            figures = {name: _figure_bytes(figure, "svg") for name, figure in drawn}
        curves = {
            title: _epoch_table(self.curves, key) for key, (title, _) in _CURVES.items()
        }
        comparison = format_comparison(self.compare()) if len(self.table) > 1 else None
        return fill_page(
            Path(__file__).with_name("templates") / "report.html",
            title=self._title(),
            table=self.format_table(),
            best=self.best,
            notes=self.format_notes(),
            figures={name: _data_uri("svg+xml", svg) for name, svg in figures.items()},
            curves={title: table for title, table in curves.items() if len(table)},
            facts=_circumstances(self.record),
            commands=self.record.get("commands", ()),
            judged=self.judged,
            comparison=comparison,
            difference_label=self._difference_label(),
            model_page=page,
        )

    def _draw(self) -> dict[str, Figure]:
        """Draw the figures of the folder, by the names of their files."""
        from matplotlib.figure import Figure

        figures = benchmark_figures(self.curves)
        if self.heat_map is not None:
            figures["heatmap"] = Figure(figsize=(7, 4.5), layout="constrained")
            self.heat_map.plot(figures["heatmap"].subplots())
        if len(self.table) > 1:
            size = (8, 1.2 + 0.3 * len(self.table))
            figures["comparison"] = Figure(figsize=size, layout="constrained")
            label = self._difference_label()
            display = ComparisonDisplay(comparison=self.compare(), label=label)
            display.plot(figures["comparison"].subplots())
        return figures

    def write(self, folder: str | os.PathLike[str]) -> list[Path]:
        """Write all files, each whole or not at all, over those of an earlier run.

        Networks and results come first, then what shows them.

        Parameters
        ----------
        folder : str or path-like
            Where to; created where missing.

        Returns
        -------
        paths : list of Path
            ``results.csv``, ``results.json`` and ``results.md``, which are called
            ``search`` for a search and ``sets`` for several data sets; the figures as
            SVG and PNG: ``train_loss``, ``valid_loss``, ``accuracy``, of several rows
            ``comparison``, and where at least two parameters of a search vary
            ``heatmap`` over the first two, means over the others; ``report.html``. Of a
            search also ``best.safetensors``, and its page ``best.html`` where
            ``export_html`` takes the network.

        Warns
        -----
        UserWarning
            For each file that cannot be made or written; the others are.
        """
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        paths: list[Path] = []
        page = None
        if self.search is not None:
            network = self.search.best_estimator_
            preparation = self.record["data"]["preparation"]
            path = folder / "best.safetensors"
            with optional(path.name):
                save_model(network, path, preparation=preparation)
                paths.append(path)
            # Networks of other classes, and those that take no pictures, have no page.
            with optional("best.html"), suppress(TypeError, ValueError):
                names = class_names(self.record, network.classes_.tolist())
                more = {"display_labels": names, "preparation": preparation}
                export_html(network, path := folder / "best.html", **more)
                page = path.name
                paths.append(path)

        def write(file_name: str, make: Callable[[], str | bytes]) -> None:
            with optional(file_name):
                write_file(folder / file_name, make())
                paths.append(folder / file_name)

        write(f"{self._name}.csv", lambda: csv_text(self.table))
        write(
            f"{self._name}.json",
            lambda: json.dumps(to_jsonable(self.record), indent=1),
        )
        write(f"{self._name}.md", self.to_markdown)
        with optional("the figures"):
            for (stem, figure), kind in product(self._draw().items(), ("svg", "png")):
                write(f"{stem}.{kind}", partial(_figure_bytes, figure, kind))
        svgs = {path.stem: path.read_bytes() for path in paths if path.suffix == ".svg"}
        write("report.html", lambda: self.to_html(page, svgs))
        return paths


def _figure_bytes(figure: Figure, kind: str) -> bytes:
    """Return a figure as "svg" or "png"; the same one gives the same bytes."""
    import matplotlib

    metadata: Any = {"Date": None} if kind == "svg" else None
    file = io.BytesIO()
    # Without a salt, an SVG has random ids.
    with matplotlib.rc_context({"svg.hashsalt": "fmnist_sklearn"}):
        figure.savefig(file, format=kind, dpi=150, metadata=metadata)
    return file.getvalue()


@dataclass(frozen=True, repr=False, kw_only=True)
class BenchmarkResult(RunResult):
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
        - ``from_memory``: with a memory, the share of the fits that were read from it;
          their times are those of the trainings;
        - ``n_parameters``, ``lr``, ``batch_size``;
        - ``difference`` to ``dominated_by``: the comparison with the best row, as
          :func:`~fmnist_sklearn.compare_models` describes it: of test accuracies, by
          McNemar's test on the test images (cv="holdout"), or of validation
          accuracies, over folds.

        What is not known of a model, such as the epochs of an SVC, is nan.
    best : str
        Name of the row with the highest validation accuracy. Test accuracy is not
        used to choose it.
    curves : dict of str to list of dict
        Name of a row -> its epochs, with "epoch", "train_loss", "valid_loss" and
        "valid_acc"; means over folds, up to the last epoch that all of them trained.
    record : dict
        The content of ``results.json``.
    paths : list of Path
        The files written.
    judged : list of dict
        For each row, confusions and worst mistakes on the test images, as the report
        shows them: the "name" of the row, a "caption", the "labels", the matrix
        "confusion" of numbers of images, with a row for each true label, the most
        frequent "pairs", and the "mistakes".
    scored : list of Scored
        For each row, the values that are compared.
    verdict : str
        A sentence that names the best row, and those not distinguishable from it.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from fmnist_sklearn import run_benchmark
    >>> X, y = load_digits(return_X_y=True)
    >>> run_benchmark(X, y, models="LeNet5", lr=0.01, batch_size=64, progress=False)
    <BenchmarkResult: Best row, by validation accuracy: LeNet5 (lr=0.01,
    batch_size=64), test accuracy 0...>
    """

    _name = "results"

    def format_table(self) -> pd.DataFrame:
        """Return the table for readers: one short text a cell.

        Returns
        -------
        table : pandas.DataFrame
            Accuracies with their spread, and the headers in words.
        """
        return _in_words(self.table.loc[:, :"n_parameters"])

    def format_notes(self) -> list[str]:
        """Return what a reader of the table must know, a sentence or two a line.

        Returns
        -------
        notes : list of str
            The best row, and what accuracies and spreads mean.
        """
        data, cv = self.record["data"], self.record["cv"]
        notes = [
            self.verdict,
            f"Test accuracy is that on {data['n_test']:,} images kept out of training.",
            "± is the standard error that the number of images gives an accuracy."
            if cv == "holdout"
            else f"Means ± standard deviations over {cv} folds; validation accuracy is "
            "that on the fold left out.",
        ]
        if data["name"] == "sample":
            notes.append(
                "These are figures of the bundled sample, a tenth of Fashion-MNIST: "
                "the full data gives much higher ones."
            )
        failed = self.record["failed"]
        notes += [f"Failed: {name}: {reason}" for name, reason in failed.items()]
        n_planned, n_rows = len(self.record["planned_rows"]), len(self.table)
        if n_rows + len(failed) < n_planned:
            notes.append(f"Unfinished: {n_rows} of {n_planned} rows.")
        return notes

    def to_markdown(self) -> str:
        """Return ``results.md``: the table, the published one, and the circumstances.

        Returns
        -------
        markdown : str
            A complete page.
        """
        published = []
        if _data_title(self.record) == FASHION_MNIST:
            columns = ["published row", "accuracy", "training time (s)", "epochs"]
            published = [
                "## As published\n",
                table_to_markdown(pd.DataFrame(PUBLISHED_ROWS, columns=columns)),
                "Accuracy there is validation accuracy, on the first 20 % of the "
                "60,000 training images.\n",
            ]
        facts = (f"{k}: {v}" for k, v in _circumstances(self.record).items())
        how = ["## How\n", *(f"- {markdown_text(fact)}" for fact in facts), ""]
        return "\n".join([super().to_markdown(), *published, *how])

    def _lead(self) -> str:
        part = "test" if self.record["cv"] == "holdout" else "validation"
        best = self.table.set_index("model")[f"{part}_accuracy"][self.best]
        lead = f"Best row, by validation accuracy: {self.best}"
        return f"{lead}, {part} accuracy {best:.4f}"


@dataclass(frozen=True, repr=False, kw_only=True)
class SearchResult(RunResult):
    """What :func:`run_search` returns.

    Attributes
    ----------
    search : RacingSearchCV
        Fitted: a ``GridSearchCV``, which drops candidates only with strategy="race".
        Its ``best_estimator_`` was trained again on all training images, unless a time
        limit left no time for it.
    table : pandas.DataFrame
        Its :func:`~fmnist_sklearn.benchmark_table`, with the best candidate as
        reference.
    best : str
        Name of the best candidate.
    record : dict
        The content of ``search.json``.
    paths : list of Path
        The files written.
    curves : dict of str to list of dict
        Name of a candidate -> its epochs, means over the folds, up to the last epoch
        that all of them trained. Fits whose report a cluster lost are left out.
    judged : list of dict
        Confusions and worst mistakes of the best network on the test images, as those
        of a :class:`BenchmarkResult`.
    heat_map : SearchHeatmapDisplay or None
        Accuracy over the first two parameters that vary, mean over the others, not
        yet drawn; None where fewer than two vary.
    scored : list of Scored
        For each candidate, the scores that are compared.
    verdict : str
        A sentence that names the best candidate, and those not distinguishable from
        it.

    Examples
    --------
    >>> from fmnist_sklearn import load_fashion_mnist_sample, run_search
    >>> X, y = load_fashion_mnist_sample(return_X_y=True)
    >>> run_search(
    ...     "LeNet5",
    ...     {"lr": [0.001, 0.01], "batch_size": [64]},
    ...     X[:800],
    ...     y[:800],
    ...     cv=2,
    ...     max_epochs=1,
    ...     progress=False,
    ... )
    <SearchResult: Best: batch_size=64, lr=0.01, accuracy 0...>
    """

    _name = "search"

    def format_table(self) -> pd.DataFrame:
        """Return the table for readers: one short text a cell, the best row first.

        Returns
        -------
        table : pandas.DataFrame
            Of a race, those first that were dropped last.
        """
        table = self.table.assign(model=[row.name for row in self.scored])
        by = ["n_folds", "accuracy"]
        table = table.sort_values(by, ascending=False, kind="stable")
        texts = _in_words(table[[name for name in MEASURED if name in table]])
        failed = table["accuracy"].isna()
        texts.loc[failed, "accuracy"] = "failed"
        is_dropped = ~failed & (table["n_folds"] < table["n_folds"].max())
        texts.loc[is_dropped, "accuracy"] += " (dropped)"
        return texts

    def format_notes(self) -> list[str]:
        """Return what a reader of the table must know, a sentence or two a line.

        Returns
        -------
        notes : list of str
            The best candidate and its test accuracy, and what the figures mean.
        """
        record = self.record
        rows = {
            "all": f"all {record['data']['n_train']:,} training images",
            "fold": "the images of one fold, as the time was over",
            "short": "the images of one fold, for a part of its epochs",
        }[record["refit"]]
        notes = [
            self.verdict,
            f"Trained on {rows}, its accuracy on {record['data']['n_test']:,} test "
            f"images is {record['test_accuracy']:.4f}.",
            f"Means ± standard deviations over {record['cv']} folds; accuracy is that "
            "on the fold left out.",
        ]
        if (self.table["n_folds"] < record["cv"]).any():
            notes.append(
                "Dropped candidates could not win; their figures are those of fewer "
                "folds, or of a short fit."
            )
        if record["stopped"]:
            notes.append(f"The search ended early: {record['stopped']}.")
        return notes + [f"Failed: {name}." for name in record["failed"]]

    def _title(self) -> str:
        return f"Search on {_data_title(self.record)}: {self.record['model']}"

    def _lead(self) -> str:
        best = describe_params(self.record["best_params"])
        return f"Best: {best}, accuracy {self.record['best_accuracy']:.4f}"


@dataclass(frozen=True, repr=False, kw_only=True)
class SetsResult(RunResult):
    """What :func:`run_benchmark` returns for several data sets.

    Attributes
    ----------
    results : dict of str to BenchmarkResult
        Name of a data set -> its result.
    table : pandas.DataFrame
        A row for each model, with its test accuracy on each data set and its
        ``mean_rank``, of which 1 is the best.
    best : str
        Name of the row with the best mean rank.
    ranks : Ranks
        Mean ranks, the p value of Friedman's test, and Nemenyi's critical difference.
    record : dict
        The content of ``sets.json``.
    paths : list of Path
        The files written.
    verdict : str
        A sentence that names the best row, and those not distinguishable from it.
    """

    results: dict[str, BenchmarkResult]
    ranks: Ranks
    _name = "sets"

    def compare(self, reference: str | int | None = None) -> pd.DataFrame:
        """Compare the mean ranks of the rows with one of them.

        Parameters
        ----------
        reference : str or int, default=None
            As for :meth:`BenchmarkResult.compare`.

        Returns
        -------
        table : pandas.DataFrame
            The differences of mean ranks, positive where a row is better; the
            intervals are those of Nemenyi's critical difference.
        """
        n_sets = len(self.results)
        return compare_ranks(list(self.table["model"]), self.ranks, n_sets, reference)

    def format_table(self) -> pd.DataFrame:
        """Return the table for readers: one short text a cell.

        Returns
        -------
        table : pandas.DataFrame
            Accuracies on the data sets, and the mean rank.
        """
        return format_table(self.table.rename(columns={"mean_rank": "mean rank"}))

    def format_notes(self) -> list[str]:
        """Return what a reader of the table must know, a sentence or two a line.

        Returns
        -------
        notes : list of str
            The best row, what the accuracies are, and the rows that failed.
        """
        failed = [f"Failed: {name}." for name in self.record["failed"]]
        note = "Accuracies are those on the test images of each set."
        return [self.verdict, note, *failed]

    def _difference_label(self) -> str:
        critical = self.ranks.critical_difference
        return f"mean rank, difference to the best; critical difference {critical:.2f}"

    def _lead(self) -> str:
        lead = f"Best row, by mean rank over {len(self.results)} data sets: {self.best}"
        return f"{lead}, {self.ranks.mean_ranks.min():.2f}"


def _in_words(table: pd.DataFrame) -> pd.DataFrame:
    """Return a table as short texts, its headers in words."""
    words = {"training_time_s": "training time (s)", "n_parameters": "parameters"}
    headers = {c: words.get(str(c), str(c).replace("_", " ")) for c in table}
    return format_table(table).rename(columns=headers)


def describe_origin(row: Mapping[Any, Any]) -> str:
    """Return whether the fits of a row were read from memory, to follow their time."""
    share = row.get("from_memory", 0)
    return f" ({'partly ' if share < 1 else ''}from memory)" if share > 0 else ""


def _data_title(record: Mapping[str, Any]) -> str:
    """Name the data of a record: Fashion-MNIST, or a folder of pictures."""
    name = record["data"]["name"]
    return FASHION_MNIST if name in ("full", "sample") else name


def _circumstances(record: Mapping[str, Any]) -> dict[str, str]:
    """Describe how a run was made: the term for a fact -> the fact."""
    data, hardware = record["data"], record["hardware"]
    gpu = f", {hardware['gpu']}" if hardware["gpu"] else ""
    cv = record["cv"] if record["cv"] == "holdout" else f"{record['cv']} folds"
    return {
        "Recipe": f"{record['recipe']}; validation: {cv}; seed: {record['seed']}",
        "Data": f"{data['name']}, {data['n_train']:,} training and "
        f"{data['n_test']:,} test images",
        "Hardware": f"{hardware['cpu']}, {hardware['cores']} cores, "
        f"{hardware['torch_threads']} torch threads{gpu}; {hardware['system']}",
        "Trained on": ", ".join(record["devices"]),
        "Versions": ", ".join(f"{k} {v}" for k, v in record["versions"].items()),
        "Date": record["date"],
    }


def to_jsonable(value: Any) -> Any:
    """Return a value that JSON can hold: numpy's numbers plain, classes by name.

    Parameters
    ----------
    value : object
        Nested mappings and sequences of parameters and results.

    Returns
    -------
    value : dict, list, str, int, float, bool or None
        nan and infinity, which JSON lacks, are None.

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


# The page ---------------------------------------------------------------------------


def _epoch_table(curves: Mapping[str, EpochRows], metric: str) -> pd.DataFrame:
    """Tabulate a metric as texts: a line for each epoch, a column for each row."""
    values = {
        name: {row["epoch"]: f"{row[metric]:.4f}" for row in rows if metric in row}
        for name, rows in curves.items()
    }
    table = pd.DataFrame({name: column for name, column in values.items() if column})
    return table.sort_index().fillna("").rename_axis("epoch").reset_index()


def _data_uri(kind: str, content: bytes) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"


# Figures ----------------------------------------------------------------------------


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
    >>> from fmnist_sklearn.benchmark.results import benchmark_figures
    >>> epochs = [
    ...     {"epoch": 1, "train_loss": 0.9, "valid_loss": 0.6, "valid_acc": 0.78},
    ...     {"epoch": 2, "train_loss": 0.6, "valid_loss": 0.5, "valid_acc": 0.82},
    ... ]
    >>> sorted(benchmark_figures({"LeNet-5": epochs}))
    ['accuracy', 'train_loss', 'valid_loss']
    """
    from matplotlib.figure import Figure

    figures = {}
    for metric, (title, ylabel) in _CURVES.items():
        known = {
            name: rows for name, rows in curves.items() if rows and metric in rows[0]
        }
        if not known:
            continue
        # The names go below the axes, 0.25 inch a line.
        size = (7, 4.5 + 0.25 * len(known))
        figure = Figure(figsize=size, layout="constrained")
        ax = figure.subplots()
        display = TrainingCurvesDisplay(curves=known, metric=metric).plot(
            ax, with_training=False, line_kw={"linewidth": 1.8}
        )
        ax.set(title=title, ylabel=ylabel)
        ax.legend(handles=[]).remove()
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
) -> dict[str, Any]:
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

    Returns
    -------
    judged : dict
        An entry of ``judged`` of a :class:`BenchmarkResult`.
    """
    first = results[0]
    counts = np.sum([result["confusion"] for result in results], axis=0)
    names = class_names(record, first["labels"])
    of_label = dict(zip(first["labels"], names, strict=True))
    wrong = counts - np.diag(np.diag(counts))
    worst = np.argsort(-wrong, axis=None, kind="stable")[:5]
    return {
        "name": name,
        "caption": "Test images"
        + ("" if len(results) == 1 else f", over {len(results)} models"),
        "labels": names,
        "confusion": counts,
        "pairs": [
            f"{names[i]} taken for {names[j]}: {wrong[i, j]:,}"
            for i, j in zip(*np.unravel_index(worst, wrong.shape), strict=True)
            if wrong[i, j]
        ],
        "mistakes": [
            {
                **mistake,
                "true": of_label[mistake["true"]],
                "predicted": of_label[mistake["predicted"]],
                "source": data_uri(X_test[mistake["index"]], first["image_shape"]),
            }
            for mistake in first["mistakes"]
        ],
    }


def class_names(record: Mapping[str, Any], labels: Sequence[Any]) -> list[str]:
    """Name Fashion-MNIST's numbers by their classes, other labels as they are."""
    is_fashion = _data_title(record) == FASHION_MNIST
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
    return _data_uri("png", file.getvalue())


# The circumstances of a run ---------------------------------------------------------

_PACKAGES = ("torch", "torchvision", "skorch", "scikit-learn", "numpy", "pandas")


def describe_hardware() -> dict[str, Any]:
    """Describe the processor, its cores, the GPU and the operating system.

    Returns
    -------
    hardware : dict
        ``"cpu"`` (model name), ``"cores"`` (those this process may use),
        ``"torch_threads"``, ``"gpu"`` (name of the CUDA device, or None) and
        ``"system"``.

    Examples
    --------
    >>> from fmnist_sklearn.benchmark import describe_hardware
    >>> list(describe_hardware())
    ['cpu', 'cores', 'torch_threads', 'gpu', 'system']
    """
    has_gpu = torch.cuda.is_available()
    return {
        "cpu": _cpu_model(),
        "cores": joblib.cpu_count(),
        "torch_threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if has_gpu else None,
        "system": platform.platform(terse=True),
    }


def describe_versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that training runs on.

    Returns
    -------
    versions : dict of str to str
        "python" or the name of a package -> its version.

    Examples
    --------
    >>> from fmnist_sklearn.benchmark import describe_versions
    >>> sorted(describe_versions())[:3]
    ['fmnist-sklearn', 'numpy', 'pandas']
    """
    versions = {package: version(package) for package in _PACKAGES}
    python = platform.python_version()
    return {"python": python, **versions, "fmnist-sklearn": __version__}


def describe_command() -> list[str]:
    """Return the shell command that this process runs, if it is one of ours.

    Returns
    -------
    lines : list of str
        One command line; none in a script, a notebook or another program.
    """
    program = Path(sys.argv[0])
    if program.stem == "fmnist-sklearn":
        return [shlex.join(["fmnist-sklearn", *sys.argv[1:]])]
    if program.name == "__main__.py" and program.parent.name == "fmnist_sklearn":
        return [shlex.join(["python", "-m", "fmnist_sklearn", *sys.argv[1:]])]
    return []


def _cpu_model() -> str:
    """Return the model of the processor; on Linux, platform knows only its family."""
    with suppress(OSError):  # the file is Linux's
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
        if found := re.search(r"^model name\s*: *(\S.*)$", text, re.MULTILINE):
            return found[1].strip()
    return platform.processor() or platform.machine() or "unknown"
