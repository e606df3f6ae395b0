"""The tests that docs/contract.rst names, row by row, are there."""

import ast
import re

import pytest

from . import ROOT

PAGE = ROOT / "docs" / "contract.rst"
NAME = re.compile(r"``(tests/[\w/]+\.py)::(\w+)``")


@pytest.fixture(scope="module")
def page():
    if not PAGE.exists():
        pytest.skip("the docs are not part of an installed package")
    return PAGE.read_text()


def test_contract_page_names_a_test_in_each_row(page):
    rows = page.split("\n   * - ")[1:]
    headers = [row for row in rows if row.startswith("subject\n")]
    unshown = [row.splitlines()[0] for row in rows if not NAME.search(row)]
    assert len(unshown) == len(headers) == page.count(".. list-table::")
    assert len(rows) - len(headers) > 40


def test_contract_page_names_tests_that_exist(page):
    named = set(NAME.findall(page))
    for path in {path for path, _ in named}:
        tree = ast.parse((ROOT / path).read_text())
        named -= {(path, getattr(node, "name", None)) for node in tree.body}
    assert not named


def test_contract_page_names_tests_in_full(page):
    assert page.count("::test_") == len(NAME.findall(page))
