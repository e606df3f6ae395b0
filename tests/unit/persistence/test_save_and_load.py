"""What is read from a file is what was saved."""

import copy
import json
import pickle
import re

import numpy as np
import pandas as pd
import pytest
import skorch.callbacks
import torch
from sklearn.base import clone

import fmnist_sklearn
from fmnist_sklearn import LeNet5Classifier, MiniVGGClassifier
from fmnist_sklearn.persistence import inspect_model, load_model, save_model
from fmnist_sklearn.storage import read_container, write_container

from .conftest import QUICK, fit_small, round_trip


@pytest.mark.parametrize("name", ["lenet5", "mini_vgg"])
def test_loaded_model_is_the_saved_one(name, X, path, request):
    net, X = request.getfixturevalue(name), X[:60]
    loaded = round_trip(net, path)
    assert type(loaded) is type(net)
    for method in ("predict_proba", "predict"):
        predicted, expected = getattr(loaded, method)(X), getattr(net, method)(X)
        np.testing.assert_array_equal(predicted, expected, strict=True)
    names = "n_features_in_ image_shape_ n_iter_ best_epoch_ n_parameters_ fit_time_"
    for name in [*names.split(), "device_", "precision_", "history_"]:
        value, expected = getattr(loaded, name), getattr(net, name)
        assert type(value) is type(expected), name
        assert value == expected, name
    assert not hasattr(loaded, "feature_names_in_")
    assert repr(loaded) == repr(net)


def test_loaded_model_can_be_cloned_pickled_and_saved_again(
    small, small_X, tmp_path, same_predictions
):
    first, second, third = (tmp_path / name for name in "abc")
    save_model(small, first)
    loaded = load_model(str(first))
    save_model(pickle.loads(pickle.dumps(small)), second)
    save_model(pickle.loads(pickle.dumps(loaded)), third)
    assert first.read_bytes() == second.read_bytes() == third.read_bytes()
    assert clone(loaded).get_params() == small.get_params()
    refitted = clone(loaded).fit(small_X, np.arange(24) % 3)
    assert same_predictions(refitted, small, small_X)


@pytest.mark.parametrize(
    "labels",
    [
        np.array([3, 7, 255], dtype=np.uint8),
        np.array([-(2**63), 0, 2**63 - 1]),
        np.array([0, 1, 2**64 - 1], dtype=np.uint64),
        np.array([0.0, 1.0, 2.0], dtype=np.float32),
        np.array([False, True, True]),
        np.array(["", "Coat", "Höschen \U0001f456"]),
        np.array(["Bag", "Coat", "Dress"], dtype=object),
    ],
    ids=lambda labels: f"{labels.dtype}-{labels[-1]}",
)
def test_labels_keep_their_type(small_X, path, labels):
    net = fit_small(small_X, labels[np.arange(24) % 3])
    loaded = round_trip(net, path)
    np.testing.assert_array_equal(loaded.classes_, net.classes_, strict=True)
    assert list(map(type, loaded.classes_)) == list(map(type, net.classes_))
    predicted = loaded.predict(small_X)
    np.testing.assert_array_equal(predicted, net.predict(small_X), strict=True)


def test_feature_names_of_a_data_frame_and_padded_rows(path, same_predictions):
    rows = np.random.default_rng(0).random((24, 50))  # of 64 pixels
    X = pd.DataFrame(rows, columns=[f"pixel{i}" for i in range(50)])
    net = fit_small(X)
    loaded = round_trip(net, path)
    names = net.feature_names_in_
    np.testing.assert_array_equal(loaded.feature_names_in_, names, strict=True)
    assert same_predictions(loaded, net, X)
    with pytest.raises(ValueError, match="feature names"):
        loaded.predict(X[X.columns[::-1]])


