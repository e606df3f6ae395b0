"""What comes back from a file is what was saved."""

import copy
import json
import pickle

import numpy as np
import pandas as pd
import pytest
import skorch.callbacks
import torch
import torch.nn.utils.prune
from sklearn.base import clone

from fmnist_sklearn import LeNet5Classifier, MiniVGGClassifier
from fmnist_sklearn.persistence import load_model, save_model

from .tools import QUICK, fit_small, round_trip


def test_predictions_are_the_same_to_the_bit(net, X, y, path):
    loaded = round_trip(net, path)
    assert type(loaded) is type(net)
    np.testing.assert_array_equal(
        loaded.predict_proba(X), net.predict_proba(X), strict=True
    )
    np.testing.assert_array_equal(loaded.predict(X), net.predict(X), strict=True)
    assert loaded.score(X, y) == net.score(X, y)


def test_fitted_attributes(net, path):
    loaded = round_trip(net, path)
    for name in (
        "n_features_in_",
        "image_shape_",
        "n_iter_",
        "best_epoch_",
        "n_parameters_",
        "fit_time_",
        "device_",
        "precision_",
        "history_",
    ):
        value, expected = getattr(loaded, name), getattr(net, name)
        assert type(value) is type(expected), name
        assert value == expected, name
    assert loaded.history_[:, "valid_loss"] == net.history_[:, "valid_loss"]
    assert not hasattr(loaded, "feature_names_in_")
    assert repr(loaded) == repr(net)


def test_loaded_can_be_cloned_pickled_and_saved_again(small, small_X, path):
    loaded = round_trip(small, path)
    assert clone(loaded).get_params() == small.get_params()
    again = round_trip(pickle.loads(pickle.dumps(loaded)), path)
    np.testing.assert_array_equal(
        again.predict_proba(small_X), small.predict_proba(small_X)
    )
    refitted = clone(loaded).fit(small_X, np.arange(24) % 3)
    np.testing.assert_array_equal(
        refitted.predict_proba(small_X), small.predict_proba(small_X)
    )


@pytest.mark.parametrize(
    "labels",
    [
        np.array([3, 7, 255], dtype=np.uint8),
        np.array([-1, 0, 1], dtype=np.int8),
        np.array([-(2**63), 0, 2**63 - 1]),
        np.array([0, 1, 2**64 - 1], dtype=np.uint64),
        np.array([0.0, 1.0, 2.0], dtype=np.float32),
        np.array([False, True, True]),
        np.array(["Bag", "Coat", "Höschen \U0001f456"]),
        np.array(["Bag", "Coat", "Dress"], dtype=object),
    ],
    ids=lambda labels: f"{labels.dtype}-{labels[-1]}",
)
def test_labels(small_X, path, labels):
    net = fit_small(small_X, labels[np.arange(24) % 3])
    loaded = round_trip(net, path)
    np.testing.assert_array_equal(loaded.classes_, net.classes_, strict=True)
    assert list(map(type, loaded.classes_)) == list(map(type, net.classes_))
    predicted = loaded.predict(small_X)
    np.testing.assert_array_equal(predicted, net.predict(small_X), strict=True)


@pytest.mark.parametrize("labels", [[1, 2, 2**70], [False, True, 7], ["a", "b", 0.5]])
def test_labels_that_only_an_object_array_holds(small, path, labels):
    # fit refuses them; partial_fit takes them as classes.
    net = copy.deepcopy(small)
    net.classes_ = np.array(labels, dtype=object)
    loaded = round_trip(net, path)
    assert loaded.classes_.dtype == object
    assert list(map(repr, loaded.classes_)) == list(map(repr, labels))


@pytest.mark.parametrize(
    "classes",
    [
        np.array([b"a", b"b", b"c"]),
        np.array([1j, 2j, 3j]),
        np.array([None, "b", "c"], dtype=object),
        np.array([("a",), ("b",), ("c",), 0], dtype=object)[:3],
        np.array(["2017-08-25"] * 3, dtype="M8[D]"),
    ],
    ids=lambda classes: classes.dtype.kind,
)
def test_labels_that_cannot_be_stored(small, path, classes):
    net = copy.deepcopy(small)
    net.classes_ = classes
    with pytest.raises(TypeError, match=r"numbers, booleans or strings, got classes_="):
        save_model(net, path)
    assert not path.exists()


