"""Captured steps, called instead of replayed: all but the capture itself.

What runs here on a CPU is the code that records and replays steps on a GPU, with a
recorder that returns the very function it was given.
"""

import numpy as np
import pytest
import torch
from joblib import Parallel, delayed, parallel_config
from sklearn.ensemble import RandomForestClassifier
from sklearn.exceptions import ConvergenceWarning
from skorch.callbacks import Callback
from torch.optim.lr_scheduler import LambdaLR, StepLR
from torch.utils.data import DataLoader

from fmnist_sklearn import (
    LeNet5,
    LeNet5Classifier,
    MiniVGGClassifier,
    load_model,
    save_model,
)
from fmnist_sklearn.training import cuda_graph
from fmnist_sklearn.training.net import TrainingNet

from ..toys import CONSTANT, Listens, Perceptron, Raises

pytestmark = pytest.mark.needs("torch>=2.11")


class Called:
    """Records nothing: the steps are called again."""

    made = ()  # a list in each test

    def __init__(self, generator):
        self.is_open = True
        self.functions = []
        self.made.append(self)

    def record(self, function):
        self.functions.append(function)
        return function

    def keep_queue_short(self):
        assert self.is_open

    def close(self):
        self.is_open = False


@pytest.fixture
def called(monkeypatch):
    """Have fits on the CPU captured, however short; return the recorders they made."""
    monkeypatch.setattr(Called, "made", [])
    monkeypatch.setattr(TrainingNet, "_captures_on", ("cpu", "cuda"))
    monkeypatch.setattr(cuda_graph, "GraphRecorder", Called)
    monkeypatch.setattr(cuda_graph, "FEWEST_STEPS", 1)
    yield Called.made
    assert not any(recorder.is_open for recorder in Called.made)


def in_both_ways(cls, X, y, callbacks=(), **params):
    """Fit eagerly, and captured."""
    eager = cls(**params, device="cpu", callbacks=[*callbacks, Listens()]).fit(X, y)
    captured = cls(**params, device="cpu", callbacks=[*callbacks]).fit(X, y)
    assert (eager.steps_, captured.steps_) == ("eager", "captured")
    return eager, captured


def check_equal(eager, captured):
    """Compare losses and weights, which differ by rounding.

    A table of float32 holds rates, and a long training magnifies their rounding.
    """
    names = {"train_loss", "valid_loss", "train_batch_count"}
    for name in names & eager.history_[0].keys():
        np.testing.assert_allclose(
            captured.history_[:, name], eager.history_[:, name], rtol=1e-4
        )
    weights = captured.module_.state_dict()
    for name, value in eager.module_.state_dict().items():
        torch.testing.assert_close(weights[name], value, rtol=1e-3, atol=1e-4)


@pytest.fixture
def quick(quick):
    """Few roundings: a schedule magnifies them."""
    return quick | CONSTANT


SETTINGS = {
    "as by default": {
        "optimizer": torch.optim.AdamW,
        "lr_schedule": "one_cycle",
        "augment": "auto",
        "max_epochs": 1,
    },
    "one cycle": {"lr_schedule": "one_cycle", "optimizer__weight_decay": 0.01},
    "one cycle of AdamW": {
        "lr_schedule": "one_cycle",
        "optimizer": torch.optim.AdamW,
        "optimizer__weight_decay": 0.1,
        "ema_decay": None,
    },
    "cosine": {"lr_schedule": "cosine", "optimizer__amsgrad": True},
    "steps": {
        "lr_schedule": lambda optimizer, total: StepLR(optimizer, 5, 0.5),
        "class_weight": {0: 2.0},
    },
    "SGD": {
        "optimizer": torch.optim.SGD,
        "optimizer__momentum": 0.9,
        "optimizer__nesterov": True,
        "iterator_train__drop_last": True,
    },
    "augmented": {
        "augment": {"flip": 0.5, "shift": 1, "rotate": 9, "erase": 3},
        "batch_size": 8,
    },
    "mixed": {"augment": {"shift": 1, "mixup": 0.4}, "batch_size": 8},
    "mixed and weighted": {"augment": {"mixup": 0.4}, "class_weight": {0: 2.0}},
    "all at once": {"batch_size": -1},
    "in row order": {"iterator_train__shuffle": False, "validation_fraction": 0},
}


@pytest.mark.parametrize("setting", [*SETTINGS, "MiniVGG"])
def test_captured_steps_are_eager_steps(X, y, quick, called, setting):
    cls, settings = LeNet5Classifier, quick | {"lr": 2**-7}  # which float32 holds
    if setting == "MiniVGG":
        cls = MiniVGGClassifier
        settings |= {"dropout": 0.2, "precision": "bfloat16", "max_epochs": 1}
        settings |= {"module__hidden_units": 8, "module__widths": (4, "M", 6, "M")}
    eager, captured = in_both_ways(cls, X, y, **settings | SETTINGS.get(setting, {}))
    check_equal(eager, captured)
    assert all(p.grad is None for p in captured.module_.parameters())
    (group, *_), (of_eager, *_) = (n.optimizer_.param_groups for n in (captured, eager))
    assert group["lr"] == pytest.approx(of_eager["lr"])  # where the schedule ended
    assert not group.get("capturable")


