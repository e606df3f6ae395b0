"""What skorch's own tests require of a classifier, and the parts of its interface.

The cases are those of skorch 1.4's ``test_classifier.py`` (``NeuralNetClassifier``)
and, as far as they apply to a fixed module and criterion, of ``test_net.py``. Where
ours differ on purpose, the test states what they do instead; docs/skorch.rst says why.

Cases without a counterpart are of what that page lists as fixed or removed: other
criteria, modules and outputs, several of them, the threshold of two classes, datasets
and dicts as ``X``, and rows of batches in the history.
"""

import copy
import io
import math
import os
import pickle
import re
import sys

import numpy as np
import pytest
import skorch.callbacks
import torch
import torch.nn.functional as F
from sklearn.base import clone
from sklearn.metrics import accuracy_score, log_loss
from skorch import NeuralNetClassifier
from skorch.callbacks import Callback, Checkpoint, EpochScoring, EpochTimer, PrintLog
from skorch.dataset import Dataset, ValidSplit
from skorch.exceptions import NotInitializedError, SkorchTrainingImpossibleError
from skorch.helper import predefined_split
from skorch.utils import FirstStepAccumulator
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from fmnist_sklearn import LeNet5Classifier, MiniVGGClassifier
from fmnist_sklearn.training.batches import ImageDataset

from . import NAMES


@pytest.fixture
def net(lenet5):
    """A fitted net that a test may change."""
    return copy.deepcopy(lenet5)


def images(X):
    return torch.from_numpy(X.reshape(-1, 1, 28, 28).copy())


def equal_states(first, second):
    first, second = first.state_dict(), second.state_dict()
    return all(torch.equal(first[name], second[name]) for name in second)


# Callbacks and history


class Recorder(Callback):
    """Every hook, in order."""

    def __init__(self):
        self.calls = []

    def initialize(self):
        self.calls = []
        return self

    def on_train_begin(self, net, X=None, y=None, **kwargs):
        self.calls.append("train_begin")

    def on_train_end(self, net, X=None, y=None, **kwargs):
        self.calls.append("train_end")

    def on_epoch_begin(self, net, dataset_train=None, dataset_valid=None, **kwargs):
        self.calls.append("epoch_begin")
        self.n_rows = len(dataset_train), len(dataset_valid)

    def on_epoch_end(self, net, dataset_train=None, dataset_valid=None, **kwargs):
        self.calls.append("epoch_end")
        self.row = dict(net.history[-1])

    def on_batch_begin(self, net, batch=None, training=False, **kwargs):
        self.calls.append("train" if training else "valid")
        images, targets = batch
        assert len(images) == len(targets)

    def on_batch_end(
        self, net, batch=None, training=False, loss=None, y_pred=None, **kwargs
    ):
        self.calls.append("-train" if training else "-valid")
        assert torch.isfinite(loss)
        assert loss.requires_grad == training
        assert y_pred.shape == (len(batch[1]), 10)

    def on_grad_computed(self, net, named_parameters, X=None, y=None, **kwargs):
        self.calls.append("grad")
        names, parameters = zip(*named_parameters, strict=True)
        assert list(names) == [name for name, _ in net.module_.named_parameters()]
        assert all(p.grad is not None for p in parameters)


def test_callback_hooks_are_called_in_skorch_s_order(X, y, quick):
    class Net(LeNet5Classifier):
        def on_epoch_end(self, net, **kwargs):
            self.epochs_seen_ = [*getattr(self, "epochs_seen_", []), len(net.history)]

    recorder = Recorder()
    net = Net(**quick, callbacks=[recorder]).fit(X[:80], y[:80])

    step = ["train", "grad", "-train"]
    epoch = ["epoch_begin", *step, *step, "valid", "-valid", "epoch_end"]
    assert recorder.calls == ["train_begin", *epoch, *epoch, "train_end"]
    assert recorder.n_rows == (64, 16)
    assert {"train_loss", "valid_loss", "valid_acc", "dur"} <= recorder.row.keys()
    assert net.epochs_seen_ == [1, 2]  # a net's own hooks are called too


