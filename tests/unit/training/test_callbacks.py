"""Early stopping, schedules and weight averaging, alone and inside a fit."""

from types import SimpleNamespace

import numpy as np
import pytest
import skorch.callbacks
import torch
from sklearn.exceptions import NotFittedError
from sklearn.metrics import log_loss
from skorch.callbacks import Callback
from torch import nn

from fmnist_sklearn import LeNet5Classifier
from fmnist_sklearn.training.callbacks import (
    BestEpoch,
    EarlyStopping,
    WeightAverage,
    copy_state,
)
from fmnist_sklearn.training.preparation import Seeds, split_rows

# Early stopping, fed with losses by hand


class FakeNet:
    """A net whose one weight is the number of the epoch."""

    def __init__(self):
        self.module_ = nn.Linear(1, 1)
        self.history = []
        self.stopped = False

    def stop_training(self):
        self.stopped = True


def run(losses, patience, **kwargs):
    """Feed the callback until it stops; return net and callback."""
    net, callback = FakeNet(), EarlyStopping(patience, **kwargs)
    callback.on_train_begin(net)
    for epoch, loss in enumerate(losses, start=1):
        nn.init.constant_(net.module_.weight, epoch)
        net.history.append({"epoch": epoch} | ({"valid_loss": loss} if loss else {}))
        callback.on_epoch_end(net)
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
    net, callback = run(losses, patience)

    assert len(net.history) == n_epochs
    assert callback.best_.epoch == best_epoch
    if best_epoch is None:
        assert callback.best_.weights is None
    else:
        assert callback.best_.loss == losses[best_epoch - 1]
        assert callback.best_.weights["weight"].item() == best_epoch
    callback.on_train_end(net)
    assert callback.best_.weights is None  # released
    assert callback.best_.epoch == best_epoch
    callback.on_train_begin(net)
    assert callback.best_ == BestEpoch(float("inf"), None, None)


def test_early_stopping_without_load_best_keeps_no_weights():
    net, callback = run([3, 1, 2, 4], 2, load_best=False)
    assert len(net.history) == 4  # it stops all the same
    assert callback.best_ == BestEpoch(1, 2, None)


def test_copies_do_not_follow_the_module():
    module = nn.BatchNorm1d(2)
    state = copy_state(module)
    nn.init.constant_(module.weight, 5)
    module.running_mean.fill_(7)
    assert state["weight"].tolist() == [1, 1]
    assert state["running_mean"].tolist() == [0, 0]


# Early stopping inside a fit


@pytest.fixture(scope="module")
def overfitted(X, y):
    """A fit whose validation loss falls, wavers and rises, on 100 rows of its own."""
    net = LeNet5Classifier(
        lr=0.02,
        batch_size=25,
        max_epochs=30,
        patience=4,
        dropout=0,
        random_state=0,
    )
    return net.fit(X[:140], y[:140], X_val=X[140:], y_val=y[140:])


def replay(losses, patience):
    """Return the epoch to stop after and the best epoch, told from losses alone."""
    for n_epochs in range(1, len(losses) + 1):
        best = int(np.argmin(losses[:n_epochs])) + 1
        if n_epochs - best >= patience:
            break
    return n_epochs, best


def test_restored_weights_are_those_of_the_lowest_loss(overfitted, X, y):
    losses = overfitted.history_[:, "valid_loss"]
    restored = log_loss(y[140:], overfitted.predict_proba(X[140:]))

    assert min(losses) < losses[-1]  # there was something to restore
    assert restored == pytest.approx(min(losses), rel=1e-5)


@pytest.mark.parametrize("ema_decay", [None, 0.9])
def test_the_last_weights_are_kept_where_asked_for(overfitted, X, y, ema_decay):
    params = overfitted.get_params() | {"load_best": False, "ema_decay": ema_decay}
    net = LeNet5Classifier(**params)
    net.fit(X[:140], y[:140], X_val=X[140:], y_val=y[140:])
    losses = net.history_[:, "valid_loss"]
    kept = log_loss(y[140:], net.predict_proba(X[140:]))

    assert net.best_epoch_ == net.n_iter_ == len(losses) < 30
    assert min(losses) < losses[-1]
    assert kept == pytest.approx(losses[-1], rel=1e-5)


def test_patience_and_the_fitted_attributes_tell_the_truth(overfitted):
    losses = overfitted.history_[:, "valid_loss"]
    n_epochs, best = replay(losses, patience=4)

    assert len(losses) == overfitted.n_iter_ == n_epochs < 30
    assert overfitted.best_epoch_ == best == n_epochs - 4
    assert overfitted.history_[:, "epoch"] == list(range(1, n_epochs + 1))
    assert overfitted.history_[best - 1, "valid_loss_best"]


