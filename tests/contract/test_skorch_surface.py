"""skorch's surface on our nets: hooks, loss, iterators, splits, saved parameters."""

import copy
import math

import numpy as np
import pytest
import skorch.callbacks
import torch
import torch.nn.functional as F
from sklearn.metrics import accuracy_score, log_loss
from skorch import NeuralNetClassifier
from skorch.callbacks import Callback, Checkpoint, EpochScoring
from skorch.dataset import Dataset, ValidSplit
from skorch.helper import predefined_split
from torch import nn
from torch.utils.data import DataLoader

from fmnist_sklearn import LeNet5Classifier, MiniVGGClassifier
from fmnist_sklearn.training.batches import ImageDataset

NAMES = np.array([f"class {digit}" for digit in range(10)])


def equal_states(first, second):
    first, second = first.state_dict(), second.state_dict()
    return all(torch.equal(first[name], second[name]) for name in second)


def test_it_is_a_skorch_net(lenet5, mini_vgg):
    assert isinstance(lenet5, NeuralNetClassifier)
    assert isinstance(mini_vgg, NeuralNetClassifier)


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
        assert y_pred.shape == (len(batch[1]), 10)

    def on_grad_computed(self, net, named_parameters, X=None, y=None, **kwargs):
        self.calls.append("grad")
        assert all(p.grad is not None for _, p in named_parameters)


def test_hooks_fire_in_skorch_s_order(X, y, quick):
    recorder = Recorder()
    LeNet5Classifier(**quick, callbacks=[recorder]).fit(X[:80], y[:80])

    step = ["train", "grad", "-train"]
    epoch = ["epoch_begin", *step, *step, "valid", "-valid", "epoch_end"]
    assert recorder.calls == ["train_begin", *epoch, *epoch, "train_end"]
    assert recorder.n_rows == (64, 16)
    assert {"train_loss", "valid_loss", "valid_acc", "dur"} <= recorder.row.keys()


def test_hooks_of_the_net_itself(X, y, quick):
    class Net(LeNet5Classifier):
        def on_epoch_end(self, net, **kwargs):
            self.epochs_seen_ = [*getattr(self, "epochs_seen_", []), len(net.history)]

    net = Net(**quick).fit(X[:80], y[:80])
    assert net.epochs_seen_ == [1, 2]


def test_history(lenet5):
    history = lenet5.history
    assert history is lenet5.history_
    assert len(history) == 2
    assert history[:, "epoch"] == [1, 2]
    for name in ("train_loss", "valid_loss", "valid_acc", "dur"):
        assert all(type(value) is float for value in history[:, name])
    assert history[:, "train_batch_count"] == [6, 6]
    assert history[:, "valid_batch_count"] == [1, 1]
    assert [row["batches"] for row in history] == [[{}], [{}]]  # epoch rows only


def test_marks_of_the_best_epochs(X, y, quick):
    net = LeNet5Classifier(**quick | {"max_epochs": 8, "lr": 0.03}, dropout=0)
    net.fit(X, y)
    for name, best in (("train_loss", min), ("valid_loss", min), ("valid_acc", max)):
        values = net.history_[:, name]
        marks = [
            value == best(values[: k + 1]) and value not in values[:k]
            for k, value in enumerate(values)
        ]
        assert net.history_[:, f"{name}_best"] == marks


def test_history_holds_the_losses_and_accuracy_it_names(X, y, quick):
    net = LeNet5Classifier(**quick | {"max_epochs": 1}, dropout=0)
    net.fit(X[:100], y[:100], X_val=X[100:], y_val=y[100:])
    probabilities = net.predict_proba(X[100:])

    row = net.history_[0]
    assert row["valid_loss"] == pytest.approx(log_loss(y[100:], probabilities), 1e-5)
    assert row["valid_acc"] == pytest.approx(net.score(X[100:], y[100:]))


