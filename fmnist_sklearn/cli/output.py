"""What the command prints: results on stdout, all else on stderr."""

from __future__ import annotations

import codecs
import io
import json
import os
import re
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    import pandas as pd

_PIPE_CLOSED = 141  # what a shell reports for a process ended by a closed pipe

# Characters that steer a terminal, break a line or turn the direction of writing.
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")


def printable(value: object) -> str:
    r"""Return a value's text with control characters as escapes.

    Parameters
    ----------
    value : object
        A label or the name of a file, say.

    Returns
    -------
    text : str
        One line that leaves a terminal as it is.

    Examples
    --------
    >>> from fmnist_sklearn.cli.output import printable
    >>> print(printable("red \x1b[31m shirt\n"))
    red \x1b[31m shirt\n
    """
    return _CONTROL.sub(lambda match: repr(match[0])[1:-1], str(value))


def print_line(text: str) -> None:
    """Print a line of results at once.

    Parameters
    ----------
    text : str
        What to print.

    Raises
    ------
    SystemExit
        With status 141, where nobody reads stdout any more, as after ``| head``.
    OSError
        If it cannot be written for another reason, a full disk for one.
    """
    _to_stdout(text + "\n")


def print_json(value: Any) -> None:
    """Print a value as JSON; paths in it as text.

    Parameters
    ----------
    value : object
        Nested dicts, lists, texts and numbers.
    """
    print_line(json.dumps(value, indent=1, default=str))


def print_notice(text: str, start: str = "") -> None:
    """Print one line on stderr, where somebody reads it.

    Parameters
    ----------
    text : str
        What to tell; control characters become escapes.
    start : str, default=""
        What to print before the line.
    """
    # Surrogates, of file names that are not UTF-8, are no text for every stream.
    line = printable(text).encode(errors="backslashreplace").decode()
    _to_stderr(f"{start}fmnist-sklearn: {line}\n")


def flush_output() -> None:
    """Write out what others, such as argparse, have printed on stdout and stderr.

    Raises
    ------
    SystemExit, OSError
        As :func:`print_line` does.
    """
    _to_stderr("")
    _to_stdout("")


def _to_stdout(text: str) -> None:
    if sys.stdout is not None:  # None: closed by the shell, as by `>&-`
        try:
            _write(sys.stdout, text)
        except BrokenPipeError:
            raise SystemExit(_PIPE_CLOSED) from None


def _to_stderr(text: str) -> None:
    if sys.stderr is not None:
        with suppress(OSError):
            _write(sys.stderr, text)


def _write(stream: TextIO, text: str) -> None:
    try:
        stream.write(text)
        stream.flush()
    except OSError:
        # What stays unwritten goes nowhere, or Python would try again at its end, and
        # complain. Streams that are no files need nothing.
        with suppress(OSError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, stream.fileno())
            os.close(nowhere)
        raise


def print_table(table: pd.DataFrame) -> None:
    """Print a table of texts whole; where it is too wide, a few lines for each row.

    Parameters
    ----------
    table : pandas.DataFrame
        The rows' names in the first column. The headers take two lines.
    """
    headers = [name.partition(" ") for name in table.columns]
    columns = [
        [first, rest, *table[name]]
        for name, (first, _, rest) in zip(table.columns, headers, strict=True)
    ]
    widths = [max(map(len, column)) for column in columns]
    # Of COLUMNS or the terminal; 100 where there is neither.
    room = shutil.get_terminal_size(fallback=(100, 24)).columns
    if sum(widths) + 2 * (len(widths) - 1) <= room:
        for name, *cells in zip(*columns, strict=True):
            aligned = map(str.rjust, cells, widths[1:])
            print_line("  ".join([name.ljust(widths[0]), *aligned]).rstrip())
        return
    width = max(map(len, table.columns[1:]))
    for name, *cells in table.itertuples(index=False):
        print_line(name)
        for header, cell in zip(table.columns[1:], cells, strict=True):
            print_line(f"  {header.ljust(width)}  {cell}")


# Encoding ---------------------------------------------------------------------------


@contextmanager
def escape_unencodable(stream: TextIO | None) -> Iterator[None]:
    """Let a stream take any text, whatever its encoding.

    The bytes of a file name that is not UTF-8 come out as they were; other characters
    that the encoding lacks, as escapes.

    Parameters
    ----------
    stream : text file or None
        Such as sys.stdout. Left alone if it does not encode its text.

    Yields
    ------
    None
    """
    if not isinstance(stream, io.TextIOWrapper):
        yield
        return
    errors = stream.errors
    stream.reconfigure(errors="bytes_or_escapes")
    try:
        yield
    finally:
        stream.reconfigure(errors=errors)


def _encode_next(error: UnicodeError) -> tuple[bytes, int]:
    assert isinstance(error, UnicodeEncodeError)
    char = error.object[error.start]
    is_byte = "\udc80" <= char <= "\udcff"
    errors = "surrogateescape" if is_byte else "backslashreplace"
    return char.encode("ascii", errors), error.start + 1


codecs.register_error("bytes_or_escapes", _encode_next)
