"""What a search found, and the files that tell it."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..benchmark.figures import save_figures
from ..benchmark.markdown import data_title
from ..benchmark.results import to_jsonable
from ..heatmap import SearchHeatmapDisplay
from ..storage.files import atomic_write
from ..tables import table_to_markdown

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
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
    """

    search: Any
    table: pd.DataFrame
    record: dict[str, Any]
    paths: list[Path] = field(default_factory=list)

    def format_table(self) -> pd.DataFrame:
        """Return the table for readers: one short text a cell, the best row first.

        Returns
        -------
        table : pandas.DataFrame
            Of a halving search, the later iterations before the earlier.
        """
        import pandas as pd

        by = [name for name in ("iter", "accuracy") if name in self.table]
        ordered = self.table.sort_values(by, ascending=False, kind="stable")
        names = self.record["varied"]
        rows = []
        for row in ordered.to_dict("records"):
            params = ", ".join(f"{name}={row[name]}" for name in names)
            cells = {
                "model": f"{row['model']} ({params})" if params else row["model"],
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

    def write(self, folder: str | os.PathLike[str]) -> list[Path]:
        """Write all files, each whole or not at all, over those of an earlier search.

        Parameters
        ----------
        folder : str or path-like
            Where to; created where missing.

        Returns
        -------
        paths : list of Path
            ``search.csv``, ``search.md``, ``search.json``, and, where at least two
            parameters vary, ``heatmap.svg`` and ``heatmap.png`` over the first two,
            means over the others.
        """
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        page = "\n".join(
            [
                f"# Search on {data_title(self.record)}: {self.record['model']}\n",
                table_to_markdown(self.format_table()),
                *(f"{note}\n" for note in self.format_notes()),
            ]
        )
        record = json.dumps(to_jsonable(self.record), indent=1, allow_nan=False)
        contents = {
            "search.csv": self.table.to_csv(index=False, lineterminator="\n"),
            "search.md": page,
            "search.json": record,
        }
        paths = []
        for name, content in contents.items():
            with atomic_write(folder / name, "w", encoding="utf-8") as file:
                file.write(content)
            paths.append(folder / name)
        return paths + self._write_heatmap(folder)

    def _write_heatmap(self, folder: Path) -> list[Path]:
        varied = self.record["varied"]
        if len(varied) < 2:
            return []
        from matplotlib.figure import Figure

        figure = Figure(figsize=(7, 4.5), layout="constrained")
        SearchHeatmapDisplay.from_search(
            self.search, y=varied[0], x=varied[1], ax=figure.subplots()
        )
        return save_figures({"heatmap": figure}, folder)
