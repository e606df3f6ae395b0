"""Fill README.md with the tables of the recorded runs."""

from __future__ import annotations

import textwrap

import accuracy_records
import pandas as pd
import speed_records
from records import DOCS

from fmnist_sklearn.benchmark import table_to_markdown
from fmnist_sklearn.storage.files import atomic_write


def filled(readme: str) -> str:
    """Return README.md with tables and circumstances between its marks."""
    runs = accuracy_records.read_records()
    readme = _between(
        readme,
        "accuracy",
        accuracy_records.recipes_table(runs),
        accuracy_records.describe_runs(runs),
    )
    runs = speed_records.read_speed()
    return _between(
        readme,
        "speed",
        speed_records.speed_table(runs),
        speed_records.machine_of(runs),
    )


def _between(readme: str, mark: str, table: pd.DataFrame, runs: str) -> str:
    begin, end = f"<!-- {mark}: begin -->\n", f"<!-- {mark}: end -->\n"
    before, rest = readme.split(begin)
    _, after = rest.split(end)
    lines = "\n".join(textwrap.wrap(runs, 90))
    return f"{before}{begin}\n{table_to_markdown(table)}\n{lines}\n\n{end}{after}"


if __name__ == "__main__":
    path = DOCS.parent / "README.md"
    text = filled(path.read_text("utf-8"))
    with atomic_write(path, "w", encoding="utf-8") as file:
        file.write(text)