def test_captured_steps_differ_by_the_rounding_of_the_rate_alone(X, y, plain, called):
    """A training of 50 steps at a rate that the table's float32 does not hold."""
    settings = plain | {"batch_size": 7, "lr": 0.001, "precision": "float32"}
    settings |= {"validation_fraction": 0, "device": "cpu"}
    settings |= {"module__hidden_units": 8, "module__widths": (4, "M", 6, "M")}
    X, y = X[:175], y[:175]
    rounded = settings | {"lr": float(np.float32(0.001)), "callbacks": [Listens()]}
    captured = MiniVGGClassifier(**settings).fit(X, y)
    eager = MiniVGGClassifier(**rounded).fit(X, y)
    assert (eager.steps_, captured.steps_) == ("eager", "captured")
    assert len(captured.history_) * captured.history_[-1, "train_batch_count"] == 50
    weights = captured.module_.state_dict()
    for name, value in eager.module_.state_dict().items():
        assert torch.equal(weights[name], value)


@pytest.mark.parametrize(
    ("n_rows", "batch_size", "drop_last", "shapes"),
    [
        (192, 32, False, [(6, 32)]),
        (200, 32, False, [(6, 32), (1, 8)]),
        (200, 32, True, [(6, 32)]),
        (200, 9, False, [(20, 9), (1, 9), (1, 2)]),
        (180, 9, False, [(20, 9)]),
        (20, 32, False, [(1, 20)]),
    ],
)
def test_captured_steps_of_an_epoch(
    X, y, quick, called, n_rows, batch_size, drop_last, shapes
):
    settings = quick | {"batch_size": batch_size, "max_epochs": 1}
    net = LeNet5Classifier(
        **settings | {"validation_fraction": 0},
        device="cpu",
        iterator_train__drop_last=drop_last,
    ).fit(X[:n_rows], y[:n_rows])
    (recorder,) = called
    assert [function.args for function in recorder.functions] == shapes
    n_batches = n_rows // batch_size + bool(n_rows % batch_size and not drop_last)
    assert net.history_[-1, "train_batch_count"] == n_batches
    assert net.module_.c1.norm.num_batches_tracked == n_batches


def test_captured_steps_go_on_after_an_earlier_fit(X, y, quick, called):
    """The optimizer has taken steps before, which Adam's correction counts."""
    settings = quick | {"device": "cpu", "lr_schedule": "one_cycle"}
    losses = []
    for callbacks, steps in ([Listens()], "eager"), ([], "captured"):
        net = LeNet5Classifier(**settings, warm_start=True, callbacks=callbacks)
        net.fit(X, y).fit(X[:150], y[:150]).partial_fit(X, y)
        assert net.steps_ == steps
        losses.append(net.history_[:, "train_loss"])
    np.testing.assert_allclose(*losses, rtol=1e-4)


class AtEpochs(Callback):
    """Calls a function of the net and of the number of epochs before."""

    def __init__(self, function):
        self.function = function

    def on_epoch_begin(self, net, dataset_train=None, dataset_valid=None, **kwargs):
        self.function(net, len(net.history_) - 1)


def freeze(net, epoch):
    net.module_.c1.conv.weight.requires_grad_(epoch == 0)


def set_rate(net, epoch):
    net.optimizer_.param_groups[0]["lr"] = 0.01 / (1 + epoch)


def set_dropout(net, epoch):
    net.module_.head.dropout5.p = 0.1 * epoch


def set_decay(net, epoch):
    net.optimizer_.param_groups[0]["weight_decay"] = 0.1 * epoch


@pytest.mark.parametrize(
    ("function", "n_recorders"),
    [(freeze, 2), (set_rate, 1), (set_dropout, 2), (set_decay, 2)],
)
def test_captured_steps_see_what_a_callback_changes(
    X, y, quick, called, function, n_recorders
):
    check_equal(
        *in_both_ways(LeNet5Classifier, X, y, callbacks=[AtEpochs(function)], **quick)
    )
    assert len(called) == n_recorders


def test_captured_steps_become_eager_for_a_later_hook(X, y, quick, called):
    calls = []

    def hook(net, epoch):
        if epoch == 1:
            layer = net.module_.head.f5
            layer.register_forward_hook(lambda *args: calls.append(args))

    net = LeNet5Classifier(**quick, device="cpu", callbacks=[AtEpochs(hook)]).fit(X, y)
    assert net.steps_ == "eager"
    assert len(calls) > 6


