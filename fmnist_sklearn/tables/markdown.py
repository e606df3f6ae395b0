"""Any table of short values as Markdown."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd


def table_to_markdown(table: pd.DataFrame) -> str:
    """Write a table in Markdown, without its index.

    Parameters
    ----------
    table : pandas.DataFrame
        Any table of short values.

    Returns
    -------
    markdown : str
        A pipe table. Floats have four significant digits (whole ones, and those
        from 1,000, no decimals), and nan is left empty.

    Examples
    --------
    >>> import pandas as pd
    >>> from fmnist_sklearn.tables import table_to_markdown
    >>> table = pd.DataFrame({"model": ["LeNet5"], "accuracy": [0.90712]})
    >>> print(table_to_markdown(table), end="")
    | model | accuracy |
    | --- | ---: |
    | LeNet5 | 0.9071 |
    """
    rules = ["---:" if kind.kind in "iuf" else "---" for kind in table.dtypes]
    rows = table.astype(object).to_numpy()
    lines = [map(str, table.columns), rules, *(map(_markdown, row) for row in rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _markdown(value: Any) -> str:
    return format_value(value).replace("|", r"\|").replace("\n", " ")


def format_value(value: Any) -> str:
    """Write a value short: four digits, whole numbers as such, nothing for nan."""
    if not isinstance(value, float):  # numpy's float64 is one
        return str(value)
    if math.isnan(value):
        return ""
    return format(value, ".0f" if abs(value) >= 1000 or value.is_integer() else ".4g")
