"""Who imports whom: the picture that the docs print, held to rules."""

import subprocess
import sys

import pytest

from . import ROOT

# The arrows that are meant to be, from the top down; one may skip steps. A new room
# gets its line here. A file with a leading underscore beside the rooms is a small
# helper for any of them, and so knows none.
ARROWS = {
    "__main__": {"cli"},
    "cli": {"persistence", "export", "benchmark"},
    "benchmark": {"persistence", "export", "displays", "photos"},
    "persistence": {"models"},
    "export": {"models", "datasets", "displays"},
    "mlflow": {"persistence"},
    "models": {"estimators", "recipes"},
    "estimators": {"training"},
    "training": {"modules.fast", "storage"},
    "modules.fast": {"modules"},
    "modules": set(),
    "displays": set(),
    "datasets": {"storage"},
    "photos": {"storage"},
    "recipes": set(),
    "storage": set(),
}


def is_helper(room):
    return room.startswith("_") and room not in ARROWS


def reached_from(room):
    """Return all that lies below a room."""
    below = set()
    for lower in ARROWS[room]:
        below |= {lower} | reached_from(lower)
    return below


@pytest.fixture
def layout(import_from):
    """The module that reads the package."""
    return import_from("docs", "layout")


def test_arrows_between_rooms_point_down(layout):
    picture = layout.read_picture()
    assert {"cli", "estimators", "modules.fast"} < set(picture)
    for room, imported in picture.items():
        assert room in ARROWS or is_helper(room), f"give {room} its place in ARROWS"
        allowed = set() if is_helper(room) else reached_from(room)
        wrong = {other for other in imported - allowed if not is_helper(other)}
        assert not wrong, f"{room} must not import {wrong}"


def test_imports_form_no_ring(layout):
    """Across the package, and so within training and within estimators."""
    imports = layout.read_imports()
    assert imports["training"] | imports["estimators"]
    whole = [name for name, imported in imports.items() if "" in imported]
    assert not whole, f"{whole} import the package as a whole, which imports them"
    layout.top_down(imports)


def test_files_have_a_summary(layout):
    silent = [
        name
        for name, path in layout.read_files().items()
        if not layout.summary(path).endswith(".")
    ]
    assert not silent


def test_contributing_page_prints_the_rooms(layout):
    page = (ROOT / "docs" / "contributing.rst").read_text(encoding="utf-8")
    for written in ("layout.tree_text()", "layout.arrows_text()"):
        assert f".. computed-text:: {written}\n" in page
    tree, arrows = layout.tree_text(), layout.arrows_text()
    for room in layout.read_picture():
        own = room.rpartition(".")[2]
        assert f"{own}/" in tree or f"{own}.py" in tree
        assert any(line.split()[0] == room for line in arrows.splitlines())


@pytest.fixture
def package(tmp_path):
    """A function that writes a package of given files."""

    def write(files):
        for name, source in {"__init__.py": "", **files}.items():
            path = tmp_path / "fmnist_sklearn" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(source)
        return tmp_path / "fmnist_sklearn"

    return write


def test_read_imports_finds_all(layout, package):
    folder = package(
        {
            "top.py": (
                "import os, fmnist_sklearn.low\n"
                "from . import __version__\n"
                "from fmnist_sklearn import sub\n"
                "from elsewhere.fmnist_sklearn import nothing\n"
                "def late():\n"
                "    from .sub.part import draw\n"
            ),
            "low.py": "from os import path",
            "sub/__init__.py": "from .part import FILES\n",
            "sub/part.py": "from .. import low\n",
        }
    )
    assert layout.read_imports(folder) == {
        "": set(),
        "top": {"low", "", "sub.part", "sub"},
        "low": set(),
        "sub": {"sub.part"},
        "sub.part": {"low"},
    }
    picture = layout.read_picture(folder)
    assert picture["sub"] == {"low"}
    assert picture["top"] == {"low", "", "sub"}


def test_import_loads_late_what_is_slow():
    """In a process of its own, where pandas cannot even be found."""
    program = "import sys; sys.modules['pandas'] = None; import fmnist_sklearn; "
    program += "print('torch' in sys.modules); fmnist_sklearn.LeNet5Classifier; "
    program += "print(*sys.modules)"
    before, loaded = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True
    ).stdout.splitlines()
    assert before == "False"
    assert "fmnist_sklearn.estimators" in loaded.split()
    assert not {"matplotlib", "torchvision"} & set(loaded.split())


NO_TORCH = """
import sys
class Refuse:
    def find_spec(self, name, *args):
        if name.partition(".")[0] == "torch":
            raise ImportError("this needs torch")
sys.meta_path.insert(0, Refuse())
import fmnist_sklearn.datasets as d, fmnist_sklearn.photos, fmnist_sklearn.storage
from fmnist_sklearn import load_image_folder, fetch_fashion_mnist, FitCache
from fmnist_sklearn import load_fashion_mnist_sample as load
load()
from fmnist_sklearn.cli import main
main(["fits", "."])
d.fetch_fashion_mnist = lambda **kwargs: load()
main(["fetch"])
"""


@pytest.mark.slow
def test_data_and_files_do_not_need_torch(tmp_path):
    """Not ``sys.modules["torch"] = None``: SciPy looks for classes in that."""
    command = [sys.executable, "-c", NO_TORCH]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
