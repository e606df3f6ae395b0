"""Small fitted nets, and how the tests of model files save and load them."""

import warnings

import numpy as np
import pytest

from fmnist_sklearn import LeNet5Classifier
from fmnist_sklearn.persistence import load_model, save_model

QUICK = {"max_epochs": 2, "patience": None, "random_state": 0}


def fit_small(X, y=None, **params):
    return LeNet5Classifier(**{**QUICK, **params}).fit(
        X, np.arange(len(X)) % 3 if y is None else y
    )


def round_trip(net, path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        save_model(net, path)
    return load_model(path)


@pytest.fixture(scope="module")
def small(small_X):
    """A fitted net; not to be changed."""
    return fit_small(small_X)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "net.safetensors"
