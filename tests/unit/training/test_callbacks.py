"""Early stopping, schedules and weight averaging, alone and inside a fit."""

import os
import time
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from sklearn.metrics import log_loss
from skorch.callbacks import Callback
from torch import nn
from torch.utils.data import DataLoader

from fmnist_sklearn import LeNet5Classifier
from fmnist_sklearn.training.batches import split_rows
from fmnist_sklearn.training.callbacks import (
    BestEpoch,
    EarlyStopping,
    WeightAverage,
    copy_state,
)
from fmnist_sklearn.training.net import Seeds

# Early stopping, fed with losses by hand


class FakeNet:
    """A net whose one weight is the number of the epoch."""

    def __init__(self):
        self.module_ = nn.Linear(1, 1)
        self.history = []
        self.stopped = False
        self._training = self

    def end_early(self):
        self.stopped = True


def run(rows, patience, **kwargs):
    """Feed the callback until it stops; return net and callback."""
    net, callback = FakeNet(), EarlyStopping(patience, **kwargs)
    callback.on_train_begin(net)
    for epoch, row in enumerate(rows, start=1):
        nn.init.constant_(net.module_.weight, epoch)
        net.history.append({"epoch": epoch, **row})
        callback.on_epoch_end(net, dataset_valid=range(100))
        if net.stopped:
            break
    return net, callback


@pytest.mark.parametrize(
    ("losses", "patience", "n_epochs", "best_epoch"),
    [
        ([3, 2, 1], 1, 3, 3),
        ([3, 4, 2], 1, 2, 1),
        ([3, 4, 2, 5, 6], 2, 5, 3),
        ([3, 4, 5, 2, 6, 7, 8, 1], 3, 7, 4),
        ([3, 3, 3, 3], 2, 3, 1),  # an equal loss is no improvement
        ([3, 3 - 1e-9, 3 - 2e-9, 3 - 3e-9], 1, 4, 4),  # the smallest one is
        ([1, 2, 3, 4, 0.5], None, 5, 5),
        ([1, 2, 3, 4], None, 4, 1),
        ([None, None, None], 1, 3, None),  # without validation
    ],
)
def test_early_stopping(losses, patience, n_epochs, best_epoch):
    net, callback = run([{"valid_loss": v} if v else {} for v in losses], patience)

    assert len(net.history) == n_epochs
    assert callback.best_.epoch == best_epoch
    if best_epoch is None:
        assert callback.best_.weights is None
    else:
        assert callback.best_.weights["weight"].item() == best_epoch
    callback.on_train_end(net)
    assert callback.best_.weights is None  # released
    assert callback.best_.epoch == best_epoch
    callback.on_train_begin(net)
    assert callback.best_ == BestEpoch(None, None)


@pytest.mark.parametrize(
    ("accuracies", "best_epoch"),
    [
        ([0.8, 0.9, 0.88], 3),  # of 100 rows, the standard error of 0.9 is 0.03
        ([0.8, 0.9, 0.86], 2),
        ([0.9, 0.86, 0.88, 0.89, 0.85], 4),
        ([1.0, 0.98, 1.0, 0.99, 0.98], 4),  # at least one row
    ],
)
def test_best_is_the_last_epoch_within_one_standard_error(accuracies, best_epoch):
    rows = [{"valid_loss": 1.0, "valid_acc": each} for each in accuracies]
    _, callback = run(rows, None, load_best="accuracy")
    assert callback.best_.epoch == best_epoch
    assert callback.best_.weights["weight"].item() == best_epoch


def test_early_stopping_without_load_best_keeps_no_weights():
    net, callback = run([{"valid_loss": v} for v in (3, 1, 2, 4)], 2, load_best=None)
    assert len(net.history) == 4  # it stops all the same
    assert callback.best_ == BestEpoch(None, None)


# Early stopping inside a fit


@pytest.fixture(scope="module")
def X(X):
    """Images of half the size, for many epochs."""
    return X.reshape(-1, 28, 28)[:, ::2, ::2].copy()


@pytest.fixture(scope="module")
def parts(X, y):
    """Arguments of fits with 100 rows of their own to validate on."""
    return {"X": X[:140], "y": y[:140], "X_val": X[140:], "y_val": y[140:]}


OVERFITS = {
    "lr": 0.02,
    "lr_schedule": None,
    "augment": None,
    "batch_size": 25,
    "max_epochs": 30,
    "patience": 4,
    "dropout": 0,
    "random_state": 0,
}


