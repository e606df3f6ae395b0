"""The pages that readers copy from, and the code blocks in them."""

import re
import textwrap

from . import ROOT

PAGES = [
    "README.md",
    *sorted(
        path.relative_to(ROOT).as_posix()
        for folder in ("docs", "docs/decisions")
        for path in (ROOT / folder).glob("*.rst")
    ),
]

ANY_SCHEDULER = "tcp://HOST:8786"  # stands for a cluster of the reader's own

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
# A block that the directive names, or one after a paragraph that ends in two colons,
# whose language is "" here.
_BLOCK = re.compile(
    r"^( *)(?:\.\. (?:code-block|code|sourcecode):: *(\w*)|(?! *\.\. ).*::)\n"
    r"(?:\1   :\w.*\n)*\n"
    r"((?:\1 {3,}.*\n|\n)+)",
    re.MULTILINE,
)


def read_blocks(page):
    """Return the code blocks of a page, in order: pairs of language and text."""
    text = (ROOT / page).read_text(encoding="utf-8")
    if page.endswith(".md"):
        return _FENCE.findall(text)
    return [
        (language, textwrap.dedent(block))
        for _, language, block in _BLOCK.findall(text)
    ]