def overriding(name):
    """Return a class whose method of this name calls the one it overrides."""

    def method(self, *args, **kwargs):
        return getattr(super(Own, self), name)(*args, **kwargs)

    Own = type("Own", (LeNet5Classifier,), {name: method})
    return Own


class OwnNetwork(LeNet5):
    def forward(self, x):
        return super().forward(x)


class Draws(OwnNetwork):
    def forward(self, x):
        return torch.nn.functional.dropout(super().forward(x), 0.1, self.training)


class Counts(OwnNetwork):
    n_calls = 0

    def forward(self, x):
        self.n_calls += 1
        return super().forward(x)


class Replaces(OwnNetwork):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.register_buffer("mean", torch.zeros(()))

    def forward(self, x):
        logits = super().forward(x)
        self.mean = 0.9 * self.mean + 0.1 * logits.mean().detach()
        return logits


def of(network):
    return type("Own", (LeNet5Classifier,), {"module": network})


class OwnLoss(torch.nn.CrossEntropyLoss):
    pass


class OwnCriterion(LeNet5Classifier):
    criterion = OwnLoss


class OwnScheduler(LambdaLR):
    def __init__(self, optimizer, total_steps):
        super().__init__(optimizer, lambda step: 1.0)


SGD = {"optimizer": torch.optim.SGD, "optimizer__momentum": 0.9}


@pytest.mark.parametrize(
    ("cls", "params", "reason"),
    [
        (LeNet5Classifier, {"iterator_train": DataLoader}, "iterator_train is given"),
        (LeNet5Classifier, {"augment": lambda x, g: x}, "augment is a function"),
        (LeNet5Classifier, {"callbacks": [Listens()]}, "Listens listens to batches"),
        (overriding("on_batch_begin"), {}, "Own listens to batches"),
        (overriding("get_loss"), {}, "get_loss is overridden"),
        (overriding("train_step"), {}, "train_step is overridden"),
        (overriding("run_single_epoch"), {}, "run_single_epoch is overridden"),
        (overriding("infer"), {}, "infer is overridden"),
        (of(Draws), {}, "the network draws from a global random generator"),
        (of(Counts), {}, "the network changes attributes of its layers"),
        (of(Replaces), {}, "the network changes attributes of its layers"),
        (OwnCriterion, {}, "the criterion is a OwnLoss"),
        (
            LeNet5Classifier,
            {"optimizer": torch.optim.RMSprop},
            "the optimizer is a RMSprop",
        ),
        (LeNet5Classifier, {"optimizer__foreach": True}, "Adam is not fused"),
        (LeNet5Classifier, SGD | {"optimizer__dampening": 0.1}, "SGD has dampening"),
        (
            LeNet5Classifier,
            SGD | {"lr_schedule": "one_cycle"},
            "OneCycleLR changes the momentum",
        ),
        (
            LeNet5Classifier,
            {"lr_schedule": OwnScheduler},
            "lr_schedule gives a OwnScheduler",
        ),
    ],
)
def test_steps_are_eager_and_say_why(X, y, quick, called, capsys, cls, params, reason):
    settings = quick | {"max_epochs": 1, "device": "cpu", "verbose": 1} | params
    net = cls(**settings).fit(X[:100], y[:100])
    assert net.steps_ == "eager"
    assert f"training steps: eager ({reason})" in capsys.readouterr().out
    assert not any(recorder.functions for recorder in called)


@pytest.mark.parametrize("network", [OwnNetwork, Perceptron])
def test_captured_steps_of_other_networks(X, y, quick, called, network):
    cls = of(network)
    check_equal(*in_both_ways(cls, X, y, **quick | {"lr": 2**-7}))


@pytest.mark.parametrize("augment", [None, {"shift": 1}, {"shift": 1, "mixup": 0.4}])
def test_captured_steps_with_teachers(X, y, quick, called, lenet5, augment):
    """One predicts in each step; scikit-learn's forest did before the first."""
    forest = RandomForestClassifier(5, random_state=0).fit(X, y)
    settings = quick | {"lr": 2**-7, "teacher": [lenet5, forest], "augment": augment}
    check_equal(*in_both_ways(LeNet5Classifier, X, y, **settings))


def test_steps_with_a_teacher_that_overrides_infer(X, y, quick, called, capsys):
    teacher = overriding("infer")(**quick, device="cpu").fit(X, y)
    quick |= {"teacher": teacher, "augment": {"shift": 1}, "verbose": 1}
    net = LeNet5Classifier(**quick, device="cpu").fit(X, y)
    assert net.steps_ == "eager"
    reason = "of a teacher, infer is overridden"
    assert f"training steps: eager ({reason})" in capsys.readouterr().out


