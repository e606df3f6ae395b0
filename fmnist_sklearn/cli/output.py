"""Printing: results on stdout, everything else on stderr."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import sys
from contextlib import suppress
from typing import IO, TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    import pandas as pd

_PIPE_CLOSED = 141  # the status that a shell reports for a process with a closed pipe

# Characters that control a terminal, break a line or change the writing direction.
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")


def printable(value: object) -> str:
    r"""Return a value's text with control characters as their numbers.

    Parameters
    ----------
    value : object
        A label or a file name, for example.

    Returns
    -------
    text : str
        One line that does not control a terminal, other texts as other lines.

    Examples
    --------
    >>> from fmnist_sklearn.cli.output import printable
    >>> print(printable("red \x1b[31m shirt\n"))
    red <U+001B>[31m shirt<U+000A>
    """
    return _CONTROL.sub(lambda found: f"<U+{ord(found[0]):04X}>", str(value))


def print_line(text: str, end: str = "\n") -> None:
    """Print a line of results at once.

    Parameters
    ----------
    text : str
        What to print.
    end : str
        What to print after it, by default a line break.

    Raises
    ------
    SystemExit
        With status 141, if the reader of stdout is gone, as after ``| head``.
    OSError
        If stdout cannot be written for another reason, such as a full disk.
    """
    try:
        _write(sys.stdout, text + end)
    except BrokenPipeError:
        raise SystemExit(_PIPE_CLOSED) from None


def print_json(value: Any) -> None:
    """Print a value as JSON, with paths as text.

    Parameters
    ----------
    value : object
        Nested dicts, lists, texts and numbers.
    """
    print_line(json.dumps(value, indent=1, default=str))


def print_notice(text: str, start: str = "") -> None:
    """Print one line on stderr if it can be written.

    Parameters
    ----------
    text : str
        What to print; control characters become escapes.
    start : str, default=""
        What to print before the line.
    """
    # Surrogates, from file names that are not UTF-8, cannot be written to all streams.
    line = printable(text).encode(errors="backslashreplace").decode()
    with suppress(OSError):
        _write(sys.stderr, f"{start}fmnist-sklearn: {line}\n")


def flush_output() -> None:
    """Flush what other code, such as argparse, has printed on stdout and stderr.

    Raises
    ------
    SystemExit, OSError
        As :func:`print_line` does.
    """
    with suppress(OSError):
        _write(sys.stderr, "")
    print_line("", end="")


def _write(stream: TextIO | None, text: str) -> None:
    if stream is None:  # closed by the shell, as by `>&-`
        return
    try:
        stream.write(text)
        stream.flush()
    except OSError:
        # Text that stays unwritten goes to the null device: otherwise Python writes it
        # again at exit, and reports an error. Streams without a file need nothing.
        with suppress(OSError):
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, stream.fileno())
            os.close(null)
        raise


def print_table(table: pd.DataFrame) -> None:
    """Print a table of texts; on a narrow terminal, some columns below the others.

    Parameters
    ----------
    table : pandas.DataFrame
        The rows' names in the first column.
    """
    width = shutil.get_terminal_size(fallback=(1000, 24)).columns
    named = table.set_index(table.columns[0]).rename_axis(None)
    print_line(named.to_string(line_width=width))


def escape_unencodable(stream: IO[Any] | None) -> None:
    """Have a stream write any text, whatever its encoding.

    In UTF-8 the bytes of a file name that is not UTF-8 are written unchanged; what
    another encoding lacks is written as escapes.

    Parameters
    ----------
    stream : text file or None
        Such as sys.stdout. A stream that does not encode its text is left unchanged.
    """
    if isinstance(stream, io.TextIOWrapper):
        is_utf8 = stream.encoding.lower() == "utf-8"
        stream.reconfigure(errors="surrogateescape" if is_utf8 else "backslashreplace")
