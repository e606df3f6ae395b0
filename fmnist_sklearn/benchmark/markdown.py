"""What a benchmark found, for readers: a table of short texts, notes, and a page."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ..tables import table_to_markdown
from .fits import Folds, Holdout, choose_validation

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