def kept_loss(net, parts):
    return log_loss(parts["y_val"], net.predict_proba(parts["X_val"]))


def replay(losses, patience):
    """Return the epoch to stop after and the best epoch, computed from losses alone."""
    for n_epochs in range(1, len(losses) + 1):
        best = int(np.argmin(losses[:n_epochs])) + 1
        if n_epochs - best >= patience:
            break
    return n_epochs, best


def test_early_stopping_in_a_fit(parts):
    """The validation loss falls, wavers and rises."""
    overfitted = LeNet5Classifier(**OVERFITS).fit(**parts)
    losses = overfitted.history_[:, "valid_loss"]
    n_epochs, best = replay(losses, patience=4)

    assert len(losses) == overfitted.n_iter_ == n_epochs < 30
    assert overfitted.best_epoch_ == best == n_epochs - 4
    assert overfitted.history_[:, "epoch"] == list(range(1, n_epochs + 1))
    assert overfitted.history_[best - 1, "valid_loss_best"]
    assert min(losses) < losses[-1]  # there was something to restore
    assert kept_loss(overfitted, parts) == pytest.approx(min(losses), rel=1e-5)


@pytest.mark.parametrize("ema_decay", [None, 0.9])
def test_load_best_false_keeps_the_last_weights(parts, ema_decay):
    net = LeNet5Classifier(**OVERFITS, load_best=False, ema_decay=ema_decay)
    losses = net.fit(**parts).history_[:, "valid_loss"]

    assert net.best_epoch_ == net.n_iter_ == len(losses) < 30
    assert min(losses) < losses[-1]
    assert kept_loss(net, parts) == pytest.approx(losses[-1], rel=1e-5)


@pytest.mark.parametrize("shuffle", [True, False])
def test_best_weights_on_the_part_split_off(X, y, shuffle):
    settings = OVERFITS | {"max_epochs": 12, "patience": None, "random_state": 3}
    net = LeNet5Classifier(**settings, validation_fraction=0.4, shuffle=shuffle)
    losses = net.fit(X, y).history_[:, "valid_loss"]
    _, valid = split_rows(y, 0.4, shuffle, Seeds(3).split)

    assert net.n_iter_ == 12
    assert net.best_epoch_ == np.argmin(losses) + 1
    restored = log_loss(y[valid], net.predict_proba(X[valid]))
    assert restored == pytest.approx(min(losses), rel=1e-5)
    accuracy = net.history_[net.best_epoch_ - 1, "valid_acc"]
    assert net.score(X[valid], y[valid]) == pytest.approx(accuracy)


# Ctrl-C


class PressCtrlC(Callback):
    """A person who presses Ctrl-C in a given epoch."""

    def __init__(self, epoch, training=True):
        self.epoch, self.training = epoch, training

    def on_batch_end(self, net, batch=None, training=False, **kwargs):
        if len(net.history) == self.epoch and training == self.training:
            raise KeyboardInterrupt


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("ema_decay", [None, 0.9])
def test_interrupted_fit_keeps_the_best_weights_so_far(
    parts, quick, training, ema_decay
):
    net = LeNet5Classifier(
        **quick | {"max_epochs": 9, "lr": 0.02, "ema_decay": ema_decay},
        callbacks=[PressCtrlC(4, training)],
    )
    with pytest.raises(KeyboardInterrupt):
        net.fit(**parts)

    losses = net.history_[:, "valid_loss"]
    assert net.n_iter_ == len(losses) == 3  # whole epochs
    assert net.best_epoch_ == np.argmin(losses) + 1
    assert kept_loss(net, parts) == pytest.approx(min(losses), rel=1e-5)


# Schedules


def rate_and_momentum(optimizer):
    group = optimizer.param_groups[0]
    return group["lr"], group.get("momentum", group.get("betas", [0])[0])


class Rates(Callback):
    """Learning rate and momentum at every training step."""

    def on_train_begin(self, net, X=None, y=None, **kwargs):
        self.rates = []

    def on_batch_begin(self, net, batch=None, training=False, **kwargs):
        if training:
            self.rates.append(rate_and_momentum(net.optimizer_))


def torch_s_rates(scheduler, optimizer=torch.optim.Adam, **kwargs):
    """What PyTorch's own scheduler gives in 12 steps, stepped by hand."""
    optimizer = optimizer([nn.Parameter(torch.zeros(1))], **{"lr": 0.01, **kwargs})
    scheduler = scheduler(optimizer)
    rates = [rate_and_momentum(optimizer)]
    for _ in range(11):
        optimizer.step()
        scheduler.step()
        rates.append(rate_and_momentum(optimizer))
    return rates