def test_history_has_a_row_for_each_epoch(lenet5):
    history = lenet5.history
    assert history is lenet5.history_
    assert len(history) == 2
    assert history[:, "epoch"] == [1, 2]
    for name in ("train_loss", "valid_loss", "valid_acc", "dur"):
        assert all(type(value) is float for value in history[:, name])
    assert history[:, "train_batch_count"] == [6, 6]
    assert history[:, "valid_batch_count"] == [1, 1]
    assert [row["batches"] for row in history] == [[{}], [{}]]
    with pytest.raises(KeyError):
        history[:, "batches", :, "train_loss"]


def test_history_marks_the_best_epochs(X, y, quick):
    net = LeNet5Classifier(**quick | {"max_epochs": 8, "lr": 0.03}, dropout=0)
    net.fit(X, y)
    for name, best in (("train_loss", min), ("valid_loss", min), ("valid_acc", max)):
        values = net.history_[:, name]
        marks = [
            value == best(values[: k + 1]) and value not in values[:k]
            for k, value in enumerate(values)
        ]
        assert net.history_[:, f"{name}_best"] == marks


def share_correct(net, dataset, targets):
    """Return the accuracy, for EpochScoring."""
    return accuracy_score(targets, net.predict(dataset))


@pytest.mark.parametrize("labels", [NAMES, np.arange(10) - 5], ids=["words", "numbers"])
def test_epoch_scoring(X, y, quick, labels):
    """On the validation and on the training part, by names and by a function."""
    scorings = ["accuracy", "f1_macro", "neg_log_loss", None, share_correct]
    callbacks = [
        EpochScoring(
            scoring,
            lower_is_better=False,
            on_train=part == "train",
            name=f"{part} {number}",
        )
        for number, scoring in enumerate(scorings)
        for part in ("train", "valid")
    ]
    net = LeNet5Classifier(**quick | {"max_epochs": 6}, callbacks=callbacks)
    history = net.fit(X, labels[y]).history_
    for callback in callbacks:
        assert np.isfinite(history[:, callback.name_]).all()
    for number in (0, 3, 4):
        assert history[-1, f"train {number}"] > 0.5
        assert history[:, f"valid {number}"] == pytest.approx(history[:, "valid_acc"])
    losses = np.negative(history[:, "valid_loss"])
    assert history[:, "valid 2"] == pytest.approx(losses, 1e-5)


def test_callback_parameters_by_name(X, y, quick):
    params = {"patience": 1, "threshold": 100, "threshold_mode": "abs", "sink": str}
    net = LeNet5Classifier(
        **quick | {"max_epochs": 5},
        callbacks=[("stop", skorch.callbacks.EarlyStopping("train_loss", patience=9))],
        **{f"callbacks__stop__{name}": value for name, value in params.items()},
    ).fit(X, y)
    assert net.n_iter_ == 2  # nothing falls by 100
    assert net.score(X, y) > 0


class Named(Callback):
    def __init__(self, log=None):
        self.log = log

    def on_epoch_end(self, net, **kwargs):
        if self.log is not None:
            self.log.append(self)


def test_callbacks_keep_their_order_and_names(quick):
    Last, First, Named_1 = (
        type(name, (Named,), {}) for name in ("Last", "First", "Named_1")
    )
    one, two = Named(), Named()
    callbacks = [Last(), First(), one, two, EpochTimer]
    net = LeNet5Classifier(**quick, callbacks=callbacks).initialize()
    names = [name for name, _ in net.callbacks_]
    assert names[0] == "epoch_timer"
    last = ["Last", "First", "Named_1", "Named_2", "EpochTimer", "print_log"]
    assert names[-6:] == last
    callbacks = dict(net.callbacks_)
    assert (callbacks["Named_1"], callbacks["Named_2"]) == (one, two)
    assert isinstance(clone(net).initialize().callbacks_[-2][1], EpochTimer)

    for callbacks, match in (
        ([("print_log", one)], "duplicate user-set callback name 'print_log'"),
        ([("mine", one), ("mine", two)], "duplicate user-set callback name 'mine'"),
        ([one, two, Named_1()], "new name 'Named_1' exists already"),
    ):
        with pytest.raises(ValueError, match=match):
            LeNet5Classifier(**quick, callbacks=callbacks).initialize()


