"""Calls that continue a training: what takes effect, what is refused, what stays."""

import copy
import pickle
import warnings
from functools import cache

import numpy as np
import pytest
import torch
from sklearn.utils import compute_sample_weight
from skorch.callbacks import Callback, LRScheduler

from fmnist_sklearn import LeNet5Classifier, MiniVGGClassifier

CALLS = pytest.mark.parametrize("how", ["partial_fit", "fit"])


def weights_after(net, X, y, how):
    """The weights that one more call gives, of a copy."""
    net = copy.deepcopy(net)
    if how == "partial_fit":
        net.partial_fit(X, y)
    else:
        net.set_params(warm_start=True, max_epochs=1).fit(X, y)
    return torch.cat([p.detach().flatten() for p in net.module_.parameters()])


@pytest.fixture(scope="module")
def rows(X, y):
    """Images and labels, fewer than elsewhere."""
    return X[:64], y[:64]


@pytest.fixture(scope="module")
def once(rows):
    """A net that was trained for one epoch, and may continue."""
    net = LeNet5Classifier(
        lr=0.01, batch_size=32, device="cpu", random_state=0, warm_start=True
    )
    return net.partial_fit(*rows, classes=range(10))


@pytest.fixture(scope="module")
def unchanged(once, rows):
    """A function that returns the weights of one more call with nothing set."""

    @cache
    def weights(how, pickled):
        net = pickle.loads(pickle.dumps(once)) if pickled else once
        return weights_after(net, *rows, how)

    return weights


@CALLS
@pytest.mark.parametrize(
    "params",
    [
        {"lr": 0.03},
        {"optimizer__lr": 0.03},
        {"optimizer__weight_decay": 0.5},
        {"optimizer__betas": (0.1, 0.2)},
        {"optimizer__eps": 1.0},
        {"optimizer__amsgrad": True},
        {"optimizer": torch.optim.SGD},
        {"optimizer": torch.optim.SGD, "optimizer__momentum": 0.9},
        {"optimizer__param_groups": [("head.*", {"lr": 0.2})]},
        {"dropout": 0.0},
        {"module__dropout": 0.9},
        {"label_smoothing": 0.5},
        {"criterion__label_smoothing": 0.5},
        {"precision": "bfloat16"},
        {"batch_size": 7},
        {"iterator_train__shuffle": False},
        {"augment": {"shift": 3}},
        {"class_weight": {0: 5.0}},
        {"random_state": 5},
    ],
    ids=lambda params: str(list(params)),
)
@pytest.mark.parametrize("pickled", [True, False], ids=["pickled", "kept"])
def test_params_set_between_calls_take_effect(
    once, unchanged, rows, params, how, pickled
):
    net = pickle.loads(pickle.dumps(once)) if pickled else copy.deepcopy(once)
    changed = weights_after(net.set_params(**params), *rows, how)
    assert not torch.equal(unchanged(how, pickled), changed)
    # Nothing else did it.
    assert torch.equal(unchanged(how, pickled), unchanged(how, False))


@CALLS
@pytest.mark.parametrize(
    ("params", "match"),
    [
        ({"module__hidden_units": (20,)}, "module__hidden_units was .*None.*20"),
        ({"pixel_scaling": "symmetric"}, "pixel_scaling was 'standardize'"),
        ({"image_shape": (1, 14, 56)}, r"image_shape was \(1, 28, 28\)"),
        ({"module__n_classes": 3}, "module__n_classes=3"),
        ({"lr": -1}, "'lr' parameter"),
        ({"iterator_train__batch_size": 0}, "iterator_train__batch_size must be"),
        ({"optimizer__betas": (2, 2)}, "beta"),
        ({"lr_schedule": torch.optim.lr_scheduler.ReduceLROnPlateau}, "metric"),
    ],
)
def test_params_set_between_calls_are_refused_without_loss(
    once, unchanged, rows, params, match, how
):
    if how == "partial_fit" and "lr_schedule" in params:
        pytest.skip("partial_fit has no schedule")
    net = copy.deepcopy(once).set_params(**params)
    with pytest.raises(ValueError, match=match):
        getattr(net, how)(*rows)
    for name in params:
        if name in LeNet5Classifier().get_params():
            net.set_params(**{name: getattr(once, name)})
    vars(net).pop("_nested", None)
    assert np.array_equal(net.predict_proba(rows[0]), once.predict_proba(rows[0]))
    after = weights_after(net, *rows, "partial_fit")
    assert torch.equal(after, unchanged("partial_fit", False))


def test_optimizer_stays_the_same_object(once, rows):
    net = copy.deepcopy(once).partial_fit(*rows)
    optimizer, called = net.optimizer_, []
    optimizer.register_step_post_hook(lambda *args: called.append(1))
    net.set_params(lr=0.001).partial_fit(*rows)
    assert net.optimizer_ is optimizer
    assert called
    assert all(float(state["step"]) > 4 for state in optimizer.state.values())


# Schedules ----------------------------------------------------------------------------


class Groups(Callback):
    """Notes the optimizer's first group at the start."""

    def on_train_begin(self, net, X=None, y=None, **kwargs):
        self.group = dict(net.optimizer_.param_groups[0])


def halving(optimizer, total_steps):
    return torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.5)


