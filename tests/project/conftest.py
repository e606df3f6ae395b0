"""What the tests of the project share: modules that lie outside the package."""

import importlib
import sys
from pathlib import Path

import pytest

from . import ROOT


@pytest.fixture
def import_from(monkeypatch):
    """A function that imports a module of a folder of the project, for one test."""
    before = set(sys.modules)

    def import_from(folder, name):
        monkeypatch.syspath_prepend(ROOT / folder)
        return importlib.import_module(name)

    yield import_from
    for name in set(sys.modules) - before:
        file = getattr(sys.modules[name], "__file__", None) or ""
        if any(Path(file).is_relative_to(ROOT / top) for top in ("examples", "docs")):
            del sys.modules[name]


@pytest.fixture
def scripts(import_from, monkeypatch):
    """A function that imports a module of the benchmarks."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    return lambda name: import_from("examples/benchmarks", name)