def fit_and_record(X, y, quick, **kwargs):
    recorder = Rates()
    settings = quick | {"max_epochs": 3, "validation_fraction": 0.25} | kwargs
    net = LeNet5Classifier(**settings, callbacks=[recorder]).fit(X[:160], y[:160])
    assert len(recorder.rates) == 3 * 4  # 120 rows in batches of 32, three times
    return net, recorder


def check_rates(recorder, expected):
    np.testing.assert_allclose(recorder.rates, expected, rtol=1e-9)


schedulers = torch.optim.lr_scheduler


def decay(optimizer, total_steps, gamma):
    assert total_steps == 12
    return schedulers.ExponentialLR(optimizer, gamma)


def one_cycle(max_lr=0.01, **kwargs):
    return partial(schedulers.OneCycleLR, max_lr=max_lr, total_steps=12, **kwargs)


cosine = partial(schedulers.CosineAnnealingLR, T_max=12)
halving = partial(schedulers.ExponentialLR, gamma=0.5)
polynomial = partial(schedulers.PolynomialLR, total_iters=12)
steps = partial(schedulers.StepLR, step_size=2)
PARAMS = {"pct_start": 0.6, "div_factor": 5}


@pytest.mark.parametrize(
    ("params", "optimizer_params", "expected"),
    [
        ({"optimizer": torch.optim.Adam}, {}, one_cycle()),
        ({"optimizer": torch.optim.SGD}, {"momentum": 0.9}, one_cycle()),
        ({"optimizer": torch.optim.RMSprop}, {"momentum": 0.9}, one_cycle()),
        ({"optimizer": torch.optim.Adagrad}, {}, one_cycle(cycle_momentum=False)),
        (
            {f"lr_schedule__{name}": value for name, value in PARAMS.items()},
            {"lr": 0.02},
            one_cycle(0.02, **PARAMS),
        ),
        ({"lr_schedule": "cosine"}, {}, cosine),
        ({"lr_schedule": decay, "lr_schedule__gamma": 0.5}, {}, halving),
        ({"lr_schedule": None}, {}, lambda opt: schedulers.ConstantLR(opt, 1.0)),
        # Other classes get the number of steps if they take one.
        ({"lr_schedule": schedulers.PolynomialLR}, {}, polynomial),
        ({"lr_schedule": schedulers.StepLR, "lr_schedule__step_size": 2}, {}, steps),
    ],
)
def test_lr_schedule_is_torch_s(X, y, quick, params, optimizer_params, expected):
    nested = {f"optimizer__{name}": value for name, value in optimizer_params.items()}
    params = {"lr_schedule": "one_cycle", **nested, **params}
    _, recorder = fit_and_record(X, y, quick, **params)
    optimizer = params.get("optimizer", torch.optim.Adam)
    check_rates(recorder, torch_s_rates(expected, optimizer, **optimizer_params))


def test_lr_schedule_starts_again_at_every_fit(X, y, quick):
    """With another ``lr`` in between, too; the scheduler does not outlive the fit."""
    net, recorder = fit_and_record(X, y, quick, lr_schedule="cosine", warm_start=True)
    net.set_params(lr=0.002).fit(X[:160], y[:160])
    check_rates(recorder, torch_s_rates(cosine, lr=0.002))
    assert dict(net.callbacks_)["lr_schedule"].scheduler_ is None