def test_callbacks_are_replaced_and_removed(X, y, quick):
    X, y, log = X[:60], y[:60], []
    one, two = Named(log), Named(log)
    net = LeNet5Classifier(**quick, callbacks=[("one", one), ("two", two)])
    net.fit(X, y)
    assert log == [one, two] * 2

    log.clear()
    net.set_params(callbacks__one=None, callbacks__epoch_timer=None).fit(X, y)
    assert log == [two] * 2
    assert "dur" not in net.history_[0]

    net.set_params(callbacks__print_log=EpochTimer()).initialize()
    assert isinstance(dict(net.callbacks_)["print_log"], EpochTimer)

    net.set_params(callbacks__print_log=None, callbacks__print_log__sink=print)
    with pytest.raises(ValueError, match="parameter for callback print_log which does"):
        net.initialize()


def test_callbacks_disabled_and_of_gradients(X, y, quick):
    settings = quick | {"optimizer": torch.optim.SGD, "max_epochs": 1}
    net = LeNet5Classifier(**settings, callbacks="disable").fit(X[:80], y[:80])
    assert net.n_iter_ == net.best_epoch_ == 1
    assert net.callbacks_ == []

    clip = skorch.callbacks.GradientNormClipping(gradient_clip_value=1e-9)
    weight = net.initialize().module_.head.f5.weight
    net.set_params(callbacks=[clip]).fit(X, y)
    clipped = net.module_.head.f5.weight
    torch.testing.assert_close(clipped, weight, atol=1e-8, rtol=0)


def test_verbose_prints_a_line_an_epoch(X, y, quick, capsys, caplog):
    X, y, sunk = X[:60], y[:60], []
    net = LeNet5Classifier(**quick).initialize()
    with caplog.at_level("INFO", "fmnist_sklearn"):
        net.fit(X, y)
    assert capsys.readouterr().out == ""
    net.set_params(verbose=1).fit(X, y)
    printed = capsys.readouterr().out.splitlines()
    net.set_params(callbacks__print_log__sink=sunk.append).fit(X, y)
    assert isinstance(dict(net.callbacks_)["print_log"], PrintLog)
    assert capsys.readouterr().out == ""
    loss, left = r"\d\.\d{4}", r"\d:\d\d left"
    values = rf"train_loss {loss}, valid_loss {loss}, valid_acc [\d.]+, {left}"
    for first, second in (printed, sunk, caplog.messages):
        assert re.fullmatch(f"epoch 1 of 2: {values}", first)
        assert re.fullmatch(f"epoch 2 of 2: {values}", second)

    # Of all epochs, where a fit continues; a value of a user's callback too.
    score = EpochScoring("accuracy", name="mine", lower_is_better=False)
    net.set_params(warm_start=True, callbacks=[score]).fit(X, y)
    assert sunk[-1].startswith("epoch 4 of 4: ")
    assert ", mine " in sunk[-1]


@pytest.mark.parametrize("verbose", [0, 1])
def test_fit_goes_on_without_a_stdout(X, y, quick, monkeypatch, verbose):
    closed = io.StringIO()
    closed.close()
    with open(os.devnull) as unwritable:
        for stream in (None, closed, unwritable):
            monkeypatch.setattr(sys, "stdout", stream)
            net = LeNet5Classifier(**quick, verbose=verbose).fit(X[:60], y[:60])
            assert net.n_iter_ == 2


# Parameters


def test_parameters_reach_their_parts(X, y, quick):
    net = LeNet5Classifier(
        **quick,
        module__hidden_units=(30,),
        module__dropout=0.1,
        dropout=0.9,
        optimizer=torch.optim.SGD,
        optimizer__momentum=0.8,
        lr_schedule=None,
        criterion__label_smoothing=0.2,  # wins over label_smoothing
        iterator_train__drop_last=True,
    ).fit(X[:100], y[:100])
    assert net.module_.head.f5.out_features == 30
    assert net.module_.head.dropout5.p == 0.1
    group = net.optimizer_.param_groups[0]
    assert (group["momentum"], group["lr"]) == (0.8, 0.01)
    assert net.criterion_.label_smoothing == 0.2
    assert net.history_[0, "train_batch_count"] == 80 // 32

    small = {"module__widths": (4, "M"), "module__hidden_units": 8, "dropout": 0.3}
    net = MiniVGGClassifier(**small).initialize()
    assert net.n_parameters_ == 4 * 10 + (4 * 16 * 16 * 8 + 8) + (8 * 10 + 10)
    assert net.module_.head.dropout.p == 0.3


