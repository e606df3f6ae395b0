"""The snippets of README.md and of the user guide run, each page's in one go."""

import re
import textwrap

import matplotlib as mpl
import pytest

import fmnist_sklearn
from fmnist_sklearn import LeNet5Classifier, load_fashion_mnist_sample

from . import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")


def load_part(**kwargs):
    """Return a quarter of the sample."""
    X, y = load_fashion_mnist_sample(**kwargs)
    return X[:1500], y[:1500]


def python_blocks(name):
    """Return the Python code blocks of a page, in order."""
    text = (ROOT / name).read_text(encoding="utf-8")
    if name.endswith(".md"):
        return re.findall(r"^```python\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    blocks = re.findall(
        r"^\.\. code-block:: python\n\n((?:    .*\n|\n)+)", text, re.MULTILINE
    )
    return [textwrap.dedent(block) for block in blocks]


@pytest.mark.parametrize(
    ("page", "n_blocks"),
    [
        ("README.md", 8),
        ("docs/scikit_learn.rst", 12),
        ("docs/distillation.rst", 4),
        ("docs/searches.rst", 4),
        ("docs/deploy.rst", 6),
    ],
)
def test_snippets_run(page, n_blocks, tmp_path, monkeypatch):
    if page == "docs/deploy.rst":
        pytest.importorskip("onnxruntime")
    monkeypatch.chdir(tmp_path)
    mpl.use("agg")
    blocks = python_blocks(page)
    assert len(blocks) == n_blocks
    # The defaults' epochs on all the images are the reader's to wait for.
    monkeypatch.setattr(fmnist_sklearn, "load_fashion_mnist_sample", load_part)
    monkeypatch.setitem(LeNet5Classifier.__init__.__kwdefaults__, "max_epochs", 1)
    monkeypatch.setitem(LeNet5Classifier.__init__.__kwdefaults__, "patience", None)
    namespace = {"__name__": "snippets"}
    for number, block in enumerate(blocks, start=1):
        exec(compile(block, f"<{page}, snippet {number}>", "exec"), namespace)
    if page == "README.md":
        assert namespace["clf"].score(namespace["X_test"], namespace["y_test"]) > 0.7
        assert sorted(path.name for path in tmp_path.iterdir()) == [
            "lenet5.joblib",
            "lenet5.safetensors",
        ]


@pytest.mark.parametrize(
    "command",
    [
        "python3 -m venv .venv && .venv/bin/pip install -e . && "
        ".venv/bin/fmnist-sklearn benchmark",
        'python3 -m venv .venv && .venv/bin/pip install -e ".[test]" && '
        ".venv/bin/pytest",
    ],
)
def test_readme_has_each_command_once_as_a_block_of_its_own(command):
    assert README.count(f"```sh\n{command}\n```\n") == 1


def test_readme_sets_up_in_no_other_way():
    assert README.count("pip install") == 2


def test_public_names_are_on_the_api_page():
    page = (ROOT / "docs" / "api.rst").read_text(encoding="utf-8")
    listed = re.findall(r"^(?:   (?:\w+\.)?|\.\. py:data:: )(\w+)$", page, re.MULTILINE)
    assert set(fmnist_sklearn.__all__) <= set(listed)