def test_captured_steps_need_enough_of_them(X, y, quick, called, monkeypatch, capsys):
    monkeypatch.setattr(cuda_graph, "FEWEST_STEPS", 13)
    net = LeNet5Classifier(**quick, device="cpu", verbose=1).fit(X, y)
    assert net.steps_ == "eager"
    assert "(there are fewer than 13 steps)" in capsys.readouterr().out
    LeNet5Classifier(**quick | {"max_epochs": 3}, device="cpu", verbose=1).fit(X, y)
    assert capsys.readouterr().out.startswith("training steps: captured\n")


def test_captured_steps_fall_back_where_recording_fails(
    X, y, quick, called, monkeypatch
):
    """The fit is what it is without one, and one warning says so."""

    class Fails(Called):
        def __init__(self, generator):
            super().__init__(generator)
            self.generator = generator

        def record(self, function):
            self.generator.manual_seed(5)  # it is not what it was
            raise RuntimeError("not permitted when stream is capturing")

    eager = LeNet5Classifier(**quick, device="cpu", callbacks=[Listens()]).fit(X, y)
    monkeypatch.setattr(cuda_graph, "GraphRecorder", Fails)
    with pytest.warns(UserWarning, match="is capturing") as warned:
        net = LeNet5Classifier(**quick, device="cpu").fit(X, y)
    assert [w.category for w in warned] == [UserWarning, ConvergenceWarning]
    assert net.steps_ == "eager"
    assert net.history_[:, "train_loss"] == eager.history_[:, "train_loss"]
    assert np.array_equal(net.predict_proba(X), eager.predict_proba(X))


# How runs end -------------------------------------------------------------------


class Interrupted(Called):
    """Ctrl-C while recording, or in the second call of what was recorded."""

    while_recording = False

    def record(self, function):
        if self.while_recording:
            raise KeyboardInterrupt
        recorder = self

        def call():
            recorder.functions.append(function)
            if len(recorder.functions) == 2:
                raise KeyboardInterrupt
            function()

        return call


@pytest.mark.parametrize("while_recording", [True, False])
def test_captured_fit_keeps_whole_epochs_after_ctrl_c(
    X, y, quick, called, monkeypatch, while_recording
):
    once = LeNet5Classifier(**quick | {"max_epochs": 1}, device="cpu").fit(X, y)
    monkeypatch.setattr(Interrupted, "while_recording", while_recording)
    monkeypatch.setattr(cuda_graph, "GraphRecorder", Interrupted)
    net = LeNet5Classifier(**quick, device="cpu")
    with pytest.raises(KeyboardInterrupt):
        net.fit(X, y)
    assert net.__sklearn_is_fitted__() == (not while_recording)
    if not while_recording:
        assert net.n_iter_ == 1
        assert np.array_equal(net.predict_proba(X), once.predict_proba(X))


@pytest.mark.parametrize(
    ("error", "params"),
    [
        (ValueError, {"lr": 1e30}),
        (ZeroDivisionError, {"callbacks": [Raises(ZeroDivisionError("mine"))]}),
    ],
)
def test_captured_fit_that_fails_leaves_nothing(X, y, quick, called, error, params):
    net = LeNet5Classifier(**quick | {"device": "cpu"} | params)
    with pytest.raises(error, match=r"diverged|mine"):
        net.fit(X, y)
    assert not net.__sklearn_is_fitted__()
    assert called


def test_captured_fit_stops_early(X, y, quick, called):
    settings = quick | {"lr": 1e-12, "max_epochs": 9, "patience": 1, "ema_decay": None}
    eager, captured = in_both_ways(LeNet5Classifier, X, y, **settings)
    assert captured.n_iter_ == eager.n_iter_ < 9


def test_captured_fits_side_by_side_are_what_they_are_alone(X, y, quick, called):
    def fit(seed):
        settings = quick | {"random_state": seed, "device": "cpu"}
        return LeNet5Classifier(**settings).fit(X, y).predict_proba(X)

    alone = [fit(seed) for seed in range(2)]
    with parallel_config(backend="threading", n_jobs=2):
        together = Parallel()(delayed(fit)(seed) for seed in range(2))
    assert len(called) == 4
    assert np.array_equal(alone, together)


def test_steps_on_a_cpu_are_eager(X, y, quick):
    net = LeNet5Classifier(**quick, device="cpu").fit(X, y)
    assert net.steps_ == "eager"
    assert net._captures_on == ("cuda",)
    dataset, _ = net.get_split_datasets(X, y)
    assert net.get_iterator(dataset, training=True).block_size == 1


def test_steps_are_in_model_files(lenet5, tmp_path):
    save_model(lenet5, tmp_path / "net")
    assert load_model(tmp_path / "net").steps_ == lenet5.steps_ == "eager"
