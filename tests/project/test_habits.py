"""The developer's loop: the tests that it chooses, and one version of ruff."""

import csv
import re
import shutil
import subprocess
import tomllib

import pytest

from . import ROOT

CODE = ("models", "storage/files", "estimators/base", "modules/fast")
ROOMS = ("estimators/test_validation", "modules/test_networks", "storage/test_files")
TESTS = ("contract/test_arrays", "project/test_readme", "unit/test_models", "conftest")
FILES = [
    "README.md",
    *(f"fmnist_sklearn/{name}.py" for name in CODE),
    *(f"tests/unit/{name}.py" for name in ROOMS),
    *(f"tests/{name}.py" for name in TESTS),
]


@pytest.fixture
def checkout(tmp_path):
    """A repository of empty files, where the tools only print how they were called."""
    if not (shutil.which("git") and shutil.which("bash")):
        pytest.skip("needs git and bash")
    for name in [*FILES, ".ci/check", *(f".venv/bin/{t}" for t in TOOLS)]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    shutil.copy(ROOT / ".ci" / "check", tmp_path / ".ci" / "check")
    for tool in TOOLS:
        path = tmp_path / ".venv" / "bin" / tool
        path.write_text(f'#!/bin/sh\necho "ran {tool}: $*"\n')
        path.chmod(0o755)
    (tmp_path / ".gitignore").write_text(".venv/\n")
    git(tmp_path, "init", "-q", "-b", "main")
    git(tmp_path, "add", ".")
    git(tmp_path, *AUTHOR, "commit", "-q", "-m", "first")
    return tmp_path


TOOLS = ("ruff", "mypy", "pytest")
AUTHOR = ("-c", "user.name=a", "-c", "user.email=a@example.org")


def git(folder, *args):
    subprocess.run(["git", *args], cwd=folder, check=True)


@pytest.mark.parametrize(
    ("changed", "tests"),
    [
        ("fmnist_sklearn/models.py", "tests/unit/test_models.py"),
        ("fmnist_sklearn/storage/files.py", "tests/unit/storage/test_files.py"),
        ("fmnist_sklearn/estimators/base.py", "tests/contract tests/unit/estimators"),
        ("fmnist_sklearn/modules/fast.py", "tests/contract tests/unit/modules"),
        ("tests/unit/test_models.py", "tests/unit/test_models.py"),
        ("tests/unit/test_new.py", "tests/unit/test_new.py"),
        ("tests/conftest.py", "fmnist_sklearn tests"),
        ("README.md", "tests/project"),
    ],
)
def test_check_runs_the_tests_of_a_changed_file(checkout, changed, tests):
    (checkout / changed).write_text("x = 1\n")
    run = subprocess.run(
        ["bash", ".ci/check"],
        cwd=checkout,
        env={"PATH": "/usr/local/bin:/usr/bin:/bin"},
        check=True,
        capture_output=True,
        text=True,
    )
    calls = re.findall(r"^ran (\w+): (.*)$", run.stdout, re.MULTILINE)
    assert [tool for tool, _ in calls] == ["ruff", "ruff", "mypy", "pytest"]
    given = calls[-1][1].removeprefix("-m not slow ").split()
    is_code = changed.startswith("fmnist_sklearn/")
    expected = [changed, "tests/project"] if is_code else []
    assert given == sorted([*expected, *tests.split()])


def test_ruff_is_the_same_version_everywhere():
    settings = (ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8")
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    (there,) = re.findall(r"rev: v([\d.]+)$", settings, re.MULTILINE)
    (here,) = re.findall(r'"ruff==([\d.]+)"', project)
    assert here == there


def test_page_of_tools_lists_the_extra():
    """And what they were tried with, last; ``.ci/ecosystem`` writes the versions."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    own, *extra = project["optional-dependencies"]["ecosystem"]
    assert own == "fmnist-sklearn[distributed,mlflow]"
    with (ROOT / "docs/works_with.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    tools = [row["tool"] for row in rows]
    assert sorted(tools[:-4]) == sorted([*extra, "dask", "mlflow"])
    assert tools[-4:] == ["Python", "torch", "scikit-learn", "skorch"]
    assert all(row["version"] for row in rows)


def test_floors_are_the_versions_of_the_oldest_run():
    """Also those in the text of docs/install.rst."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    required = [*project["dependencies"], *extras["onnx"], *extras["distributed"]]
    floors = [re.sub(r"\[.*\]", "", each) for each in required + extras["test"]]
    floors = {each.replace(">=", "==") for each in floors if ">=" in each}
    assert floors == set((ROOT / ".ci/oldest.txt").read_text().splitlines()[1:])
    page = (ROOT / "docs/install.rst").read_text(encoding="utf-8")
    text = " ".join(page.partition("\nVersions\n")[2].lower().split())
    names = "torch==|scikit-learn|skorch|numpy|pandas"
    stated = [each.replace("==", " ") for each in floors if re.match(names, each)]
    assert len(stated) == 5
    assert [each for each in stated if each not in text] == []
