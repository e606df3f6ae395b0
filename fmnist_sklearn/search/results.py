"""What a search found, and the files that tell it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..benchmark.figures import save_figures
from ..benchmark.markdown import circumstances, data_title
from ..benchmark.report import Judged, Page, render, score_matrix
from ..benchmark.results import small_html, to_json, write_texts
from ..displays import SearchHeatmapDisplay
from ..tables import table_to_markdown

if TYPE_CHECKING:
    import pandas as pd


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