@pytest.mark.parametrize("labels", [np.arange(10), NAMES, np.arange(10) - 5])
@pytest.mark.parametrize("scoring", ["accuracy", "f1_macro", "neg_log_loss", None])
def test_epoch_scoring(X, y, quick, labels, scoring):
    score = EpochScoring(scoring, lower_is_better=False, name="mine")
    net = LeNet5Classifier(**quick, callbacks=[score]).fit(X, labels[y])

    mine, accuracy = net.history_[:, "mine"], net.history_[:, "valid_acc"]
    assert np.isfinite(mine).all()
    if scoring in ("accuracy", None):
        assert mine == pytest.approx(accuracy)
    if scoring == "neg_log_loss":
        assert mine == pytest.approx(np.negative(net.history_[:, "valid_loss"]), 1e-5)


@pytest.mark.parametrize(
    "use_caching",
    [
        True,
        pytest.param(
            False,
            marks=pytest.mark.xfail(
                reason="without its cache skorch scores its own class of Dataset only"
            ),
        ),
    ],
)
def test_epoch_scoring_on_the_training_part(X, y, quick, use_caching):
    score = EpochScoring(
        "accuracy", on_train=True, use_caching=use_caching, name="mine"
    )
    net = LeNet5Classifier(**quick | {"max_epochs": 6}, callbacks=[score])
    net.fit(X, NAMES[y])
    assert net.history_[-1, "mine"] > 0.5


def test_epoch_scoring_with_a_function(X, y, quick):
    def score(net, dataset, targets):
        return accuracy_score(targets, net.predict(dataset))

    callback = EpochScoring(score, lower_is_better=False, name="mine")
    net = LeNet5Classifier(**quick, callbacks=[callback]).fit(X, NAMES[y])
    assert net.history_[:, "mine"] == pytest.approx(net.history_[:, "valid_acc"])


def test_named_callbacks_take_parameters(X, y, quick):
    net = LeNet5Classifier(
        **quick | {"max_epochs": 5},
        callbacks=[("stop", skorch.callbacks.EarlyStopping("train_loss", patience=9))],
        callbacks__stop__patience=1,
        callbacks__stop__threshold=100,
        callbacks__stop__threshold_mode="abs",
        callbacks__stop__sink=str,
    ).fit(X, y)
    assert net.n_iter_ == 2


def test_a_default_callback_can_be_switched_off(X, y, quick):
    net = LeNet5Classifier(**quick, callbacks__epoch_timer=None).fit(X[:80], y[:80])
    assert "dur" not in net.history_[0]


def test_callbacks_disabled(X, y, quick):
    net = LeNet5Classifier(**quick, callbacks="disable").fit(X[:80], y[:80])
    assert net.n_iter_ == net.best_epoch_ == 2
    assert net.callbacks_ == []


def test_checkpoint_writes_the_best_weights(X, y, quick, tmp_path):
    checkpoint = Checkpoint(dirname=str(tmp_path), f_optimizer=None)
    net = LeNet5Classifier(**quick, callbacks=[checkpoint]).fit(X, y)
    saved = torch.load(tmp_path / "params.pt", weights_only=True)
    state = net.module_.state_dict()
    assert all(torch.equal(saved[name], state[name]) for name in state)


def test_gradient_clipping(X, y, quick):
    clip = skorch.callbacks.GradientNormClipping(gradient_clip_value=1e-9)
    settings = quick | {"optimizer": torch.optim.SGD, "max_epochs": 1}
    net = LeNet5Classifier(**settings, callbacks=[clip]).fit(X, y)
    fresh = LeNet5Classifier(**settings).initialize()
    torch.testing.assert_close(
        net.module_.head.f5.weight, fresh.module_.head.f5.weight, atol=1e-8, rtol=0
    )


@pytest.mark.parametrize("verbose", [0, 1])
def test_verbose_prints_the_epochs(X, y, quick, verbose, capsys):
    LeNet5Classifier(**quick, verbose=verbose).fit(X[:80], y[:80])
    printed = capsys.readouterr().out
    if verbose:
        assert "train_loss" in printed
        assert "valid_acc" in printed
        assert len(printed.splitlines()) == 4  # two of a heading, two epochs
    else:
        assert printed == ""


# Parameters of the parts