def test_optimizer_may_be_any_callable(X, y, quick):
    def optimizer(parameters, lr, **kwargs):
        return torch.optim.SGD(parameters, lr=lr, **kwargs)

    settings = quick | {"max_epochs": 1, "optimizer__lr": 0.5, "lr_schedule": None}
    for kind in (optimizer, torch.optim.RMSprop, torch.optim.NAdam):
        net = LeNet5Classifier(**settings | {"optimizer": kind}).fit(X[:60], y[:60])
        assert isinstance(net.optimizer_, torch.optim.Optimizer)
        # The more specific parameter is used.
        assert net.optimizer_.param_groups[0]["lr"] == 0.5


def test_optimizer_param_groups_keep_their_lr(X, y, quick):
    groups = [("head.*", {"lr": 0.5})]
    net = LeNet5Classifier(**quick, weight_decay=0, optimizer__param_groups=groups)
    net.partial_fit(X, y, classes=range(10)).set_params(lr=0.25).partial_fit(X, y)
    assert [group["lr"] for group in net.optimizer_.param_groups] == [0.5, 0.25]


@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_fit_takes_no_other_arguments(X, y, method):
    with pytest.raises(TypeError, match="unexpected keyword argument 'foo'"):
        getattr(LeNet5Classifier(), method)(X, y, foo=1)


# Iterators, datasets and splits


@pytest.mark.parametrize("weighted", [True, False])
def test_data_loader_trains_as_our_own_batches(X, y, quick, weighted):
    """In row order, where the batches must be the same."""
    X, y = X[:100], y[:100]
    weights = np.random.rand(100) if weighted else None
    settings = quick | {"iterator_train__shuffle": False, "augment": None}
    ours = LeNet5Classifier(**settings).fit(X, y, weights)
    theirs = LeNet5Classifier(
        **settings, iterator_train=DataLoader, iterator_valid=DataLoader
    ).fit(X, y, weights)

    assert theirs.history_[:, "train_loss"] == ours.history_[:, "train_loss"]
    assert theirs.history_[:, "valid_loss"] == ours.history_[:, "valid_loss"]
    assert np.array_equal(theirs.predict_proba(X), ours.predict_proba(X))


def test_data_loader_shuffles_by_random_state(X, y, quick):
    settings = quick | {"iterator_train": DataLoader, "max_epochs": 1}
    settings["augment"] = {"shift": 1}
    first = LeNet5Classifier(**settings).fit(X, y)
    state = torch.get_rng_state()
    again = LeNet5Classifier(**settings).fit(X, y)
    in_order = LeNet5Classifier(**settings, iterator_train__shuffle=False).fit(X, y)

    assert equal_states(first.module_, again.module_)
    assert not equal_states(first.module_, in_order.module_)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize(
    ("settings", "n_batches"),
    [
        ({"batch_size": 1}, (32, 1)),
        ({"batch_size": -1}, (1, 1)),
        ({"iterator_valid__batch_size": 5}, (1, 2)),
        ({"iterator_train__batch_size": 5}, (7, 1)),
        ({"iterator_train__batch_size": 5, "iterator_train": DataLoader}, (7, 1)),
        ({"batch_size": 5, "iterator_train__drop_last": True}, (6, 1)),
    ],
)
def test_batch_size_of_the_iterators(X, y, quick, settings, n_batches):
    net = LeNet5Classifier(**quick | {"max_epochs": 1} | settings).fit(X[:40], y[:40])
    row = net.history_[0]
    assert (row["train_batch_count"], row["valid_batch_count"]) == n_batches


@pytest.mark.parametrize("iterator", [None, DataLoader])
def test_batch_size_auto_follows_the_rows_trained_on(X, y, quick, iterator):
    settings = quick | {"batch_size": "auto", "max_epochs": 1}
    net = LeNet5Classifier(**settings, iterator_train=iterator).fit(X, y)
    assert net.history_[-1, "train_batch_count"] == 12  # 192 rows in batches of 16
    net.partial_fit(X, y)
    assert net.history_[-1, "train_batch_count"] == 15


def test_iterator_valid_changes_no_prediction(net, X, recwarn):
    """Shuffling is a warning of skorch, and then predictions in another order."""
    expected = net.predict_proba(X)
    net.set_params(iterator_valid__batch_size=7)
    np.testing.assert_allclose(net.predict_proba(X), expected, atol=1e-6)
    net.set_params(iterator_valid__shuffle=False)
    np.testing.assert_allclose(net.predict_proba(X), expected, atol=1e-6)
    assert not recwarn.list
    net.set_params(iterator_valid__shuffle=True)
    for params in ({}, {"iterator_valid": DataLoader}):
        with pytest.raises(ValueError, match="iterator_valid__shuffle=True would"):
            net.set_params(**params).predict(X)


