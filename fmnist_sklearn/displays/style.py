"""Colours, axes, texts and pages: what users see, readable on white and on dark."""

from __future__ import annotations

import base64
import hashlib
import re
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

# Blue, rose, green and grey, as in the published figures. Rose and green also differ in
# lightness, for readers with red-green colour blindness. All are visible on white and
# on black; texts and axes have the colours of the current matplotlib style.
ROW_COLORS = ("#2563a8", "#ee7f97", "#1f7a4d", "#8c9199")
COLORS = (*ROW_COLORS, "#b45309", "#7c3aed", "#8a6d00", "#b04ac0")
WRONG = "#d6486a"

# Of texts with names in them, where a dollar is a dollar.
AS_IT_IS: dict[str, Any] = {"parse_math": False, "usetex": False}
# What XML, and so SVG, cannot hold: control characters and lone surrogates.
_NOT_IN_XML = re.compile("[^\n\x20-\x7e\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def new_axes(width: float = 6.4, height: float = 4.2) -> Axes:
    """Return the axes of a new figure of this size in inches."""
    import matplotlib.pyplot as plt

    _, ax = plt.subplots(figsize=(width, height), layout="constrained")
    return ax


def drawn_text(text: Any, n_characters: int = 60) -> str:
    """Return a name, or a text with names, as figures draw it.

    Parameters
    ----------
    text : object
        Newlines, dollars and backslashes stay; a character that no figure can hold
        becomes its number, such as ``<U+0007>``.
    n_characters : int, default=60
        A longer text is shortened in its middle, since names often differ at the end.
    """
    drawn = _NOT_IN_XML.sub(lambda found: f"<U+{ord(found[0]):04X}>", str(text))
    if len(drawn) <= n_characters:
        return drawn
    n_last = n_characters // 3
    return f"{drawn[: n_characters - n_last - 1]}…{drawn[-n_last:]}"


def one_line(text: Any) -> str:
    """Return a text with names as tables and pages have it, whole and in one line."""
    return drawn_text(text, sys.maxsize).replace("\n", "<U+000A>")


def fill_page(template: Path, **values: Any) -> str:
    """Fill in a page that a browser opens, without any other file or a network.

    Text from users (names of rows, classes and files) is escaped and in one line, and
    the page's own policy forbids a browser to run other scripts or to load anything.

    Parameters
    ----------
    template : Path
        An ``.html`` file, next to its style (``.css``) and its script (``.js``).
    **values : dict
        Of the names in the template; besides these, it has ``style`` and ``script``,
        and ``style_hash`` and ``script_hash`` for the policy.
    """
    import jinja2

    environment = jinja2.Environment(
        autoescape=True,
        # Texts in one line; what is markup, as it is.
        finalize=lambda value: value if hasattr(value, "__html__") else one_line(value),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    for name, suffix in (("style", ".css"), ("script", ".js")):
        values[name] = text = template.with_suffix(suffix).read_text("utf-8")
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        values[f"{name}_hash"] = f"sha256-{digest}"
    return environment.from_string(template.read_text("utf-8")).render(values)


def add_legend(
    owner: Axes | Figure, entries: Iterable[tuple[str, Line2D]], **legend_kw: Any
) -> None:
    """Add a legend of texts and lines to axes or to a figure."""
    texts, lines = zip(*entries, strict=True)
    # Some versions of matplotlib leave out entries that begin with "_".
    legend = owner.legend(lines, [""] * len(lines), **legend_kw)
    for drawn, text in zip(legend.get_texts(), texts, strict=True):
        drawn.set(text=drawn_text(text), **AS_IT_IS)