def test_column_names_of_a_data_frame(small_X, path):
    X = pd.DataFrame(small_X, columns=[f"pixel{i}" for i in range(64)])
    net = fit_small(X)
    loaded = round_trip(net, path)
    names = net.feature_names_in_
    np.testing.assert_array_equal(loaded.feature_names_in_, names, strict=True)
    np.testing.assert_array_equal(loaded.predict_proba(X), net.predict_proba(X))
    with pytest.raises(ValueError, match="feature names"):
        loaded.predict(X[X.columns[::-1]])


def test_parameters(small_X, path):
    params = {
        "lr": np.float32(0.01),
        "batch_size": np.int64(8),
        "optimizer": torch.optim.SGD,
        "optimizer__momentum": 0.9,
        "optimizer__nesterov": True,
        "augment": {"flip": 0.5, "shift": 1},
        "image_shape": (1, 8, 8),
        "class_weight": {0: 1.0, np.int64(1): 2.0, 2: 0.5},
        "device": torch.device("cpu"),
        "lr_schedule": "one_cycle",
        "lr_schedule__pct_start": 0.2,
        "module__hidden_units": (20, 12),
        "label_smoothing": 0.1,
        "ema_decay": 0.9,
        "predict_flip": True,
    }
    loaded = round_trip(fit_small(small_X, **params), path)
    expected = LeNet5Classifier(**{**QUICK, **params, "device": "cpu"}).get_params()
    assert loaded.get_params() == expected
    assert type(loaded.batch_size) is int
    assert type(loaded.lr) is float
    assert type(loaded.module__hidden_units) is tuple
    assert [type(key) for key in loaded.class_weight] == [int] * 3


@pytest.mark.parametrize(
    "class_weight",
    [{"a": 1.0, "b": 2.0, "c": 1}, "balanced"],
    ids=["dict", "balanced"],
)
def test_class_weight(small_X, path, class_weight):
    y = np.array(["a", "b", "c"])[np.arange(24) % 3]
    loaded = round_trip(fit_small(small_X, y, class_weight=class_weight), path)
    assert loaded.class_weight == class_weight


@pytest.mark.parametrize(
    ("cls", "params"),
    [
        (LeNet5Classifier, {"module__hidden_units": (16,), "module__dropout": 0.2}),
        (LeNet5Classifier, {"module__hidden_units": [16, 8, 6], "dropout": 0.0}),
        (LeNet5Classifier, {"module__hidden_units": ()}),
        (MiniVGGClassifier, {"module__widths": (4, "M", 8, 8, "M", 6, "M")}),
        (MiniVGGClassifier, {"module__widths": [4, 4], "module__hidden_units": 5}),
    ],
)
def test_network_is_the_trained_one_whatever_was_set_since(small_X, path, cls, params):
    net = cls(**QUICK, **params).fit(small_X, np.arange(24) % 3)
    expected = net.predict_proba(small_X)
    net.set_params(module__hidden_units=(7, 7) if cls is LeNet5Classifier else 7)
    loaded = round_trip(net, path)
    np.testing.assert_array_equal(loaded.predict_proba(small_X), expected)
    assert str(loaded.module_) == str(net.module_)


def test_three_channels_and_padded_rows(path):
    rng = np.random.default_rng(0)
    for X in (rng.random((24, 3, 6, 9)), rng.random((24, 50))):
        net = fit_small(X)
        loaded = round_trip(net, path)
        assert loaded.image_shape_ == net.image_shape_
        np.testing.assert_array_equal(loaded.predict_proba(X), net.predict_proba(X))


def test_frozen_layers_stay_frozen(small_X, path):
    freezer = skorch.callbacks.Freezer("c1.*")
    net = fit_small(small_X, callbacks=[freezer])
    net.set_params(callbacks=None)
    loaded = round_trip(net, path)
    assert loaded.n_parameters_ == net.n_parameters_
    assert not loaded.module_.c1.conv.weight.requires_grad


