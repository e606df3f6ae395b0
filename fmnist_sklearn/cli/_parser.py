"""The arguments of all commands: how they parse, and how their help looks."""

from __future__ import annotations

import argparse
import re
import sys
import textwrap
from collections.abc import Callable
from difflib import get_close_matches
from typing import Any

from .._version import __version__
from . import _pictures, _stores, _training

_GLUE = "\xa0"  # between words that stay on one line
_SHELLS = ("bash", "zsh", "tcsh")


class _Formatter(argparse.HelpFormatter):
    """Help whose examples stay on lines of their own, to be copied."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        if "\n" in text:
            return text
        return super()._fill_text(text, width, indent)

    def _format_usage(self, *args: Any) -> str:
        # argparse's own lines start far to the right, and those of options that exclude
        # each other are as long as they are.
        width, self._width = self._width, sys.maxsize
        line = super()._format_usage(*args).strip()
        self._width = width
        indent = " " * len("usage: ")
        kept_whole = re.sub(
            r"\[[^][]*(\[[^][]*\])?\]|--[\w-]+ [A-Z]+",
            lambda part: (
                part[0].replace(" ", _GLUE)
                if len(indent + part[0]) <= width
                else part[0]
            ),
            line,
        )
        wrapped = textwrap.wrap(
            kept_whole,
            width,
            subsequent_indent=indent,
            break_long_words=False,
            break_on_hyphens=False,
        )
        return "\n".join(wrapped).replace(_GLUE, " ") + "\n\n"


class Parser(argparse.ArgumentParser):
    """A parser that takes no abbreviations, and tells its own usage with an error."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs, allow_abbrev=False, formatter_class=_Formatter)

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parse, and refuse what is unknown.

        argparse itself leaves that to the parser above, whose usage tells nothing of
        the command's options, and tells before it what is lacking, though that may
        only be misspelt.
        """
        args = sys.argv[1:] if args is None else list(args)
        self._refuse([arg for arg in self._own(args) if not self._knows(arg)])
        parsed, unknown = super().parse_known_args(args, namespace)
        self._refuse(unknown)
        return parsed, unknown

    def _own(self, args: list[str]) -> list[str]:
        """Return the options among the arguments, up to the name of a command."""
        options = []
        for arg in args:
            if arg == "--" or (self._subparsers and not arg.startswith("-")):
                break
            if arg.startswith("--"):
                options.append(arg)
        return options

    def _knows(self, option: str) -> bool:
        return option.partition("=")[0] in self._option_string_actions

    def _refuse(self, unknown: list[str]) -> None:
        if unknown:
            name = unknown[0].partition("=")[0]
            near = get_close_matches(name, self._option_string_actions, n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            self.error(f"unrecognized arguments: {' '.join(unknown)}{hint}")


class _PrintCompletion(argparse.Action):
    """Print what makes a shell complete the command's arguments."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: Any,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        import shtab

        kinds = {"DIR": shtab.DIRECTORY, "FILE": shtab.FILE, "IMAGE": shtab.FILE}
        parsers = [parser]
        for each in parsers:
            for action in each._actions:
                if action.metavar in kinds:
                    setattr(action, "complete", kinds[action.metavar])  # noqa: B010
                if isinstance(action, argparse._SubParsersAction):
                    parsers.extend(action.choices.values())
        print(shtab.complete(parser, values))
        parser.exit()


def make_parser() -> Parser:
    """Make the parser of the command line, those of all commands in it.

    Returns
    -------
    parser : Parser
        What it parses has ``command``, a function of the parsed arguments that
        returns the status.
    """
    parser = Parser(
        prog="fmnist-sklearn",
        description="Small convolutional networks for small images: train, compare, "
        "predict.",
        epilog="""\
first steps:
  fmnist-sklearn fit lenet5 --out net.safetensors
  fmnist-sklearn predict net.safetensors shoe.png
  fmnist-sklearn fit --help""",
    )
    parser.add_argument(
        "--version", action="version", version=f"%(prog)s {__version__}"
    )
    parser.add_argument(
        "--print-completion",
        action=_PrintCompletion,
        choices=_SHELLS,
        help="print what makes this shell complete commands, options and file names",
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def add(
        name: str, command: Callable[[Any], int], help_: str, examples: str
    ) -> argparse.ArgumentParser:
        # The help of one command begins with what the list of commands says of it.
        added = commands.add_parser(
            name,
            help=help_,
            description=f"{help_[0].upper()}{help_[1:]}.",
            epilog=f"examples:\n{examples}",
        )
        added.set_defaults(command=command)
        return added

    _training.add_benchmark(add)
    _training.add_search(add)
    _training.add_fit(add)
    _pictures.add_predict(add)
    _pictures.add_show(add)
    _pictures.add_export(add)
    _stores.add_fetch(add)
    _stores.add_fits(add)
    return parser
