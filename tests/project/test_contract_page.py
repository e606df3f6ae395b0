"""The tests that docs/contract.rst names, row by row, are there."""

import ast
import re

from . import ROOT

PAGE = (ROOT / "docs" / "contract.rst").read_text(encoding="utf-8")
NAME = re.compile(r"``(tests/[\w/]+\.py)::(\w+)``")


def test_contract_page_names_tests_that_exist_in_each_row():
    rows = PAGE.split("\n   * - ")[1:]
    headers = [row for row in rows if row.startswith("subject\n")]
    unshown = [row.splitlines()[0] for row in rows if not NAME.search(row)]
    assert len(unshown) == len(headers) == PAGE.count(".. list-table::")
    assert len(rows) - len(headers) > 40
    # No name is broken at the end of a line.
    assert PAGE.count("::test_") == len(NAME.findall(PAGE))
    named = set(NAME.findall(PAGE))
    for path in {path for path, _ in named}:
        tree = ast.parse((ROOT / path).read_text())
        named -= {(path, getattr(node, "name", None)) for node in tree.body}
    assert not named
