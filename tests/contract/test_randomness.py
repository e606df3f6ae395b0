"""Fits draw from random states of their own, and from nothing else."""

import random
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from sklearn.model_selection import (
    StratifiedKFold,
    cross_val_predict,
)

from fmnist_sklearn import (
    LeNet5Classifier,
)


def test_global_random_states_stay_untouched(X, y, quick):
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


def test_global_random_states_are_not_read(X, y, quick, kind, same_predictions):
    settings = quick | {"dropout": 0.5, "max_epochs": 1}
    settings["augment"] = {"flip": 0.5, "shift": 1, "erase": 3}
    nets = []
    for seed in (1, 2):
        random.seed(seed)
        np.random.seed(seed)
        torch.manual_seed(seed)
        nets.append(kind(**settings).fit(X[:80], y[:80]))
    assert same_predictions(*nets, X)


def test_without_a_random_state_every_fit_differs(X, y, quick, same_predictions):
    settings = quick | {"random_state": None, "max_epochs": 1}
    nets = []
    for _ in range(2):
        np.random.seed(0)
        torch.manual_seed(0)
        nets.append(LeNet5Classifier(**settings).fit(X, y))
    assert not same_predictions(*nets, X)


def test_random_state_instance(X, y, quick, same_predictions):
    settings = quick | {"random_state": np.random.RandomState(0)}
    first = LeNet5Classifier(**settings).fit(X, y)
    second = LeNet5Classifier(**settings).fit(X, y)  # draws on
    assert not same_predictions(first, second, X)


def fit_in_thread(settings, X, y):
    torch.set_num_threads(1)  # of this thread
    return LeNet5Classifier(**settings).fit(X, y)


def test_fits_in_threads_do_not_disturb_each_other(X, y, quick, same_predictions):
    tasks = [
        quick | {"random_state": seed, "augment": {"shift": 1}, "max_epochs": 3}
        for seed in range(2)
    ]
    alone = [fit_in_thread(settings, X, y) for settings in tasks]
    with ThreadPoolExecutor(2) as pool:
        together = list(pool.map(lambda settings: fit_in_thread(settings, X, y), tasks))
    for first, second in zip(alone, together, strict=True):
        assert first.history_[:, "train_loss"] == second.history_[:, "train_loss"]
        assert same_predictions(first, second, X)


def test_worker_processes_give_the_same(X, y, quick, two_processes):
    net = LeNet5Classifier(**quick)
    folds = StratifiedKFold(2)
    here = cross_val_predict(net, X, y, cv=folds, method="predict_proba")
    there = cross_val_predict(net, X, y, cv=folds, method="predict_proba", n_jobs=2)
    assert np.array_equal(here, there)