def test_lr_schedule_leaves_nothing_for_the_next_call(X, y, quick):
    """No momentum of its cycle, and no first rate that hides a new ``lr``."""
    groups = Groups()
    net = LeNet5Classifier(**quick, lr_schedule="one_cycle", callbacks=[groups])
    net.fit(X, y).set_params(lr=0.123).partial_fit(X, y)
    assert groups.group["lr"] == 0.123
    assert groups.group["betas"] == (0.9, 0.999)
    assert groups.group["initial_lr"] == 0.123

    net = LeNet5Classifier(
        **quick, callbacks=[groups], warm_start=True, lr_schedule=halving
    )
    net.fit(X, y).set_params(lr=0.125).fit(X, y)
    assert net.optimizer_.param_groups[0]["initial_lr"] == 0.125


@pytest.mark.parametrize("optimizer", [torch.optim.Adam, torch.optim.SGD])
@pytest.mark.parametrize("policy", ["one_cycle", "cosine", "skorch's"])
def test_lr_schedule_with_a_trained_optimizer_gives_no_warning(
    rows, quick, optimizer, policy
):
    schedule = {"lr_schedule": policy}
    if policy == "skorch's":
        schedule = {"callbacks": [LRScheduler("StepLR", step_size=1)]}
    net = LeNet5Classifier(**quick, optimizer=optimizer, **schedule, warm_start=True)
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*lr_scheduler")
        net.fit(*rows).fit(*rows)
        pickle.loads(pickle.dumps(net)).fit(*rows)


def test_lr_schedule_of_a_single_step_trains(X, y, quick):
    settings = quick | {"max_epochs": 1, "batch_size": -1, "dropout": 0}
    cycle = LeNet5Classifier(**settings, lr_schedule="one_cycle").fit(X, y)
    constant = LeNet5Classifier(**settings).fit(X, y)
    assert np.array_equal(cycle.predict_proba(X), constant.predict_proba(X))


# Warm starts --------------------------------------------------------------------------


class Seen(Callback):
    """Notes the order of the rows and the images of each fit, and its split."""

    def __init__(self):
        self.orders, self.images, self.valid = [], [], []

    def on_train_begin(self, net, X=None, y=None, **kwargs):
        self.orders.append([])
        self.images.append([])

    def on_epoch_begin(self, net, dataset_train=None, dataset_valid=None, **kwargs):
        self.valid.append(np.asarray(dataset_valid.indices).tolist())

    def on_batch_begin(self, net, batch=None, training=False, **kwargs):
        if training:
            self.orders[-1] += batch[1].tolist()
            self.images[-1].append(batch[0].float().sum().item())


@pytest.mark.parametrize("random_state", [0, None, np.random.RandomState(3)])
@pytest.mark.parametrize("kind", [LeNet5Classifier, MiniVGGClassifier])
def test_warm_start_draws_again_and_keeps_the_split(rows, quick, random_state, kind):
    small = {} if kind is LeNet5Classifier else {"module__widths": (4, "M")}
    seen = Seen()
    net = kind(
        **quick | {"max_epochs": 1, "random_state": random_state, **small},
        augment={"shift": 2},
        warm_start=True,
        callbacks=[seen],
    )
    for _ in range(3):
        net.fit(*rows)
    assert len({tuple(order) for order in seen.orders}) == 3
    assert len({tuple(images) for images in seen.images}) == 3
    assert seen.valid[0] == seen.valid[1] == seen.valid[2]


def test_warm_start_draws_dropout_again(rows, quick):
    settings = quick | {"max_epochs": 1, "iterator_train__shuffle": False, "lr": 1e-12}
    net = LeNet5Classifier(**settings, warm_start=True)
    losses = [net.fit(*rows).history_[-1, "train_loss"] for _ in range(3)]
    assert len(set(losses)) == 3


# class_weight -------------------------------------------------------------------------


WEIGHTS = {**dict.fromkeys(range(9), 1e-4), 9: 1000.0}


@pytest.mark.parametrize("class_weight", ["balanced", {1: 3.0}, WEIGHTS])
def test_class_weight_applies_to_given_validation_rows(X, y, quick, class_weight):
    train, valid = (X[:150], y[:150]), (X[150:], y[150:])
    net = LeNet5Classifier(**quick, class_weight=class_weight)
    net.fit(*train, X_val=valid[0], y_val=valid[1])
    of_train, of_valid = (
        compute_sample_weight(class_weight, labels) for labels in (y[:150], y[150:])
    )
    if class_weight == "balanced":  # counts those that are trained on
        counted = {c: 150 / 10 / (y[:150] == c).sum() for c in range(10)}
        of_valid = np.vectorize(counted.get)(y[150:])
    twin = LeNet5Classifier(**quick).fit(*train, of_train, *valid, of_valid)
    assert net.history_[:, "valid_loss"] == pytest.approx(
        twin.history_[:, "valid_loss"], rel=1e-4
    )


def test_class_weight_must_leave_rows_to_validate_on(X, y, quick):
    weights = {**dict.fromkeys(range(9), 0.0), 9: 1.0}
    net = LeNet5Classifier(**quick, class_weight=weights)
    with pytest.raises(ValueError, match=r"class_weight leaves .*or validate on"):
        net.fit(X, y, X_val=X[y == 0], y_val=y[y == 0])