def test_parameters_reach_their_parts(X, y, quick):
    net = LeNet5Classifier(
        **quick,
        module__hidden_units=(30,),
        module__dropout=0.1,
        dropout=0.9,
        optimizer=torch.optim.SGD,
        optimizer__momentum=0.8,
        optimizer__nesterov=True,
        criterion__label_smoothing=0.2,  # wins over label_smoothing
        iterator_train__drop_last=True,
    ).fit(X[:100], y[:100])

    assert net.module_.head.f5.out_features == 30
    assert net.module_.head.dropout5.p == 0.1
    group = net.optimizer_.param_groups[0]
    assert (group["momentum"], group["nesterov"], group["lr"]) == (0.8, True, 0.01)
    assert net.criterion_.label_smoothing == 0.2
    assert net.history_[0, "train_batch_count"] == 80 // 32


def test_the_more_specific_lr_wins(quick):
    net = LeNet5Classifier(**quick, optimizer__lr=0.5).initialize()
    assert net.optimizer_.param_groups[0]["lr"] == 0.5


def test_mini_vgg_widths(quick):
    net = MiniVGGClassifier(
        **quick, module__widths=(4, "M"), module__hidden_units=8, dropout=0.3
    ).initialize()
    assert net.n_parameters_ == 4 * 10 + (4 * 16 * 16 * 8 + 8) + (8 * 10 + 10)
    assert net.module_.head.dropout.p == 0.3


def test_optimizer_of_other_kinds(X, y, quick):
    def optimizer(parameters, lr, **kwargs):
        return torch.optim.SGD(parameters, lr=lr, **kwargs)

    settings = quick | {"max_epochs": 1}
    for kind in (optimizer, torch.optim.RMSprop, torch.optim.NAdam):
        net = LeNet5Classifier(**settings | {"optimizer": kind}).fit(X[:60], y[:60])
        assert isinstance(net.optimizer_, torch.optim.Optimizer)


def test_parameter_groups(X, y, quick):
    net = LeNet5Classifier(
        **quick, optimizer__param_groups=[("head.*", {"lr": 0.5})]
    ).initialize()
    assert sorted(group["lr"] for group in net.optimizer_.param_groups) == [0.01, 0.5]


def test_label_smoothing_is_for_the_training_loss_only(X, y, quick):
    def losses(smoothing):
        net = LeNet5Classifier(**quick | {"max_epochs": 1, "lr": 1e-9})
        net.set_params(label_smoothing=smoothing, dropout=0).fit(X, y)
        return net.history_[0, "train_loss"], net.history_[0, "valid_loss"]

    plain, smoothed = losses(0.0), losses(0.9)
    assert smoothed[0] != pytest.approx(plain[0], abs=1e-4)
    assert smoothed[1] == pytest.approx(plain[1], abs=1e-5)


# Iterators and splits


@pytest.mark.parametrize("weighted", [True, False])
def test_data_loader_trains_as_our_own_batches(X, y, quick, weighted):
    """In row order, where the batches must be the same."""
    weights = np.random.rand(240) if weighted else None
    settings = quick | {"iterator_train__shuffle": False}
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


def test_data_loader_takes_its_own_parameters(X, y, quick):
    net = LeNet5Classifier(
        **quick,
        iterator_train=DataLoader,
        iterator_train__batch_size=50,
        iterator_train__drop_last=True,
    ).fit(X, y)
    assert net.history_[0, "train_batch_count"] == 192 // 50


def test_unknown_parameter_of_our_own_iterator(X, y, quick):
    net = LeNet5Classifier(**quick, iterator_train__num_workers=2)
    with pytest.raises(
        ValueError,
        match=r"iterator_train__num_workers.*iterator_train=torch.utils.data.DataLoader",
    ):
        net.fit(X, y)


def test_batch_sizes(X, y, quick):
    net = LeNet5Classifier(
        **quick | {"validation_fraction": 0.5}, iterator_valid__batch_size=50
    ).fit(X, y)
    assert net.history_[0, "valid_batch_count"] == 3
    assert net.history_[0, "train_batch_count"] == 4
    net = LeNet5Classifier(**quick, iterator_train__batch_size=-1).fit(X, y)
    assert net.history_[0, "train_batch_count"] == 1