def test_parameters_are_kept_as_plain_values(small_X, path):
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
    ("cls", "params"),
    [
        (LeNet5Classifier, {"module__hidden_units": (16,), "module__dropout": 0.2}),
        (LeNet5Classifier, {"module__hidden_units": (), "image_shape": (4, 4, 4)}),
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


def test_frozen_layers_stay_frozen(small_X, path):
    net = fit_small(small_X, callbacks=[skorch.callbacks.Freezer("c1.*")])
    net.set_params(callbacks=None)
    loaded = round_trip(net, path)
    assert loaded.n_parameters_ == net.n_parameters_
    assert not loaded.module_.c1.conv.weight.requires_grad
    assert inspect_model(path).n_parameters == net.n_parameters_


def test_partial_fit_continues(small_X, path, same_predictions):
    y = np.arange(24) % 3
    net = LeNet5Classifier(random_state=0).partial_fit(small_X, y, classes=[0, 1, 2])
    state = str(net._seeds.rng.get_state())
    first, second = round_trip(net, path), load_model(path)
    assert str(net._seeds.rng.get_state()) == state
    for loaded in (first, second):
        loaded.partial_fit(small_X, y)
        assert loaded.n_iter_ == 2
    assert same_predictions(first, second, small_X)
    assert not same_predictions(first, net, small_X)


class OwnSGD(torch.optim.SGD):
    pass


def test_unstorable_parameters_are_left_out_with_a_warning(
    small_X, path, same_predictions
):
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
    assert same_predictions(loaded, net, small_X)


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


def test_save_and_load_use_no_pickle_and_no_global_random_state(
    small, path, monkeypatch
):
    def fail(*args, **kwargs):
        raise AssertionError("pickle was used")

    for name in ("load", "loads", "dump", "dumps", "Unpickler"):
        monkeypatch.setattr(pickle, name, fail)
    monkeypatch.setattr(torch, "load", fail)
    monkeypatch.setattr(torch, "save", fail)
    numpy_state, torch_state = np.random.get_state(), torch.get_rng_state()
    round_trip(small, path)
    assert str(np.random.get_state()) == str(numpy_state)
    assert torch.equal(torch.get_rng_state(), torch_state)
    content = path.read_bytes()
    length = int.from_bytes(content[:8], "little")
    assert "__metadata__" in json.loads(content[8 : 8 + length])


# Other machines: their devices and folders


@pytest.mark.parametrize("device", ["mps", "xpu", "meta", "cuda:7", "cuda", "vulkan"])
def test_device_of_another_machine_becomes_the_cpu(
    small, small_X, path, same_predictions, device, monkeypatch
):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    net = copy.deepcopy(small).set_params(device=device)
    loaded = round_trip(net, path)
    for each in (loaded, pickle.loads(pickle.dumps(net))):
        assert each.device == device
        assert each.device_ == torch.device("cpu")
        assert same_predictions(each, small, small_X)
    here = load_model(path, device="cpu")
    assert here.device == "cpu"
    assert here.fit(small_X, np.arange(24) % 3).n_iter_ == 2


def test_device_argument_replaces_the_one_of_the_file(small, path):
    save_model(small, path)
    assert load_model(path, device=torch.device("cpu")).device == torch.device("cpu")
    for device in ("xpu", "nonsense", 3.5):
        with pytest.raises(ValueError, match="device"):
            load_model(path, device=device)


def test_memory_is_not_stored(small_X, path, tmp_path):
    assert round_trip(fit_small(small_X, memory=tmp_path / "a"), path).memory is None
    arrays, meta, *_ = read_container(path, kind="model")
    meta["params"]["memory"] = str(tmp_path / "other")
    write_container(path, arrays, meta, kind="model")
    with pytest.raises(ValueError, match="it sets memory, and so a folder"):
        load_model(path)


# inspect_model


def test_summary_describes_the_model(lenet5, y, path):
    metadata = {"data": "shoes", "version": 3, "share": 0.5, "old": None, "new": True}
    save_model(lenet5, path, metadata=metadata, preparation="clothing")
    summary = inspect_model(path)
    assert summary.model == "LeNet5Classifier"
    assert summary.n_parameters == lenet5.n_parameters_ == 61_750
    assert summary.image_shape == (1, 28, 28)
    assert summary.classes == np.unique(y).tolist()
    assert summary.n_epochs == lenet5.n_iter_
    assert summary.best_epoch == lenet5.best_epoch_
    assert summary.accuracy == lenet5.history_[lenet5.best_epoch_ - 1, "valid_acc"]
    assert summary.fit_time == lenet5.fit_time_
    assert summary.preparation == "clothing"
    assert summary.metadata == metadata
    assert summary.versions == {
        "fmnist_sklearn": fmnist_sklearn.__version__,
        "torch": torch.__version__,
        "format": "3",
    }
    assert summary.size == path.stat().st_size
    assert len(summary.sha256) == 64
    assert summary.params == lenet5.get_params()
    lines = str(summary).splitlines()
    assert lines[-1] == (
        "params        batch_size=32, max_epochs=2, random_state=0, "
        "validation_fraction=0.2"
    )
    assert lines[1].split() == ["model", "LeNet5Classifier"]
    assert "n_parameters  61,750" in lines
    assert re.fullmatch(r"fit_ended +\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", lines[9])


def test_summary_of_a_net_without_validation(small_X, path):
    save_model(LeNet5Classifier(random_state=0).initialize(), path)
    assert inspect_model(path).n_epochs == 0
    net = LeNet5Classifier(random_state=0)
    net.partial_fit(small_X, np.arange(24) % 3, classes=[0, 1, 2])
    save_model(net, path)
    summary = inspect_model(path)
    assert summary.accuracy is None
    assert "accuracy" not in str(summary)


def test_summary_is_safe_to_print_and_builds_no_network(small, path, monkeypatch):
    metadata = {"\x1b[31m": "\x1b]0;title\x07" + "x" * 5000}
    save_model(small, path, metadata=metadata)
    monkeypatch.setattr("fmnist_sklearn.estimators.state.build_module", None)
    text = str(inspect_model(path))
    assert "\x1b" not in text
    assert max(map(len, text.splitlines())) < 500