@pytest.fixture(scope="module")
def named(X, y):
    """A net fitted on labels that are words."""
    return LeNet5Classifier(max_epochs=1, random_state=0).fit(X, NAMES[y])


@pytest.mark.parametrize("dataset", [Dataset, TensorDataset, ImageDataset])
def test_dataset_predicts_but_does_not_train(named, X, y, quick, dataset):
    """``predict`` returns indices, which skorch's scoring compares with the targets."""
    data = dataset(images(X), torch.from_numpy(y.copy()))
    assert np.array_equal(named.predict_proba(data), named.predict_proba(X))
    assert np.array_equal(named.classes_[named.predict(data)], named.predict(X))
    with pytest.raises(TypeError, match=f"array of images, got a {dataset.__name__}"):
        LeNet5Classifier(**quick).fit(data, y)


class Items(torch.utils.data.Dataset):
    def __init__(self, *items):
        self.items = items

    def __len__(self):
        return 30

    def __getitem__(self, index):
        return self.items if len(self.items) > 1 else self.items[0]


@pytest.mark.parametrize(
    "items", [(0.0,), (torch.zeros(1, 28, 28),), (torch.zeros(1, 28, 28), 0, 1.0, 0)]
)
def test_dataset_must_hold_images_and_targets(net, items):
    with pytest.raises(ValueError, match="must give an image, its target"):
        net.predict(Items(*items))


def test_train_split_may_be_skorch_s(X, y, quick):
    split, recorder = ValidSplit(4), Recorder()
    weights = np.random.rand(len(X)) + 0.1
    settings = quick | {"max_epochs": 1, "callbacks": [recorder]}
    net = LeNet5Classifier(**settings, train_split=split).fit(X, y, weights)
    assert recorder.n_rows == (180, 60)
    _, valid = split(ImageDataset(torch.zeros(len(X)), torch.zeros(len(X))), y)
    rows = np.asarray(valid.indices)
    expected = log_loss(
        y[rows], net.predict_proba(X[rows]), sample_weight=weights[rows]
    )
    assert net.history_[0, "valid_loss"] == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("dtype", [np.int64, np.uint8])
def test_train_split_may_be_predefined(X, y, quick, dtype):
    images = X[180:].reshape(-1, 1, 28, 28).copy()
    valid = Dataset(images, y[180:].astype(dtype))
    net = LeNet5Classifier(**quick, train_split=predefined_split(valid))
    net.fit(X[:180], y[:180])
    loss = log_loss(y[180:], net.predict_proba(X[180:]))
    assert min(net.history_[:, "valid_loss"]) == pytest.approx(loss, rel=1e-5)
    assert net.history_[0, "train_batch_count"] == math.ceil(180 / 32)


# Loss


def test_training_loss_is_the_weighted_mean(X, y, plain):
    """One step over all rows, computed by hand."""
    X, y = X[:60], y[:60]
    weights = np.random.rand(60).astype(np.float32) + 0.1
    settings = plain | {"batch_size": 60, "max_epochs": 1, "validation_fraction": 0}
    settings |= {"dropout": 0, "optimizer": torch.optim.SGD}
    net = LeNet5Classifier(**settings).fit(X, y, sample_weight=weights)

    fresh = LeNet5Classifier(**settings).initialize()  # the same weights at the start
    fresh.module_.scaling.load_state_dict(net.module_.scaling.state_dict())
    fresh.module_.train()
    targets, w = (torch.as_tensor(a, device=net.device_) for a in (y.copy(), weights))
    logits = fresh.module_(images(X).to(net.device_))
    losses = F.cross_entropy(logits, targets, reduction="none")
    loss = (w * losses).sum() / w.sum()
    assert net.history_[0, "train_loss"] == pytest.approx(float(loss.detach()), 1e-5)

    loss.backward()
    weight = fresh.module_.head.out.weight
    expected = weight.detach() - 0.01 * weight.grad
    torch.testing.assert_close(net.module_.head.out.weight.detach(), expected)