def test_predictions_do_not_depend_on_the_batch_size(lenet5, X):
    net = copy.deepcopy(lenet5).set_params(iterator_valid__batch_size=7)
    np.testing.assert_allclose(net.predict_proba(X), lenet5.predict_proba(X), atol=1e-6)


def test_predict_flip_averages_with_the_mirror_image(lenet5, X):
    mirrored = X.reshape(-1, 28, 28)[:, :, ::-1].reshape(-1, 784)
    net = copy.deepcopy(lenet5).set_params(predict_flip=True)
    plain = [lenet5.forward(rows, training=False) for rows in (X, mirrored)]
    torch.testing.assert_close(net.forward(X), sum(plain) / 2)
    np.testing.assert_allclose(net.predict_proba(X), net.predict_proba(mirrored), 1e-5)


def test_predict_flip_leaves_training_and_validation_alone(X, y, quick):
    plain = LeNet5Classifier(**quick).fit(X, y)
    flipped = LeNet5Classifier(**quick, predict_flip=True).fit(X, y)
    assert flipped.history[:, "valid_loss"] == plain.history[:, "valid_loss"]
    assert equal_states(flipped.module_, plain.module_)


def test_skorch_s_valid_split(X, y, quick):
    split = ValidSplit(0.25, stratified=True, random_state=0)
    recorder = Recorder()
    net = LeNet5Classifier(**quick, train_split=split, callbacks=[recorder])
    net.fit(X, NAMES[y])
    assert recorder.n_rows == (180, 60)
    assert np.isfinite(net.history_[:, "valid_loss"]).all()


def test_valid_split_carries_the_weights(X, y, quick):
    split = ValidSplit(4)
    weights = np.random.rand(len(X)) + 0.1
    net = LeNet5Classifier(**quick | {"max_epochs": 1}, train_split=split)
    net.fit(X, y, weights)
    _, valid = split(ImageDataset(torch.zeros(len(X)), torch.zeros(len(X))), y)
    rows = np.asarray(valid.indices)
    expected = log_loss(
        y[rows], net.predict_proba(X[rows]), sample_weight=weights[rows]
    )
    assert net.history_[0, "valid_loss"] == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("dtype", [np.int64, np.int32, np.uint8])
def test_predefined_split(X, y, quick, dtype):
    images = X[180:].reshape(-1, 1, 28, 28).copy()
    valid = Dataset(images, y[180:].astype(dtype))
    net = LeNet5Classifier(**quick, train_split=predefined_split(valid))
    net.fit(X[:180], y[:180])
    loss = log_loss(y[180:], net.predict_proba(X[180:]))
    assert min(net.history_[:, "valid_loss"]) == pytest.approx(loss, rel=1e-5)
    assert net.history_[0, "train_batch_count"] == math.ceil(180 / 32)


def test_predict_on_a_dataset_gives_class_indices(X, y, quick):
    """As skorch's scoring needs them: a dataset's targets are indices."""
    net = LeNet5Classifier(**quick).fit(X, NAMES[y])
    images = torch.from_numpy(X.reshape(-1, 1, 28, 28).copy())
    indices = net.predict(ImageDataset(images, torch.from_numpy(y.copy())))
    assert np.array_equal(NAMES[indices], net.predict(X))


# Loss


def test_training_loss_is_the_weighted_mean(X, y, plain):
    """One step over all rows, computed by hand."""
    X, y = X[:60], y[:60]
    weights = np.random.rand(60).astype(np.float32) + 0.1
    settings = plain | {
        "batch_size": 60,
        "max_epochs": 1,
        "validation_fraction": 0,
        "dropout": 0,
        "optimizer": torch.optim.SGD,
    }
    net = LeNet5Classifier(**settings).fit(X, y, sample_weight=weights)

    fresh = LeNet5Classifier(**settings).initialize()  # the same weights at the start
    fresh.module_.scaling.load_state_dict(net.module_.scaling.state_dict())
    fresh.module_.train()
    images = torch.from_numpy(X.reshape(-1, 1, 28, 28).copy()).to(net.device_)
    targets, w = (torch.as_tensor(a, device=net.device_) for a in (y.copy(), weights))
    losses = F.cross_entropy(fresh.module_(images), targets, reduction="none")
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


