"""The snippets of README.md and of the docs run, each page's in one go."""

import re

import matplotlib as mpl
import matplotlib.pyplot as plt
import pytest

import fmnist_sklearn
from fmnist_sklearn import (
    ImageClassifier,
    LeNet5Classifier,
    MiniVGGClassifier,
    load_fashion_mnist_sample,
)

from . import ROOT
from .pages import ANY_SCHEDULER, PAGES, read_blocks

README = (ROOT / "README.md").read_text(encoding="utf-8")


def load_part(n_rows):
    """Return a function that loads so many rows of the sample."""

    def load(**kwargs):
        X, y = load_fashion_mnist_sample(**kwargs)
        return X[:n_rows], y[:n_rows]

    return load


def python_blocks(name):
    """Return the Python code blocks of a page, in order."""
    return [block for language, block in read_blocks(name) if language == "python"]


PAGES_WITH_PYTHON = [page for page in PAGES if python_blocks(page)]
TOOLS = pytest.mark.ecosystem(
    "mlflow", "optuna", "optuna-integration", "captum", "shap"
)


def test_python_blocks_are_found():
    assert {"README.md", "docs/index.rst", "docs/deploy.rst"} <= set(PAGES_WITH_PYTHON)
    for page in PAGES_WITH_PYTHON:
        text = (ROOT / page).read_text(encoding="utf-8")
        marks = re.findall(r"^(?:```|\.\. code(?:-block)?:: +)py", text, re.MULTILINE)
        assert len(python_blocks(page)) == len(marks)


@pytest.fixture
def scheduler():
    """The address of a cluster of one worker."""
    distributed = pytest.importorskip("distributed")
    with distributed.LocalCluster(
        n_workers=1, threads_per_worker=1, dashboard_address=None
    ) as cluster:
        yield cluster.scheduler_address


@pytest.mark.parametrize(
    "page",
    [
        pytest.param(page, marks=TOOLS if page == "docs/works_with.rst" else ())
        for page in PAGES_WITH_PYTHON
    ],
)
def test_snippets_run(page, tmp_path, monkeypatch, request):
    if "onnxruntime" in "".join(python_blocks(page)):
        pytest.importorskip("onnxruntime")
    monkeypatch.chdir(tmp_path)
    mpl.use("agg")
    # The defaults' epochs on all the images are the reader's to wait for.
    n_rows = 1200 if "1000:" in "".join(python_blocks(page)) else 300
    monkeypatch.setattr(fmnist_sklearn, "load_fashion_mnist_sample", load_part(n_rows))
    for classifier in (ImageClassifier, LeNet5Classifier, MiniVGGClassifier):
        defaults = classifier.__init__.__kwdefaults__
        monkeypatch.setitem(defaults, "max_epochs", 1)
    monkeypatch.setitem(ImageClassifier.__init__.__kwdefaults__, "patience", None)
    namespace = {"__name__": "snippets"}
    for number, block in enumerate(python_blocks(page), start=1):
        if ANY_SCHEDULER in block:
            block = block.replace(ANY_SCHEDULER, request.getfixturevalue("scheduler"))
        block = re.sub(r"max_epochs=\d+", "max_epochs=1", block)
        exec(compile(block, f"<{page}, snippet {number}>", "exec"), namespace)
    plt.close("all")
    if page == "README.md":
        assert namespace["clf"].score(namespace["X_test"], namespace["y_test"]) > 0.3
        assert sorted(path.name for path in tmp_path.iterdir()) == [
            "lenet5.joblib",
            "lenet5.safetensors",
        ]


def test_templates_of_the_api_page_are_there():
    """Sphinx takes another in silence, and the page then shows no methods."""
    page = (ROOT / "docs" / "api.rst").read_text(encoding="utf-8")
    templates = set(re.findall(r"^   :template: (.+)$", page, re.MULTILINE))
    assert "estimator.rst" in templates
    for template in templates:
        assert (ROOT / "docs" / "_templates" / template).is_file()


def test_public_names_are_on_the_api_page():
    page = (ROOT / "docs" / "api.rst").read_text(encoding="utf-8")
    listed = re.findall(r"^(?:   (?:\w+\.)?|\.\. py:data:: )(\w+)$", page, re.MULTILINE)
    assert set(fmnist_sklearn.__all__) <= set(listed)