def test_validation_loss_is_the_weighted_mean(X, y, quick):
    weights = np.random.rand(100) + 0.1
    net = LeNet5Classifier(**quick | {"max_epochs": 1}, iterator_valid__batch_size=30)
    net.fit(X[:140], y[:140], X_val=X[140:], y_val=y[140:], sample_weight_val=weights)
    probabilities = net.predict_proba(X[140:])
    loss = log_loss(y[140:], probabilities, sample_weight=weights)
    accuracy = net.score(X[140:], y[140:], sample_weight=weights)

    assert net.history_[0, "valid_loss"] == pytest.approx(loss, rel=1e-5)
    assert net.history_[0, "valid_acc"] == pytest.approx(accuracy, rel=1e-5)


def test_get_loss_may_be_overridden(X, y, quick):
    """With skorch's signature, which knows no weights."""

    class Absolute(LeNet5Classifier):
        def get_loss(self, y_pred, y_true, X=None, training=False):
            loss = (torch.softmax(y_pred, 1)[:, 1] - y_true.float()).abs().mean()
            if training:
                self.history.record_batch("mine", float(loss.detach()))
            return loss

    settings = quick | {"validation_fraction": 0, "batch_size": -1}
    net = Absolute(**settings).fit(X, y > 4)
    assert [row["batches"][0]["mine"] for row in net.history] == pytest.approx(
        net.history[:, "train_loss"]
    )
    with pytest.raises(TypeError, match="weights"):
        net.fit(X, y > 4, sample_weight=np.arange(240) + 1)


class Poison(Callback):
    """Makes the weights NaN or infinite before a given epoch."""

    def __init__(self, epoch, value=math.nan):
        self.epoch, self.value = epoch, value

    def on_epoch_begin(self, net, dataset_train=None, dataset_valid=None, **kwargs):
        if len(net.history) == self.epoch:
            nn.init.constant_(net.module_.head.out.bias, self.value)


@pytest.mark.parametrize(
    ("method", "epoch", "lr", "callbacks"),
    [
        ("fit", 2, 0.01, [Poison(2)]),
        ("fit", 2, 0.01, [Poison(2, math.inf)]),
        ("fit", 1, 1e30, []),
        ("partial_fit", 1, 0.01, [Poison(1)]),
    ],
)
def test_loss_that_is_not_finite(X, y, quick, method, epoch, lr, callbacks):
    settings = quick | {"optimizer": torch.optim.SGD, "optimizer__lr": lr}
    net = LeNet5Classifier(**settings, callbacks=callbacks)
    match = rf"train_loss became nan in epoch {epoch}: .*diverged; try a smaller lr \("
    kwargs = {} if method == "fit" else {"classes": np.arange(10)}
    with pytest.raises(ValueError, match=f"{match}now {re.escape(str(lr))}"):
        getattr(net, method)(X, y, **kwargs)
    with pytest.raises(ValueError, match="not fitted yet"):
        net.predict(X)


# Steps


def test_optimizer_may_use_a_closure(X, y, quick):
    net = LeNet5Classifier(
        **quick | {"optimizer": torch.optim.LBFGS, "lr": 0.5, "batch_size": -1},
        dropout=0,
    ).fit(X[:80], y[:80])
    assert net.history[-1, "train_loss"] < 1.5


def test_train_step_accumulator(X, y, quick):
    losses = []

    class Thrice(torch.optim.SGD):
        def step(self, closure=None):
            steps = [super(Thrice, self).step(closure) for _ in range(3)]
            losses.append([float(loss.detach()) for loss in steps])

    class Last(FirstStepAccumulator):
        def store_step(self, step):
            self.step = step

    settings = quick | {"optimizer": Thrice, "validation_fraction": 0}
    net = LeNet5Classifier(**settings | {"batch_size": 80, "max_epochs": 1})
    net.get_train_step_accumulator = Last
    net.fit(X, y)
    last = [thrice[-1] for thrice in losses]
    assert net.history[0, "train_loss"] == pytest.approx(np.mean(last))


