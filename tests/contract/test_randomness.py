"""Fits draw from random states of their own, and from nothing else."""

import copy
import pickle
import random
import uuid
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.model_selection import StratifiedKFold, cross_val_predict

from fmnist_sklearn import LeNet5Classifier, MiniVGGClassifier, load_model, save_model

VGG = {"module__widths": (4, "M", 8, "M"), "module__hidden_units": 16}


@pytest.fixture(params=[LeNet5Classifier, MiniVGGClassifier])
def short(request, quick):
    """A function that makes a net of either class, with draws of every kind."""

    def make(**params):
        settings = quick | {"dropout": 0.5, "max_epochs": 1} | params
        settings |= VGG if request.param is MiniVGGClassifier else {}
        augment = {"flip": 0.5, "shift": 1, "erase": 3}
        return request.param(**settings, augment=augment)

    return make


def test_random_state_settles_the_fit(X, y, short, same_predictions):
    X, y = X[:80], y[:80]
    first, again = short().fit(X, y), short().fit(X, y)
    other = short(random_state=1).fit(X, y)
    assert same_predictions(first, again, X)
    assert not same_predictions(first, other, X)
    assert same_predictions(first, clone(first).fit(X, y), X)
    assert same_predictions(first, copy.deepcopy(first).fit(X, y), X)


def test_global_random_states_stay_untouched(X, y, quick):
    X, y = X[:80], y[:80]
    net = LeNet5Classifier(
        **quick | {"ema_decay": 0.9},
        augment={"flip": 0.5, "shift": 1, "erase": 3},
        lr_schedule="one_cycle",
    )
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    for random_state in (0, None, np.random.RandomState(0)):
        net.set_params(random_state=random_state).fit(X, y)
        net.predict_proba(X)
        net.partial_fit(X, y)
    python, numpy, pytorch = states

    assert random.getstate() == python
    assert all(map(np.array_equal, np.random.get_state(), numpy))
    assert torch.equal(torch.get_rng_state(), pytorch)


def test_global_random_states_are_not_read(X, y, short, same_predictions):
    nets = []
    for seed in (1, 2):
        random.seed(seed)
        np.random.seed(seed)
        torch.manual_seed(seed)
        nets.append(short().fit(X[:80], y[:80]))
    assert same_predictions(*nets, X)


@pytest.mark.parametrize("random_state", [None, np.random.RandomState(0)])
def test_random_state_none_or_an_instance(X, y, quick, random_state, same_predictions):
    """Every fit differs: an instance continues to draw."""
    settings = quick | {"random_state": random_state, "max_epochs": 1}
    nets = []
    for _ in range(2):
        np.random.seed(0)
        torch.manual_seed(0)
        nets.append(LeNet5Classifier(**settings).fit(X[:80], y[:80]))
    assert not same_predictions(*nets, X)


def test_fit_in_a_thread_does_not_disturb_another(X, y, quick, same_predictions):
    def fit(seed):
        torch.set_num_threads(1)  # of this thread
        settings = quick | {"random_state": seed, "max_epochs": 2}
        return LeNet5Classifier(**settings, augment={"shift": 1}).fit(X[:120], y[:120])

    alone = list(map(fit, range(2)))
    with ThreadPoolExecutor(2) as pool:
        together = list(pool.map(fit, range(2)))
    for first, second in zip(alone, together, strict=True):
        assert first.history_[:, "train_loss"] == second.history_[:, "train_loss"]
        assert same_predictions(first, second, X)


def test_reading_methods_in_16_threads(X, y, lenet5, quick, tmp_path):
    def save_and_load(net):
        path = tmp_path / f"{uuid.uuid4()}.safetensors"
        save_model(net, path)
        return load_model(path).predict(X)

    calls = [
        *(lambda net: net.predict(X), lambda net: net.decision_function(X)),
        *(lambda net: net.score(X, y), lambda net: net.embed(X), save_and_load),
        lambda net: pickle.loads(pickle.dumps(net)).predict_proba(X),
    ]
    for net in (lenet5, LeNet5Classifier(**quick).partial_fit(X, y, classes=range(10))):
        expected = [call(copy.deepcopy(net)) for call in calls]
        with ThreadPoolExecutor(
            16, initializer=torch.set_num_threads, initargs=(1,)
        ) as e:
            jobs = [e.submit(call, net) for call in calls * 6]
        assert all(map(np.array_equal, [job.result() for job in jobs], expected * 6))


def test_fit_in_a_worker_process_is_the_same(X, y, quick, two_processes):
    net = LeNet5Classifier(**quick)
    folds = StratifiedKFold(2)
    here = cross_val_predict(net, X, y, cv=folds, method="predict_proba")
    there = cross_val_predict(net, X, y, cv=folds, method="predict_proba", n_jobs=2)
    assert np.array_equal(here, there)