def test_get_loss(plain):
    net = LeNet5Classifier(**plain).initialize()
    logits, targets = torch.randn(5, 10), torch.tensor([0, 1, 2, 3, 4])
    weights = torch.tensor([0.5, 1, 1.5, 1, 1])
    losses = F.cross_entropy(logits, targets, reduction="none")

    torch.testing.assert_close(net.get_loss(logits, targets), losses.mean())
    torch.testing.assert_close(
        net.get_loss(logits, targets, training=True), losses.mean()
    )
    torch.testing.assert_close(
        net.get_loss(logits, targets, weights=weights), (losses * weights).mean()
    )


class Poison(Callback):
    """Makes the weights NaN or infinite before a given epoch."""

    def __init__(self, epoch, value=math.nan):
        self.epoch, self.value = epoch, value

    def on_epoch_begin(self, net, dataset_train=None, dataset_valid=None, **kwargs):
        if len(net.history) == self.epoch:
            nn.init.constant_(net.module_.head.out.bias, self.value)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_loss_that_is_not_finite(X, y, quick, value):
    net = LeNet5Classifier(**quick | {"max_epochs": 5}, callbacks=[Poison(2, value)])
    with pytest.raises(
        ValueError, match=r"train_loss became nan in epoch 2.*smaller lr \(now 0.01\)"
    ):
        net.fit(X, y)


def test_lr_that_diverges(X, y, quick):
    net = LeNet5Classifier(
        **quick | {"lr": 1.0, "optimizer": torch.optim.SGD}, optimizer__lr=1e30
    )
    with pytest.raises(
        ValueError, match=r"in epoch 1: .*diverged; try a smaller lr \(now 1e\+30\)"
    ):
        net.fit(X, y)


def test_a_broken_fit_does_not_pass_for_a_fitted_one(X, y, quick):
    net = LeNet5Classifier(**quick, callbacks=[Poison(1)])
    with pytest.raises(ValueError, match="became nan in epoch 1"):
        net.fit(X, y)
    with pytest.raises(ValueError, match="not fitted yet"):
        net.predict(X)


def test_a_broken_partial_fit_does_not_pass_for_a_fitted_one(X, y, quick):
    net = LeNet5Classifier(**quick, callbacks=[Poison(1)])
    with pytest.raises(ValueError, match="became nan in epoch 1"):
        net.partial_fit(X, y, classes=np.arange(10))
    with pytest.raises(ValueError, match="not fitted yet"):
        net.predict(X)


# Saving parameters, as skorch does


def test_save_and_load_params(lenet5, X, quick, tmp_path):
    files = {
        "f_params": str(tmp_path / "module.pt"),
        "f_optimizer": str(tmp_path / "optimizer.pt"),
        "f_history": str(tmp_path / "history.json"),
    }
    lenet5.save_params(**files)
    net = LeNet5Classifier(**quick).initialize()
    assert not np.array_equal(net.predict_proba(X), lenet5.predict_proba(X))
    net.load_params(**files)

    assert np.array_equal(net.predict_proba(X), lenet5.predict_proba(X))
    assert net.history_ == lenet5.history_
    ours, theirs = net.optimizer_.state_dict(), lenet5.optimizer_.state_dict()
    assert ours["state"].keys() == theirs["state"].keys()
    assert net.device == "auto"