def test_partial_fit_goes_on(small_X, path):
    y = np.arange(24) % 3
    net = LeNet5Classifier(random_state=0)
    net.partial_fit(small_X, y, classes=[0, 1, 2])
    state = str(net._seeds.rng.get_state())
    first, second = round_trip(net, path), load_model(path)
    assert str(net._seeds.rng.get_state()) == state
    for loaded in (first, second):
        loaded.partial_fit(small_X, y)
        assert loaded.n_iter_ == 2
    np.testing.assert_array_equal(
        first.predict_proba(small_X), second.predict_proba(small_X)
    )
    assert not np.array_equal(first.predict_proba(small_X), net.predict_proba(small_X))


def test_warm_start_goes_on_with_the_same_split(small_X, path):
    y = np.arange(24) % 3
    # SGD without momentum has no state that a file could lack.
    net = fit_small(small_X, warm_start=True, optimizer=torch.optim.SGD)
    loaded = round_trip(net, path)
    for estimator in (net, loaded):
        estimator.fit(small_X, y)
    assert loaded.n_iter_ == net.n_iter_ == 4
    np.testing.assert_array_equal(
        loaded.predict_proba(small_X), net.predict_proba(small_X)
    )


class OwnSGD(torch.optim.SGD):
    pass


def test_what_cannot_be_stored_is_left_out_with_a_warning(small_X, path):
    net = fit_small(
        small_X,
        random_state=np.random.RandomState(0),
        augment=lambda images, generator: images,
        optimizer=OwnSGD,
        optimizer__momentum=0.9,
        iterator_valid=torch.utils.data.DataLoader,
        iterator_valid__num_workers=0,
        callbacks=[("scores", skorch.callbacks.PassthroughScoring("train_loss"))],
        callbacks__scores__lower_is_better=True,
        batch_size=8,
    )
    with pytest.warns(UserWarning, match="leaves out") as record:
        save_model(net, path)
    assert record[0].filename == __file__
    names = str(record[0].message).rpartition(": ")[2].split(", ")
    assert names == [
        "augment",
        "callbacks",
        "callbacks__scores__lower_is_better",
        "iterator_valid",
        "iterator_valid__num_workers",
        "optimizer",
        "optimizer__momentum",
        "random_state",
    ]
    loaded = load_model(path)
    expected = LeNet5Classifier(**{**QUICK, "random_state": None}, batch_size=8)
    assert loaded.get_params() == expected.get_params()
    np.testing.assert_array_equal(
        loaded.predict_proba(small_X), net.predict_proba(small_X)
    )


def test_history_keeps_what_callbacks_recorded(small, path):
    net = copy.deepcopy(small)
    net.history_.record("score", np.float32(0.5))
    net.history_.record("nan", float("nan"))
    net.history_.record("tensor", torch.zeros(1))
    net.history_[-1]["batches"].append({"train_loss": 1.0})
    with pytest.warns(UserWarning, match=r"history_\[:, 'tensor'\]"):
        save_model(net, path)
    row = load_model(path).history_[-1]
    assert row["score"] == 0.5
    assert np.isnan(row["nan"])
    assert row["batches"] == [{}]  # an empty one, as fits leave it
    assert "tensor" not in row


def test_no_pickle(small, path, monkeypatch):
    def fail(*args, **kwargs):
        raise AssertionError("pickle was used")

    for module, name in [
        (pickle, "load"),
        (pickle, "loads"),
        (pickle, "dump"),
        (pickle, "dumps"),
        (pickle, "Unpickler"),
        (torch, "load"),
        (torch, "save"),
    ]:
        monkeypatch.setattr(module, name, fail)
    round_trip(small, path)
    content = path.read_bytes()
    length = int.from_bytes(content[:8], "little")
    assert "__metadata__" in json.loads(content[8 : 8 + length])


def test_global_random_states_stay(small, path):
    numpy_state, torch_state = np.random.get_state(), torch.get_rng_state()
    round_trip(small, path)
    assert str(np.random.get_state()) == str(numpy_state)
    assert torch.equal(torch.get_rng_state(), torch_state)
