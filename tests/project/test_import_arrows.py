"""Imports inside the package point down only; what is slow to load loads late."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import fmnist_sklearn

PACKAGE = Path(fmnist_sklearn.__file__).parent

# From the bottom up: a module may import modules of lower floors only. A new module
# gets its place here.
FLOORS = [
    {
        "_allocator",
        "_files",
        "adam",
        "environment",
        "image_conv",
        "kernels",
        "photos",
        "progress",
        "recipes",
    },
    {"conv_pool", "sklearn_callbacks"},
    {"_container", "datasets", "modules", "plots", "tables"},
    {"batches", "benchmark_data", "callbacks", "fitcache", "images", "results"},
    {"preparation"},
    {"training"},
    {"_parameters"},
    {"_base"},
    {"estimators"},
    {"fits", "persistence"},
    {"report"},
    {"benchmark", "search"},
    {"cli"},
    {"__main__"},
]
FLOOR = {name: height for height, names in enumerate(FLOORS) for name in names}

# Those that keep to themselves, for any estimator's results or any torch module.
ALLOWED = {
    "_allocator": set(),
    "_files": set(),
    "adam": set(),
    "conv_pool": {"kernels"},
    "image_conv": set(),
    "kernels": set(),
    "recipes": set(),
    "modules": {"conv_pool", "image_conv", "kernels"},
    "tables": {"_files"},
    "plots": {"_files"},
    "datasets": {"_files"},
}


def modules():
    """Names of the modules and subpackages, and the files of each."""
    found = {path.stem: [path] for path in PACKAGE.glob("*.py")}
    for folder in PACKAGE.iterdir():
        if (folder / "__init__.py").exists():
            found[folder.name] = sorted(folder.rglob("*.py"))
    del found["__init__"]
    return found


MODULES = modules()


def imports_of(path, within=PACKAGE):
    """Names of our own modules that a file imports, wherever in it."""
    depth = len(path.relative_to(within).parts)  # 1 in the package itself
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == depth:
            base = f"fmnist_sklearn.{node.module or ''}".rstrip(".")
            names = [f"{base}.{alias.name}" for alias in node.names]
        else:
            continue  # no import, or one within a subpackage
        for name in names:
            package, _, rest = name.partition(".")
            if package == "fmnist_sklearn":
                yield rest.partition(".")[0]


def imported_by(name):
    found = {imported for path in MODULES[name] for imported in imports_of(path)}
    return found - {name, "__version__"}


@pytest.mark.parametrize("name", sorted(MODULES))
def test_arrows_point_down(name):
    assert name in FLOOR, f"give {name} its place in FLOORS"
    for imported in imported_by(name):
        assert imported in FLOOR, f"{name} imports {imported!r} of the whole package"
        assert FLOOR[imported] < FLOOR[name], f"{name} must not import {imported}"


@pytest.mark.parametrize("name", sorted(ALLOWED))
def test_modules_that_keep_to_themselves(name):
    assert imported_by(name) <= ALLOWED[name]


def test_imports_are_found(tmp_path):
    source = (
        "import os, fmnist_sklearn.tables\n"
        "from . import images, __version__\n"
        "from .datasets._sources import FILES\n"
        "from fmnist_sklearn import report\n"
        "def late():\n"
        "    from .plots import draw\n"
    )
    (tmp_path / "module.py").write_text(source)
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "part.py").write_text(
        "from .other import x\nfrom .._files import y\n"
    )
    assert set(imports_of(tmp_path / "module.py", tmp_path)) == {
        *("tables", "images", "__version__", "datasets", "report", "plots"),
    }
    assert set(imports_of(tmp_path / "sub" / "part.py", tmp_path)) == {"_files"}


def test_what_is_slow_to_load_loads_late():
    program = "import sys, fmnist_sklearn; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True
    ).stdout.split()
    assert "fmnist_sklearn.estimators" in loaded
    assert not {"matplotlib", "torchvision"} & set(loaded)
