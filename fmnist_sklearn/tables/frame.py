"""A data frame that prints whole: its spreads behind their means, on 80 columns."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import pandas as pd

from .markdown import format_value

_WIDTH = 80
# column -> that of its standard deviation, and digits after the point
_TIME = ("training_time_s", "training_time_std", 2)


class BenchmarkTable(pd.DataFrame):
    """What :func:`benchmark_table` returns: a data frame, but for how it prints."""

    @property
    def _constructor(self) -> Callable[..., BenchmarkTable]:
        return BenchmarkTable

    def __repr__(self) -> str:
        """Write the table whole, in lines of at most 80 characters."""
        return _in_lines(_columns(self), list(map(str, self.index)))

    def _repr_html_(self) -> str:
        """Write the table for notebooks."""
        columns = {column.header[0]: column.cells for column in _columns(self)}
        return pd.DataFrame(columns, index=self.index).to_html(border=0)


class Column(NamedTuple):
    """A column to print."""

    header: list[str]  # its lines
    cells: list[str]
    is_number: bool


def _columns(table: pd.DataFrame) -> list[Column]:
    names = list(map(str, table.columns))
    spreads: dict[str, tuple[str, int]] = {}
    if len(set(names)) == len(names):  # not so after a join of the reader's own
        spreads = {name: (f"{name}_std", 4) for name in names}
        spreads[_TIME[0]] = _TIME[1:]
    hidden = {std for name, (std, _) in spreads.items() if name in names}
    columns = []
    for position, name in enumerate(names):
        if name in hidden:
            continue
        values = table.iloc[:, position]
        std, digits = spreads.get(name, ("", 4))
        if std in names:
            pairs = zip(values, table[std], strict=True)
            cells = [_with_spread(mean, spread, digits) for mean, spread in pairs]
        else:
            cells = [
                " ".join(format_value(value).split()) for value in values.astype(object)
            ]
        columns.append(Column([name], cells, is_number=name != "model"))
    return columns


def _with_spread(mean: float, spread: float, digits: int) -> str:
    if pd.isna(mean):
        return ""
    return f"{mean:.{digits}f}" + ("" if pd.isna(spread) else f" ± {spread:.{digits}f}")


def _in_lines(columns: list[Column], index: list[str]) -> str:
    """Lay columns out, those that find no room below the others."""
    side = max(map(len, index), default=0)
    if side + sum(2 + _width(column) for column in columns) > _WIDTH:
        columns = list(map(_broken, columns))
    blocks: list[list[Column]] = [[]]
    room = _WIDTH - side
    for column in columns:
        room -= 2 + _width(column)
        if room < 0 and blocks[-1]:
            blocks.append([])
            room = _WIDTH - side - 2 - _width(column)
        blocks[-1].append(column)
    return "\n\n".join(_block(block, index, side) for block in blocks)


def _broken(column: Column) -> Column:
    """Break a header after underscores, as often as its column is narrow."""
    (name,) = column.header
    parts = [part for part in name.replace("_", "_\0").split("\0") if part]
    room = max(map(len, [*parts, *column.cells]))
    lines = [""]
    for part in parts:
        if len(lines[-1] + part) > room:
            lines.append("")
        lines[-1] += part
    return column._replace(header=lines)


def _width(column: Column) -> int:
    return max(map(len, [*column.header, *column.cells]))


def _block(columns: list[Column], index: list[str], side: int) -> str:
    height = max((len(column.header) for column in columns), default=1)
    lines = [[" " * side] for _ in range(height)]
    lines += [[label.ljust(side)] for label in index]
    for column in columns:
        above = [""] * (height - len(column.header))
        width = _width(column)
        for line, cell in zip(
            lines, [*above, *column.header, *column.cells], strict=True
        ):
            line.append(cell.rjust(width) if column.is_number else cell.ljust(width))
    return "\n".join("  ".join(line).rstrip() for line in lines)