def test_train_step_may_accumulate_gradients(X, y, quick):
    """As skorch's documentation shows it, by overriding two methods."""

    class Accumulating(LeNet5Classifier):
        n_steps_, n_updates_ = 0, 0

        def get_loss(self, *args, **kwargs):
            return super().get_loss(*args, **kwargs) / 3

        def train_step(self, batch, **fit_params):
            step = self.train_step_single(batch, **fit_params)
            self.n_steps_ += 1
            if self.n_steps_ % 3 == 0:
                self.optimizer_.step()
                self.optimizer_.zero_grad()
                self.n_updates_ += 1
            return step

    net = Accumulating(**quick, lr_schedule=None).fit(X, y)
    assert (net.n_steps_, net.n_updates_) == (12, 4)
    assert {int(state["step"]) for state in net.optimizer_.state.values()} == {4}


# Prediction


def test_predict_flip_averages_with_the_mirror_image(lenet5, X):
    mirrored = X.reshape(-1, 28, 28)[:, :, ::-1].reshape(-1, 784)
    net = copy.deepcopy(lenet5).set_params(predict_flip=True)
    plain = [lenet5.forward(rows, training=False) for rows in (X, mirrored)]
    torch.testing.assert_close(net.forward(X), sum(plain) / 2)
    np.testing.assert_allclose(net.predict_proba(X), net.predict_proba(mirrored), 1e-5)


def test_predict_flip_leaves_training_and_validation_alone(X, y, quick, lenet5):
    flipped = LeNet5Classifier(**quick, predict_flip=True).fit(X, y)
    assert flipped.history[:, "valid_loss"] == lenet5.history[:, "valid_loss"]
    assert equal_states(flipped.module_, lenet5.module_)


def test_forward(net, X):
    logits, expected = net.forward(X), net.predict_proba(X)
    torch.testing.assert_close(torch.softmax(logits.double(), 1).numpy(), expected)
    assert torch.equal(torch.cat(list(net.forward_iter(X))), logits)
    net.module_.train()
    assert np.array_equal(net.predict_proba(X), expected)
    # In training mode it drops units.
    first, second = (net.forward(X, training=True) for _ in range(2))
    assert not torch.equal(first, second)


def test_forward_iter_does_not_disturb_a_training(X, y, net, same_predictions):
    other = copy.deepcopy(net)
    waiting = net.forward_iter(X)
    next(waiting)
    for estimator in (net, other):
        estimator.partial_fit(X, y)
    assert net.history_[-1, "train_loss"] == other.history_[-1, "train_loss"]
    assert same_predictions(net, other, X)


def test_module_may_be_compiled(net, X):
    expected = net.predict_proba(X)
    net.module_ = torch.compile(net.module_, backend="eager")
    np.testing.assert_allclose(net.predict_proba(X), expected, atol=1e-6)


# Before, between and after fits


def test_initialize_before_any_fit(X):
    net = LeNet5Classifier(random_state=0).initialize()
    assert net.image_shape_ == (1, 28, 28)
    assert net.n_parameters_ == 61_750
    assert net.predict(X).shape == (240,)
    small = MiniVGGClassifier(image_shape=(3, 8, 8), module__n_classes=4).initialize()
    assert small.predict_proba(np.zeros((2, 3, 8, 8))).shape == (2, 4)

    # It uses and keeps what was set before.
    params = {"module__hidden_units": (30,), "optimizer__eps": 1e-3, "lr": 0.5}
    net = LeNet5Classifier().set_params(**params).initialize()
    assert net.module_.head.f5.out_features == 30
    group = net.optimizer_.param_groups[0]
    assert (group["eps"], group["lr"]) == (1e-3, 0.5)
    assert net.get_params().items() >= params.items()


def test_classifier_is_a_skorch_net(net, mini_vgg):
    assert isinstance(net, NeuralNetClassifier)
    assert isinstance(mini_vgg, NeuralNetClassifier)
    net.check_is_fitted()
    net.check_is_fitted(["module_", "criterion_"])
    for method in ("check_is_fitted", "trim_for_prediction"):
        with pytest.raises(NotInitializedError, match="not initialized yet"):
            getattr(LeNet5Classifier(), method)()


def test_partial_fit_averages_no_weights(X, y, quick):
    settings = quick | {"ema_decay": None}
    expected = LeNet5Classifier(**settings).partial_fit(X, y, classes=range(10))
    net = LeNet5Classifier(**quick).partial_fit(X, y, classes=range(10))
    assert net.ema_decay is not None
    assert equal_states(net.module_, expected.module_)


