"""What the tests of the tools share: both networks on both layouts; versions."""

import csv
import platform
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest
from sklearn.base import clone

from fmnist_sklearn import CLASS_NAMES, LeNet5Classifier, MiniVGGClassifier

from ..conftest import QUICK

TABLE = Path(__file__).parents[2] / "docs" / "works_with.csv"
SMALL = {"module__widths": (8, "M", 8, "M"), "module__hidden_units": 16}


def pytest_addoption(parser):
    parser.addoption("--write-versions", action="store_true", help=f"in {TABLE.name}")


def pytest_sessionfinish(session, exitstatus):
    wanted = session.config.getoption("--write-versions", False)
    is_worker = hasattr(session.config, "workerinput")  # of pytest-xdist
    if exitstatus == 0 and wanted and not is_worker:
        with TABLE.open(encoding="utf-8", newline="") as file:
            header, *rows = csv.reader(file)
        for row in rows:
            python = row[0] == "Python"
            row[1] = platform.python_version() if python else version(row[0])
        with TABLE.open("w", encoding="utf-8", newline="") as file:
            csv.writer(file, lineterminator="\n").writerows([header, *rows])


@pytest.fixture(scope="session", params=["rows", "images"])
def layout(request):
    """Shape of an image in the arrays."""
    return (784,) if request.param == "rows" else (1, 28, 28)


@pytest.fixture(scope="session", params=["LeNet5", "MiniVGG"])
def case(request, layout, sample):
    """An estimator, not fitted and fitted; images, and their labels, strings."""
    X, y = sample[0].reshape(-1, *layout), np.array(CLASS_NAMES)[sample[1]]
    params = QUICK | {"patience": None, "device": "cpu"}
    new = LeNet5Classifier(**params)
    if request.param == "MiniVGG":
        new = MiniVGGClassifier(**params, **SMALL)
    return new, clone(new).fit(X, y), X, y
