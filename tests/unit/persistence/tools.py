"""How the tests of model files save, load and change them."""

import warnings

import numpy as np

from fmnist_sklearn import LeNet5Classifier
from fmnist_sklearn.persistence import load_model, save_model
from fmnist_sklearn.storage.container import read_container, write_container

QUICK = {"max_epochs": 2, "patience": None, "random_state": 0}


def round_trip(net, path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        save_model(net, path)
    return load_model(path)


def fit_small(X, y=None, **params):
    return LeNet5Classifier(**{**QUICK, **params}).fit(
        X, np.arange(len(X)) % 3 if y is None else y
    )


def tamper(path, change):
    """Change the JSON of a file, which gets a sound checksum again."""
    arrays, meta, *_ = read_container(path, kind="model")
    change(meta)
    write_container(path, arrays, meta, kind="model")
