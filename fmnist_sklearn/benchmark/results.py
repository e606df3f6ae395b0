"""What a benchmark found, and the files that tell it."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..storage.files import atomic_write
from ..tables import table_to_markdown
from .figures import benchmark_figures, save_figures

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


@dataclass(frozen=True)
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
    """

    table: pd.DataFrame
    best: str
    curves: dict[str, list[dict[str, float]]]
    record: dict[str, Any]
    paths: list[Path] = field(default_factory=list)

    def format_table(self) -> pd.DataFrame:
        """Return the table for readers: one short text a cell.

        Returns
        -------
        table : pandas.DataFrame
            Accuracies with their spread, the kept epoch behind the epochs run, and
            the headers in words.
        """
        import pandas as pd

        spread = "std" if "validation_accuracy_std" in self.table else "se"
        rows = []
        for row in self.table.to_dict("records"):
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
            cells["epochs (best)"] = f"{row['epochs']:.3g} ({row['best_epoch']:.3g})"
            cells["parameters"] = f"{row['n_parameters']:,}"
            rows.append(cells)
        return pd.DataFrame(rows)

    def format_notes(self) -> list[str]:
        """Return what a reader of the table must know, a sentence or two a line.

        Returns
        -------
        notes : list of str
            The best row, and what accuracies and spreads mean.
        """
        record = self.record
        n_test = record["data"]["n_test"]
        notes = [
            f"Best row, by validation accuracy: {self.best}.",
            f"Test accuracy is that on {n_test:,} images kept out of training.",
        ]
        if record["cv"] == "holdout":
            notes.append(
                "± is the standard error that the number of images gives an accuracy."
            )
        else:
            notes.append(
                f"Means ± standard deviations over {record['cv']} folds; "
                "validation accuracy is that on the fold left out."
            )
        if record["data"]["name"] == "sample":
            notes.append(
                "These are figures of the bundled sample, a tenth of Fashion-MNIST: "
                "the full data gives much higher ones."
            )
        n_planned, n_rows = len(record["planned_rows"]), len(self.table)
        if n_rows < n_planned:
            notes.append(f"Unfinished: {n_rows} of {n_planned} rows.")
        return notes

    def to_markdown(self) -> str:
        """Return ``results.md``: the table, the published one, and the circumstances.

        Returns
        -------
        markdown : str
            A page of its own.
        """
        import pandas as pd

        record = self.record
        data, hardware = record["data"], record["hardware"]
        columns = ["published row", "accuracy", "training time (s)", "epochs"]
        published = pd.DataFrame(PUBLISHED_ROWS, columns=columns)
        gpu = f", {hardware['gpu']}" if hardware["gpu"] else ""
        versions = ", ".join(f"{k} {v}" for k, v in record["versions"].items())
        return "\n".join(
            [
                "# Benchmark on Fashion-MNIST\n",
                table_to_markdown(self.format_table()),
                *(f"{note}\n" for note in self.format_notes()),
                "## As published\n",
                table_to_markdown(published),
                "Accuracy there is validation accuracy, on the first 20 % of the "
                "60,000 training images.\n",
                "## How\n",
                f"- Recipe: {record['recipe']}; validation: {record['cv']}"
                f"{' folds' if record['cv'] != 'holdout' else ''}; "
                f"seed: {record['seed']}",
                f"- Data: {data['name']}, {data['n_train']:,} training and "
                f"{data['n_test']:,} test images",
                f"- Hardware: {hardware['cpu']}, {hardware['cores']} cores, "
                f"{hardware['torch_threads']} torch threads{gpu}; "
                f"{hardware['system']}",
                f"- Trained on: {', '.join(record['devices'])}",
                f"- Versions: {versions}",
                f"- Date: {record['date']}",
                "",
            ]
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
            ``results.csv``, ``results.md``, ``results.json``, and ``train_loss``,
            ``valid_loss`` and ``accuracy`` as SVG and PNG.
        """
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        contents = {
            "results.csv": self.table.to_csv(index=False, lineterminator="\n"),
            "results.md": self.to_markdown(),
            "results.json": json.dumps(
                to_jsonable(self.record), indent=1, allow_nan=False
            ),
        }
        paths = []
        for name, content in contents.items():
            with atomic_write(folder / name, "w", encoding="utf-8") as file:
                file.write(content)
            paths.append(folder / name)
        return paths + save_figures(benchmark_figures(self.curves), folder)


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