@pytest.mark.parametrize("shuffle", [True, False])
def test_restored_weights_on_the_part_split_off(X, y, shuffle):
    net = LeNet5Classifier(
        lr=0.02,
        batch_size=25,
        max_epochs=12,
        patience=None,
        validation_fraction=0.4,
        shuffle=shuffle,
        random_state=3,
    ).fit(X, y)
    _, valid = split_rows(y, 0.4, shuffle, Seeds(3).split)
    losses = net.history_[:, "valid_loss"]

    assert net.n_iter_ == 12
    assert net.best_epoch_ == np.argmin(losses) + 1
    restored = log_loss(y[valid], net.predict_proba(X[valid]))
    assert restored == pytest.approx(min(losses), rel=1e-5)
    accuracy = net.history_[net.best_epoch_ - 1, "valid_acc"]
    assert net.score(X[valid], y[valid]) == pytest.approx(accuracy)


def test_skorch_s_own_early_stopping_stops(X, y, quick):
    stop = skorch.callbacks.EarlyStopping(
        "train_loss", patience=2, threshold=100, threshold_mode="abs", sink=str
    )
    net = LeNet5Classifier(**quick | {"max_epochs": 30, "callbacks": [stop]})
    net.fit(X, y)
    assert net.n_iter_ == 3  # nothing falls by 100
    assert net.score(X, y) > 0


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
    X, y, quick, training, ema_decay
):
    net = LeNet5Classifier(
        **quick | {"max_epochs": 9, "lr": 0.02, "ema_decay": ema_decay},
        callbacks=[PressCtrlC(4, training)],
    )
    with pytest.raises(KeyboardInterrupt):
        net.fit(X[:140], y[:140], X_val=X[140:], y_val=y[140:])

    losses = [row["valid_loss"] for row in net.history_ if "valid_loss" in row]
    assert len(losses) == 3
    assert net.best_epoch_ == np.argmin(losses) + 1
    kept = log_loss(y[140:], net.predict_proba(X[140:]))
    assert kept == pytest.approx(min(losses), rel=1e-5)


def test_interrupted_fit_counts_whole_epochs(X, y, quick):
    net = LeNet5Classifier(**quick | {"max_epochs": 9}, callbacks=[PressCtrlC(4)])
    with pytest.raises(KeyboardInterrupt):
        net.fit(X, y)

    assert net.n_iter_ == 3
    assert len(net.history_[:, "valid_loss"]) == 3


def test_fit_interrupted_in_its_first_epoch(X, y, quick):
    net = LeNet5Classifier(**quick, callbacks=[PressCtrlC(1)])
    with pytest.raises(KeyboardInterrupt):
        net.fit(X, y)
    with pytest.raises(NotFittedError):
        net.predict_proba(X)
    net.set_params(callbacks=None).fit(X, y)  # and it can be fitted again
    assert net.n_iter_ == 2


# Schedules


class Rates(Callback):
    """Learning rate and momentum at every training step."""

    def on_train_begin(self, net, X=None, y=None, **kwargs):
        self.rates, self.momenta = [], []

    def on_batch_begin(self, net, batch=None, training=False, **kwargs):
        if training:
            group = net.optimizer_.param_groups[0]
            self.rates.append(group["lr"])
            self.momenta.append(group.get("momentum", group.get("betas", [0])[0]))


def torch_s_rates(n_steps, scheduler, optimizer=torch.optim.Adam, **kwargs):
    """What PyTorch's own scheduler gives, stepped by hand."""
    optimizer = optimizer([nn.Parameter(torch.zeros(1))], **kwargs)
    scheduler = scheduler(optimizer)
    rates, momenta = [], []
    for _ in range(n_steps):
        group = optimizer.param_groups[0]
        rates.append(group["lr"])
        momenta.append(group.get("momentum", group.get("betas", [0])[0]))
        optimizer.step()
        scheduler.step() if len(rates) < n_steps else None
    return rates, momenta


def fit_and_record(X, y, quick, **kwargs):
    recorder = Rates()
    settings = quick | {"max_epochs": 3, "validation_fraction": 0.25} | kwargs
    net = LeNet5Classifier(**settings, callbacks=[recorder]).fit(X[:160], y[:160])
    assert len(recorder.rates) == 3 * 4  # 120 rows in batches of 32, three times
    return net, recorder


@pytest.mark.parametrize(
    "optimizer", [torch.optim.Adam, torch.optim.SGD, torch.optim.RMSprop]
)
def test_one_cycle(X, y, quick, optimizer):
    kwargs = {} if optimizer is torch.optim.Adam else {"momentum": 0.9}
    nested = {f"optimizer__{name}": value for name, value in kwargs.items()}
    _, recorder = fit_and_record(
        X, y, quick, lr_schedule="one_cycle", optimizer=optimizer, **nested
    )
    rates, momenta = torch_s_rates(
        12,
        lambda opt: torch.optim.lr_scheduler.OneCycleLR(opt, 0.01, total_steps=12),
        optimizer,
        lr=0.01,
        **kwargs,
    )
    assert recorder.rates == pytest.approx(rates, rel=1e-9)
    assert recorder.momenta == pytest.approx(momenta, rel=1e-9)


