"""The developer's loop: the tests that it chooses, and one version of ruff."""

import re
import shutil
import subprocess

import pytest

from . import ROOT

FILES = [
    "fmnist_sklearn/persistence.py",
    "fmnist_sklearn/tables.py",
    "fmnist_sklearn/storage/files.py",
    "fmnist_sklearn/estimators/validation.py",
    "fmnist_sklearn/estimators/base.py",
    "fmnist_sklearn/search/run.py",
    "fmnist_sklearn/modules/fast/layers.py",
    "tests/conftest.py",
    "tests/contract/test_base.py",
    "tests/project/test_readme.py",
    "tests/unit/estimators/test_validation.py",
    "tests/unit/modules/test_networks.py",
    "tests/unit/persistence/test_summary.py",
    "tests/unit/storage/test_files.py",
    "tests/unit/test_search.py",
    "tests/unit/test_tables.py",
    "README.md",
]


@pytest.fixture
def checkout(tmp_path):
    """A repository of empty files, where the tools only tell how they were called."""
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


def check(folder, *args):
    """Run the script; return how the tools were called, and what pytest was given."""
    run = subprocess.run(
        ["bash", ".ci/check", *args],
        cwd=folder,
        env={"PATH": "/usr/local/bin:/usr/bin:/bin"},
        check=True,
        capture_output=True,
        text=True,
    )
    calls = re.findall(r"^ran (\w+): (.*)$", run.stdout, re.MULTILINE)
    given = calls[-1][1].split() if calls[-1][0] == "pytest" else []
    return calls, given[2:]  # after --dist and its value


@pytest.mark.parametrize(
    ("changed", "tests"),
    [
        ("fmnist_sklearn/tables.py", ["tests/unit/test_tables.py"]),
        ("fmnist_sklearn/persistence.py", ["tests/unit/persistence"]),
        ("fmnist_sklearn/storage/files.py", ["tests/unit/storage/test_files.py"]),
        (
            "fmnist_sklearn/estimators/validation.py",
            ["tests/unit/estimators/test_validation.py"],
        ),
        (
            "fmnist_sklearn/estimators/base.py",
            ["tests/contract", "tests/unit/estimators"],
        ),
        (
            "fmnist_sklearn/search/run.py",
            ["tests/contract", "tests/unit/test_search.py"],
        ),
        (
            "fmnist_sklearn/modules/fast/layers.py",
            ["tests/contract", "tests/unit/modules"],
        ),
    ],
)
def test_a_changed_file_brings_its_tests(checkout, changed, tests):
    (checkout / changed).write_text("x = 1\n")
    calls, given = check(checkout)
    assert [tool for tool, _ in calls] == ["ruff", "ruff", "mypy", "pytest"]
    assert given == sorted([changed, "tests/project", *tests])


@pytest.mark.parametrize(
    ("changed", "tests"),
    [
        ("tests/unit/test_tables.py", ["tests/unit/test_tables.py"]),
        ("tests/unit/test_new.py", ["tests/unit/test_new.py"]),
        ("tests/conftest.py", ["fmnist_sklearn", "tests"]),
        ("README.md", ["tests/project"]),
    ],
)
def test_what_else_changed_brings_its_tests(checkout, changed, tests):
    (checkout / changed).write_text("x = 1\n")
    assert check(checkout)[1] == tests


def test_nothing_changed_nothing_to_run(checkout):
    assert check(checkout)[1] == []


def test_what_was_committed_since_a_branch(checkout):
    git(checkout, "checkout", "-q", "-b", "work")
    (checkout / "tests/unit/test_tables.py").write_text("x = 1\n")
    (checkout / "tests/contract/test_base.py").unlink()
    git(checkout, *AUTHOR, "commit", "-q", "-a", "-m", "second")
    assert check(checkout)[1] == []
    assert check(checkout, "main")[1] == ["tests/unit/test_tables.py"]


def test_pre_commit_has_the_ruff_of_the_tests():
    settings = (ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8")
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    (there,) = re.findall(r"rev: v([\d.]+)$", settings, re.MULTILINE)
    (here,) = re.findall(r'"ruff==([\d.]+)"', project)
    assert here == there