def test_load_params_with_device_auto(lenet5, X, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    lenet5.save_params(f_params=str(tmp_path / "module.pt"))
    net = LeNet5Classifier().initialize()
    net.load_params(f_params=str(tmp_path / "module.pt"))
    assert np.array_equal(net.predict_proba(X), lenet5.predict_proba(X))
    assert net.device == "auto"


def test_safetensors(lenet5, X, quick, tmp_path):
    lenet5.save_params(f_params=str(tmp_path / "m.safetensors"), use_safetensors=True)
    net = LeNet5Classifier(**quick).initialize()
    net.load_params(f_params=str(tmp_path / "m.safetensors"), use_safetensors=True)
    assert np.array_equal(net.predict_proba(X), lenet5.predict_proba(X))


# Other parts of skorch's interface


def test_initialize_before_any_fit(X):
    net = LeNet5Classifier(random_state=0).initialize()
    assert net.image_shape_ == (1, 28, 28)
    assert net.n_parameters_ == 61_750
    assert net.predict(X).shape == (240,)
    small = MiniVGGClassifier(image_shape=(3, 8, 8), module__n_classes=4).initialize()
    assert small.predict_proba(np.zeros((2, 3, 8, 8))).shape == (2, 4)


def test_forward_gives_logits(lenet5, X):
    logits = lenet5.forward(X)
    torch.testing.assert_close(
        torch.softmax(logits.double(), 1).numpy(), lenet5.predict_proba(X)
    )
    batches = list(lenet5.forward_iter(X))
    assert torch.equal(torch.cat(batches), logits)


def test_training_while_a_prediction_waits(X, y, quick, same_predictions):
    net, other = (LeNet5Classifier(**quick).fit(X, y) for _ in range(2))
    waiting = net.forward_iter(X)
    next(waiting)
    for estimator in (net, other):
        estimator.partial_fit(X, y)
    assert net.history_[-1, "train_loss"] == other.history_[-1, "train_loss"]
    assert same_predictions(net, other, X)


def test_forward_in_training_mode_drops_units(lenet5, X):
    net = copy.deepcopy(lenet5)
    first, second = (net.forward(X, training=True) for _ in range(2))
    assert not torch.equal(first, second)


def test_prediction_restores_evaluation_mode(lenet5, X):
    net = copy.deepcopy(lenet5)
    expected = lenet5.predict_proba(X)
    net.module_.train()
    assert np.array_equal(net.predict_proba(X), expected)


def test_two_fits_have_two_histories(X, y, quick):
    net = LeNet5Classifier(**quick).fit(X, y)
    first = net.history_
    net.fit(X, y)
    assert net.history_ is not first
    assert len(first) == len(net.history_) == 2


def test_own_generator_of_dropout_is_let_go(lenet5):
    layers = lenet5.module_.modules()
    assert all(getattr(layer, "generator", None) is None for layer in layers)


def test_whatever_ends_the_training_ends_it_cleanly(X, y, quick):
    class Fail(Recorder):
        def on_epoch_end(self, net, **kwargs):
            self.module = net.module_
            raise RuntimeError("told to fail")

    recorder = Fail()
    net = LeNet5Classifier(**quick, callbacks=[recorder])
    with pytest.raises(RuntimeError, match="told to fail"):
        net.fit(X, y)
    assert recorder.calls[-1] == "train_end"
    assert all(
        getattr(layer, "generator", None) is None for layer in recorder.module.modules()
    )
    assert vars(net).keys() == net.get_params().keys()


@pytest.mark.parametrize("iterator", [None, DataLoader])
def test_batch_size_auto_follows_the_rows_trained_on(X, y, quick, iterator):
    settings = quick | {"batch_size": "auto", "max_epochs": 1}
    net = LeNet5Classifier(**settings, iterator_train=iterator).fit(X, y)
    assert net.history_[-1, "train_batch_count"] == 12  # 192 rows in batches of 16
    net.partial_fit(X, y)
    assert net.history_[-1, "train_batch_count"] == 15


def test_partial_fit_averages_no_weights(X, y, quick):
    settings = quick | {"ema_decay": None}
    expected = LeNet5Classifier(**settings).partial_fit(X, y, classes=range(10))
    net = LeNet5Classifier(**quick).partial_fit(X, y, classes=range(10))
    assert net.ema_decay is not None
    assert equal_states(net.module_, expected.module_)
