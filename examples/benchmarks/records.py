"""Where the benchmarks' results lie, and how they are written and read.

The results are files in ``docs``, from which README.md (``readme_tables.py``) and the
docs (at every build) take their tables and figures.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from fmnist_sklearn.benchmark import describe_hardware, describe_versions
from fmnist_sklearn.benchmark.results import to_jsonable
from fmnist_sklearn.models import MODELS
from fmnist_sklearn.storage.files import atomic_write

DOCS = Path(__file__).parents[2] / "docs"
DEFAULTS = DOCS / "defaults.csv"  # from defaults.py
DISTILLED_FROM_SVC = DOCS / "distilled_from_svc.csv"  # from distilled_from_svc.py
DISTILLED_FROM_SVC_CHOICE = DOCS / "distilled_from_svc_choice.csv"
FRONTIER = DOCS / "frontier.csv"  # from frontier.py
PLAIN_SECONDS = DOCS / "published_plain.csv"  # from published_plain.py
RECIPE_CHOICE = DOCS / "recipe_choice.csv"  # from recipe_choice.py
SAME_ACCURACY = DOCS / "same_accuracy.csv"  # from same_accuracy.py
SMALL_DATA = DOCS / "small_data.csv"  # from small_data.py

# As the scripts' arguments and files have it -> as tables have it.
MODEL_NAMES = {name.lower(): name for name in MODELS}


def write_rows(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    """Write a table as CSV, whole or not at all."""
    with atomic_write(path, "w", encoding="utf-8") as file:
        pd.DataFrame(rows).to_csv(file, index=False, lineterminator="\n")


def replace_rows(path: Path, key: str, rows: list[dict[str, Any]]) -> None:
    """Write rows to a table, in place of those with the same entries under ``key``."""
    earlier = pd.read_csv(path, dtype=str) if path.exists() else pd.DataFrame({key: []})
    kept = earlier[~earlier[key].isin({row[key] for row in rows})]
    write_rows(path, [*kept.to_dict("records"), *rows])


def write_run(path: Path, content: dict[str, Any]) -> None:
    """Write what a run measured, with the date, the hardware and the versions."""
    content = {
        **content,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "hardware": describe_hardware(),
        "versions": {**describe_versions(), **content.get("versions", {})},
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path, "w", encoding="utf-8") as file:
        json.dump(to_jsonable(content), file, allow_nan=False)
        file.write("\n")


def read_runs(folder: Path) -> pd.DataFrame:
    """Read the runs of a folder, one a row."""
    files = sorted(folder.glob("*.json"))
    return pd.DataFrame([json.loads(file.read_text("utf-8")) for file in files])


def spread(values: Iterable[float]) -> str:
    """Write mean and standard deviation over seeds, or the only value."""
    values = np.asarray(list(values))
    mean = f"{values.mean():.4f}"
    return mean if len(values) == 1 else f"{mean} ± {values.std(ddof=1):.4f}"


def describe_machine(runs: pd.DataFrame) -> str:
    """Say on what hardware and with which versions the runs were made."""
    versions: dict[str, set[str]] = {}
    for hardware, of_run in zip(runs["hardware"], runs["versions"], strict=True):
        machine = hardware["gpu"] or f"{hardware['cpu']}, {hardware['cores']} cores"
        versions.setdefault(machine, set()).update(
            f"{name} {version}"
            for name, version in of_run.items()
            if name != "fmnist-sklearn"
        )
    return " ".join(
        f"{machine}: {', '.join(sorted(names, key=str.lower))}."
        for machine, names in sorted(versions.items())
    )