def test_one_cycle_with_an_optimizer_without_momentum(X, y, quick):
    _, recorder = fit_and_record(
        X, y, quick, lr_schedule="one_cycle", optimizer=torch.optim.Adagrad
    )
    rates, _ = torch_s_rates(
        12,
        lambda opt: torch.optim.lr_scheduler.OneCycleLR(
            opt, 0.01, total_steps=12, cycle_momentum=False
        ),
        torch.optim.Adagrad,
        lr=0.01,
    )
    assert recorder.rates == pytest.approx(rates, rel=1e-9)


def test_schedule_with_parameters_of_its_own(X, y, quick):
    _, recorder = fit_and_record(
        X,
        y,
        quick,
        lr_schedule="one_cycle",
        lr_schedule__pct_start=0.6,
        lr_schedule__div_factor=5,
        optimizer__lr=0.02,
    )
    rates, _ = torch_s_rates(
        12,
        lambda opt: torch.optim.lr_scheduler.OneCycleLR(
            opt, 0.02, total_steps=12, pct_start=0.6, div_factor=5
        ),
        lr=0.02,
    )
    assert recorder.rates == pytest.approx(rates, rel=1e-9)
    assert recorder.rates[0] == pytest.approx(0.02 / 5)


def cosine(optimizer):
    return torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 12)


def test_cosine(X, y, quick):
    _, recorder = fit_and_record(X, y, quick, lr_schedule="cosine")
    rates, _ = torch_s_rates(12, cosine, lr=0.01)
    assert recorder.rates == pytest.approx(rates, rel=1e-9)


def test_schedule_of_one_s_own(X, y, quick):
    seen = []

    def policy(optimizer, total_steps, gamma):
        seen.append(total_steps)
        return torch.optim.lr_scheduler.ExponentialLR(optimizer, gamma)

    _, recorder = fit_and_record(
        X, y, quick, lr_schedule=policy, lr_schedule__gamma=0.5
    )
    assert seen == [12]
    assert recorder.rates == pytest.approx([0.01 * 0.5**k for k in range(12)])


def test_constant_rate_without_a_schedule(X, y, quick):
    _, recorder = fit_and_record(X, y, quick)
    assert set(recorder.rates) == {0.01}


def test_schedule_starts_anew_at_every_fit(X, y, quick):
    """With another ``lr`` in between, too."""
    net, recorder = fit_and_record(X, y, quick, lr_schedule="cosine", warm_start=True)
    net.set_params(lr=0.002).fit(X[:160], y[:160])
    rates, _ = torch_s_rates(12, cosine, lr=0.002)
    assert recorder.rates == pytest.approx(rates, rel=1e-9)


@pytest.mark.parametrize("patience", ["auto", 1])
def test_patience_acts_on_a_schedule_only_by_hand(X, y, quick, patience):
    settings = {"max_epochs": 14, "lr_schedule": "cosine", "lr": 0.03, "dropout": 0}
    net = LeNet5Classifier(**quick | settings, patience=patience).fit(X, y)
    n_epochs, best = replay(net.history_[:, "valid_loss"], patience=1)

    assert best < n_epochs < 14  # there was a reason to stop
    assert net.n_iter_ == (14 if patience == "auto" else n_epochs)


def test_scheduler_is_let_go(X, y, quick):
    net, _ = fit_and_record(X, y, quick, lr_schedule="cosine")
    assert dict(net.callbacks_)["lr_schedule"].scheduler_ is None


def test_misspelt_parameter_of_a_schedule(X, y, quick):
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


def test_averaged_weights_are_validated_kept_and_restored(X, y, quick):
    settings = quick | {"max_epochs": 6, "lr": 0.02, "ema_decay": 0.8}
    net = LeNet5Classifier(**settings)
    net.fit(X[:140], y[:140], X_val=X[140:], y_val=y[140:])
    losses = net.history_[:, "valid_loss"]
    assert log_loss(y[140:], net.predict_proba(X[140:])) == pytest.approx(
        min(losses), rel=1e-5
    )


def test_averaging_does_not_disturb_the_training(X, y, plain):
    last = LeNet5Classifier(**plain).fit(X, y)
    averaged = LeNet5Classifier(**plain | {"ema_decay": 0.9}).fit(X, y)
    assert last.history_[:, "train_loss"] == averaged.history_[:, "train_loss"]
    assert last.history_[:, "valid_loss"] != averaged.history_[:, "valid_loss"]


def test_average_is_in_place_only_while_applied():
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
    callback.forget()
    with callback.applied():
        assert float(module.weight.detach()) == 11
