"""Shared by all tests: a small part of the bundled images, and nets fitted once."""

import random
from importlib.metadata import distributions, version

import joblib
import numpy as np
import pytest
import torch
from packaging.requirements import Requirement
from threadpoolctl import threadpool_limits

from fmnist_sklearn import (
    LeNet5Classifier,
    MiniVGGClassifier,
    load_fashion_mnist_sample,
)
from fmnist_sklearn.training.loop import Training

from .unit.toys import CONSTANT

# Small batches and small matrices gain nothing from more threads, and lose much where
# other processes compute.
torch.set_num_threads(1)
threadpool_limits(1)


def pytest_collection_modifyitems(items):
    """Skip what this machine or its versions lack; mark what starts processes."""
    installed = {str(each.name).lower() for each in distributions()}
    for item in items:
        if item.get_closest_marker("cuda") and not torch.cuda.is_available():
            item.add_marker(pytest.mark.skip(reason="needs a CUDA device"))
        for needed in (
            Requirement(mark.args[0]) for mark in item.iter_markers("needs")
        ):
            if version(needed.name) not in needed.specifier:
                item.add_marker(pytest.mark.skip(reason=f"needs {needed}"))
        for mark in item.iter_markers("ecosystem"):
            for tool in set(mark.args) - installed:
                item.add_marker(pytest.mark.skip(reason=f"needs {tool}"))
        if {"two_processes", "scheduler"} & set(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.slow)


@pytest.fixture(autouse=True)
def _seeded():
    """Start each test from the same global random states."""
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def sample():
    """The first 240 images of the bundled sample, and their labels; not to change."""
    X, y = load_fashion_mnist_sample(return_X_y=True)
    X, y = X[:240], y[:240]
    X.setflags(write=False)
    y.setflags(write=False)
    return X, y


@pytest.fixture(scope="session")
def X(sample):
    """Images as rows, uint8, of shape (240, 784); read-only."""
    return sample[0]


@pytest.fixture(scope="session")
def y(sample):
    """Labels 0 to 9 of ``X``; read-only."""
    return sample[1]


@pytest.fixture(scope="session")
def X_test():
    """120 images that no shared net was fitted on."""
    return load_fashion_mnist_sample(subset="test", return_X_y=True)[0][:120]


@pytest.fixture(scope="session")
def y_test():
    """Labels of ``X_test``."""
    return load_fashion_mnist_sample(subset="test", return_X_y=True)[1][:120]


@pytest.fixture(scope="session")
def small_X():
    """24 images of 8 x 8 pixels, on which a fit takes no time; not to change."""
    return np.random.default_rng(0).integers(0, 256, (24, 64), dtype=np.uint8)


# The settings that make a fit short; all others are the defaults of users.
QUICK = {
    "lr": 0.01,
    "batch_size": 32,
    "max_epochs": 2,
    "validation_fraction": 0.2,
    "random_state": 0,
}


@pytest.fixture
def quick():
    """Settings of a fit that takes a tenth of a second, at the defaults otherwise."""
    return dict(QUICK)


@pytest.fixture
def plain(quick):
    """As ``quick``, for tests of the last step's weights, and of the loss itself.

    By default the weights are averages over many steps, the targets smoothed, the
    images shifted, and no two steps have the same learning rate.
    """
    return quick | CONSTANT | {"ema_decay": None, "label_smoothing": 0.0}


@pytest.fixture(scope="session")
def lenet5(sample):
    """A LeNet5Classifier fitted with ``quick``; not to change (copy it first)."""
    return LeNet5Classifier(**QUICK).fit(*sample)


@pytest.fixture(scope="session")
def mini_vgg(sample):
    """A fitted MiniVGGClassifier; not to change (copy it first)."""
    X, y = sample
    return MiniVGGClassifier(**QUICK | {"max_epochs": 1}).fit(X[:100], y[:100])


@pytest.fixture(params=[LeNet5Classifier, MiniVGGClassifier])
def kind(request):
    """Each of the two classes."""
    return request.param


@pytest.fixture
def two_processes():
    """Processes of a thread each for ``n_jobs=2``, started once for all tests."""
    with joblib.parallel_config("loky", inner_max_num_threads=1):
        yield


@pytest.fixture
def trained(monkeypatch):
    """A list that gets the net of each training that is run in this process."""
    run, nets = Training.run, []
    monkeypatch.setattr(Training, "run", lambda t: (nets.append(t.net), run(t)))
    return nets


@pytest.fixture(scope="session")
def same_predictions():
    """A function that compares the probabilities of two nets."""

    def same_predictions(first, second, X):
        return np.array_equal(first.predict_proba(X), second.predict_proba(X))

    return same_predictions