def test_fit_that_a_callback_ends_leaves_nothing(X, y, quick, lenet5):
    class Fail(Recorder):
        def on_epoch_end(self, net, **kwargs):
            self.module = net.module_
            raise RuntimeError("failed on purpose")

    recorder = Fail()
    net = LeNet5Classifier(**quick, callbacks=[recorder])
    with pytest.raises(RuntimeError, match="failed on purpose"):
        net.fit(X, y)
    assert recorder.calls[-1] == "train_end"
    assert not generators(recorder.module)
    assert not generators(lenet5.module_)
    assert vars(net).keys() == net.get_params().keys()


def generators(module):
    """Return the generators from which layers draw: set during a training only."""
    found = [getattr(layer, "generator", None) for layer in module.modules()]
    return [generator for generator in found if generator is not None]


def test_trim_for_prediction(X, y, quick):
    net = LeNet5Classifier(**quick, callbacks=[Named()]).fit(X, y)
    expected, size = net.predict_proba(X), len(pickle.dumps(net))
    net.module_.train()
    net.trim_for_prediction()
    net.trim_for_prediction()
    assert not net.module_.training
    assert net.optimizer_ is net.criterion_ is None
    assert not net.history
    assert not net.callbacks_
    assert not net.callbacks
    assert len(pickle.dumps(net)) < size
    assert clone(net).optimizer is None
    for copied in (net, copy.deepcopy(net), pickle.loads(pickle.dumps(net))):
        assert np.array_equal(copied.predict_proba(X), expected)
        assert copied.forward(X).shape == (240, 10)
        for call in (copied.fit, copied.partial_fit):
            with pytest.raises(SkorchTrainingImpossibleError, match="were trimmed"):
                call(X, y)


# Saved parameters


def test_save_and_load_params(net, lenet5, X, tmp_path, monkeypatch):
    files = {
        "f_params": str(tmp_path / "module.pt"),
        "f_optimizer": str(tmp_path / "optimizer.pt"),
        "f_history": str(tmp_path / "history.json"),
    }
    lenet5.save_params(**files)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    net = LeNet5Classifier().initialize()
    assert not np.array_equal(net.predict_proba(X), lenet5.predict_proba(X))
    net.load_params(**files)

    assert np.array_equal(net.predict_proba(X), lenet5.predict_proba(X))
    assert net.history_ == lenet5.history_
    ours, theirs = net.optimizer_.state_dict(), lenet5.optimizer_.state_dict()
    assert ours["state"].keys() == theirs["state"].keys()
    assert net.device == "auto"


class Exploit:
    def __reduce__(self):
        return (exec, ("raise SystemExit('code from the file was run')",))


def test_load_params_runs_no_code(net, tmp_path):
    torch.save({"head.out.weight": Exploit()}, tmp_path / "params")
    with pytest.raises(pickle.UnpicklingError):
        net.load_params(f_params=tmp_path / "params")


def test_checkpoint_writes_the_best_weights(X, y, quick, tmp_path):
    checkpoint = Checkpoint(dirname=str(tmp_path), f_optimizer=None)
    net = LeNet5Classifier(**quick, callbacks=[checkpoint]).fit(X, y)
    saved = torch.load(tmp_path / "params.pt", weights_only=True)
    state = net.module_.state_dict()
    assert all(torch.equal(saved[name], state[name]) for name in state)


@pytest.mark.parametrize("initialized", [True, False])
def test_checkpoint_continues_a_training(X, y, quick, tmp_path, initialized):
    checkpoint = Checkpoint(
        monitor=None,
        dirname=tmp_path,
        fn_prefix="lenet5_",
        f_params="params_{last_epoch[epoch]}.pt",
        f_criterion="criterion.pt",
    )
    settings = quick | {"patience": None, "callbacks": [checkpoint]}
    net = LeNet5Classifier(**settings).fit(X, y)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        *("lenet5_criterion.pt", "lenet5_history.json", "lenet5_optimizer.pt"),
        *("lenet5_params_1.pt", "lenet5_params_2.pt"),
    ]

    other = LeNet5Classifier(**settings | {"random_state": 9, "callbacks": None})
    if initialized:
        other.initialize()
    other.load_params(checkpoint=checkpoint)
    assert other.history == net.history
    other.partial_fit(X, y)
    assert other.n_iter_ == 3
    steps = {int(state["step"]) for state in other.optimizer_.state.values()}
    assert steps == {12 + 8}