@pytest.mark.parametrize("patience", [None, 1])
def test_rest_of_a_schedule_is_run_faster_when_patience_runs_out(X, y, quick, patience):
    settings = {"max_epochs": 14, "lr_schedule": "cosine", "lr": 0.03, "dropout": 0}
    rates = Rates()
    net = LeNet5Classifier(**quick | settings, patience=patience, callbacks=[rates])
    net.fit(X, y)
    n_epochs, best = replay(net.history_[:, "valid_loss"], patience=1)

    assert best < n_epochs < 14  # there was a reason to stop
    rest = 14 - n_epochs
    assert net.n_iter_ == n_epochs + (rest if patience is None else -(-rest // 4))
    assert rates.rates[-1][0] < 0.01 * 0.03  # at the end of the schedule all the same


def test_lr_schedule_with_a_misspelt_parameter(X, y, quick):
    net = LeNet5Classifier(**quick, lr_schedule="one_cycle", lr_schedule__pct_strat=0.3)
    with pytest.raises((TypeError, ValueError), match="pct_strat"):
        net.fit(X, y)


# Weight averaging


class States(Callback):
    """The weights before the first step and after each."""

    def on_train_begin(self, net, X=None, y=None, **kwargs):
        self.states = [copy_state(net.module_)]

    def on_batch_end(self, net, batch=None, training=False, **kwargs):
        if training:
            self.states.append(copy_state(net.module_))


@pytest.mark.parametrize("decay", [0.0, 0.3, 0.99])
def test_weight_average_equals_its_formula(X, y, quick, decay):
    recorder = States()
    net = LeNet5Classifier(
        **quick | {"ema_decay": decay, "validation_fraction": 0}, callbacks=[recorder]
    ).fit(X[:100], y[:100])

    average, *states = recorder.states
    for step, state in enumerate(states, start=1):
        kept = min(decay, (1 + step) / (10 + step))
        for name, value in state.items():
            if value.is_floating_point():
                average[name] = kept * average[name] + (1 - kept) * value
            else:
                average[name] = value
    assert len(states) == 2 * 4
    for name, value in net.module_.state_dict().items():
        torch.testing.assert_close(value, average[name], rtol=1e-5, atol=1e-6)
    moved = states[-1]["head.f5.weight"] - net.module_.head.f5.weight
    assert bool(moved.detach().abs().max() > 1e-4) == (decay > 0)


def test_weight_average_does_not_disturb_the_training(X, y, plain):
    last = LeNet5Classifier(**plain).fit(X, y)
    averaged = LeNet5Classifier(**plain | {"ema_decay": 0.9}).fit(X, y)
    assert last.history_[:, "train_loss"] == averaged.history_[:, "train_loss"]
    assert last.history_[:, "valid_loss"] != averaged.history_[:, "valid_loss"]


def test_weight_average_is_in_place_only_while_applied():
    module = nn.Linear(1, 1, bias=False)
    nn.init.constant_(module.weight, 0)
    net, callback = SimpleNamespace(module_=module), WeightAverage(0.5)
    callback.on_train_begin(net)
    nn.init.constant_(module.weight, 11)
    callback.on_batch_end(net, training=False)
    assert callback.n_steps_ == 0
    callback.on_batch_end(net, training=True)  # keeps 2 / 11 of 0

    def fail_while_applied():
        with callback.applied():
            assert float(module.weight.detach()) == pytest.approx(9)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail_while_applied()
    assert float(module.weight.detach()) == 11
    callback.on_train_end(net)
    with callback.applied():
        assert float(module.weight.detach()) == 11


# Threads on a busy machine


@pytest.fixture
def unset(monkeypatch):
    for name in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    ("share", "n_threads", "variable", "iterator", "warns"),
    [
        *((0.5, 2, "ANY", None, True), (0.7, 2, "ANY", None, False)),
        (0.5, 8, "ANY", None, False),  # more threads than the load of the machine
        *((0.5, 1, "ANY", None, False), (0.5, 2, "ANY", DataLoader, False)),
        (0.5, 2, "GOMP_SPINCOUNT", None, False),
    ],
)
def test_fit_on_a_busy_machine_warns_once(
    X,
    y,
    quick,
    monkeypatch,
    unset,
    recwarn,
    share,
    n_threads,
    variable,
    iterator,
    warns,
):
    """Of a second an epoch, in which threads had a share of the processors' time."""
    monkeypatch.setenv(variable, "0")
    ended = []
    monkeypatch.setattr(time, "perf_counter", lambda: len(ended))
    monkeypatch.setattr(time, "process_time", lambda: len(ended) * share * n_threads)
    monkeypatch.setattr(torch, "get_num_threads", lambda: n_threads)
    monkeypatch.setattr(os, "getloadavg", lambda: (4.0, 4.0, 4.0), raising=False)

    class Clock(Callback):
        def on_epoch_end(self, net, **kwargs):
            ended.append(net)

    settings = quick | {"max_epochs": 5, "device": "cpu", "iterator_train": iterator}
    LeNet5Classifier(**settings, callbacks=[Clock()]).fit(X[:60], y[:60])
    busy = [each for each in recwarn if "GOMP_SPINCOUNT=1000" in str(each.message)]
    assert [each.filename for each in busy] == [__file__] * warns
