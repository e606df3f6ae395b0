"""The command ``fmnist-sklearn``: one line of arguments in, a status out."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Sequence
from typing import Any

from ..output import escape_unencodable, flush_output, print_notice
from ._parser import make_parser

_INTERRUPTED = 130  # what a shell reports for a process ended by Ctrl-C


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    Parameters
    ----------
    argv : sequence of str, default=None
        Its arguments; None takes those of the process.

    Returns
    -------
    status : int
        0; 1 for an error, told in one line on stderr; 130 after Ctrl-C. ``predict``
        tells each picture that cannot be read, or in which no article is seen, names
        the others all the same, and then returns 1.

    Raises
    ------
    SystemExit
        With status 2, for arguments that do not parse; with 0, for ``--help`` and
        ``--version``; with 141, where nobody reads the output any more, as after
        ``| head``.
    """
    with escape_unencodable(sys.stdout), warnings.catch_warnings():
        warnings.filterwarnings("default", category=UserWarning)
        warnings.showwarning = _show_warning
        try:
            return _run(argv)
        except KeyboardInterrupt:
            print_notice("interrupted", start="\n")
            return _INTERRUPTED
        except (ImportError, OSError, ValueError) as error:
            print_notice(f"error: {_message(error)}")
            return 1


def _run(argv: Sequence[str] | None) -> int:
    try:
        args = make_parser().parse_args(argv)
        return args.command(args)
    finally:
        flush_output()


def _message(error: Exception) -> str:
    """Return an error's message, the system's own without its number."""
    if isinstance(error, OSError) and error.strerror:
        where = "" if error.filename is None else f"{error.filename}: "
        return where + error.strerror
    return str(error)


def _show_warning(message: Any, *where: Any, **where_else: Any) -> None:
    """Show a warning without the line of code it came from."""
    print_notice(f"warning: {message}")
