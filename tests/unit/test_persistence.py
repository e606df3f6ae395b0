import copy
import json
import os
import pickle
import re
import sys
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import safetensors.numpy
import skorch.callbacks
import torch
import torch.nn.utils.prune
from safetensors.numpy import save_file
from sklearn.base import clone
from sklearn.ensemble import VotingClassifier
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline

import fmnist_sklearn
from fmnist_sklearn import LeNet5Classifier, MiniVGGClassifier
from fmnist_sklearn.persistence import inspect_model, load_model, save_model
from fmnist_sklearn.storage.container import read_container, write_container

QUICK = {"max_epochs": 2, "patience": None, "random_state": 0}


@pytest.fixture(params=["lenet5", "mini_vgg"])
def net(request):
    """Each of the shared nets; not to be changed."""
    return request.getfixturevalue(request.param)


@pytest.fixture(scope="module")
def small_X():
    """24 images on which a fit takes no time."""
    return np.random.default_rng(0).integers(0, 256, (24, 64), dtype=np.uint8)


@pytest.fixture(scope="module")
def small(small_X):
    """A fitted net; not to be changed."""
    return LeNet5Classifier(**QUICK).fit(small_X, np.arange(24) % 3)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "net.safetensors"


def round_trip(net, path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        save_model(net, path)
    return load_model(path)


def fit_small(X, y=None, **params):
    return LeNet5Classifier(**{**QUICK, **params}).fit(
        X, np.arange(len(X)) % 3 if y is None else y
    )


def tamper(path, change):
    """Change the JSON of a file, which gets a sound checksum again."""
    arrays, meta = read_container(path, kind="model")
    change(meta)
    write_container(path, arrays, meta, kind="model")


# Round trips ----------------------------------------------------------------------


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


# Going on -------------------------------------------------------------------------


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


# Left out -------------------------------------------------------------------------


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


# Refusals -------------------------------------------------------------------------


def test_other_estimators_are_refused(small, path):
    class Own(LeNet5Classifier):
        pass

    for estimator in (Own(), make_pipeline(small), None, "net"):
        name = type(estimator).__name__
        with pytest.raises(TypeError, match=f"MiniVGGClassifier, got .* {name}"):
            save_model(estimator, path)


def test_an_unfitted_estimator_is_refused(path):
    with pytest.raises(NotFittedError):
        save_model(LeNet5Classifier(), path)


def test_invalid_parameters_are_refused(small, path):
    net = copy.deepcopy(small).set_params(module__hiden_units=(8,))
    with pytest.raises(ValueError, match="did you mean module__hidden_units"):
        save_model(net, path)


def test_paths(small, small_X, tmp_path):
    save_model(small, str(tmp_path / "a"))
    loaded = load_model(str(tmp_path / "a"))
    np.testing.assert_array_equal(loaded.predict(small_X), small.predict(small_X))
    with pytest.raises(FileNotFoundError, match=r"no folder .*missing; make it first"):
        save_model(small, tmp_path / "missing" / "a")
    with pytest.raises(FileNotFoundError):
        load_model(tmp_path / "b")
    assert [file.name for file in tmp_path.iterdir()] == ["a"]


@pytest.mark.skipif(sys.platform == "win32", reason="no FIFOs on Windows")
@pytest.mark.parametrize("use", [load_model, inspect_model])
def test_what_is_no_file_is_not_waited_for(small, tmp_path, use):
    os.mkfifo(tmp_path / "fifo")
    for path, kind in ((tmp_path / "fifo", "FIFO"), (tmp_path, "folder")):
        with pytest.raises(OSError, match=f"is a {kind}, expected a regular file"):
            use(path)
        with pytest.raises(OSError, match=f"is a {kind}, expected a regular file"):
            save_model(small, path)


@pytest.mark.parametrize("n_bytes", [0, 7, 100, 5000, -1])
def test_truncated_file(small, path, n_bytes):
    save_model(small, path)
    path.write_bytes(path.read_bytes()[:n_bytes])
    with pytest.raises(ValueError, match=r"net\.safetensors is .*truncated"):
        load_model(path)


def test_damaged_file(small, path):
    save_model(small, path)
    content = bytearray(path.read_bytes())
    content[-9] ^= 1
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"net\.safetensors is damaged"):
        load_model(path)


def test_foreign_files(path):
    save_file({"weight": np.ones(3)}, path)
    with pytest.raises(ValueError, match=r"net\.safetensors is not a file written by"):
        load_model(path)
    path.write_bytes(pickle.dumps("hello"))
    with pytest.raises(ValueError, match=r"net\.safetensors is not a file written by"):
        load_model(path)
    write_container(path, {}, {}, kind="fit")
    with pytest.raises(ValueError, match=r"net\.safetensors holds a 'fit'"):
        load_model(path)
    write_container(path, {}, {}, kind="model")
    with pytest.raises(ValueError, match=r"net\.safetensors holds no model"):
        load_model(path)


@pytest.mark.parametrize(
    "name",
    [
        "system",
        "os.system",
        "builtins.eval",
        "Tensor",
        "lr_scheduler",
        "swap_in_optimizer_params_and_state",
        "__builtins__",
        ["Adam"],
        None,
    ],
)
def test_optimizer_must_be_one_of_torch(small, path, name):
    save_model(small, path)
    tamper(path, lambda meta: meta["params"].update(optimizer={"optimizer": name}))
    with pytest.raises(ValueError, match=r"net\.safetensors holds no model"):
        load_model(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"class": "OwnClassifier"}, "class is 'OwnClassifier', expected one of"),
        ({"class": "ImageClassifier"}, "class is 'ImageClassifier', expected one of"),
        ({"class": "MiniVGGClassifier"}, "model"),
        ({"params": {"learning": 0.1}}, "unexpected keyword argument 'learning'"),
        ({"params": {"modul__dropout": 0.1}}, "'modul__dropout' does not start"),
        ({"params": {"self": 0.1}}, "'self'"),
        ({"params": {"lr": {"eval": "1"}}}, "'1' as eval, which is not known"),
        ({"params": {"lr": "big"}}, "'lr' parameter"),
        ({"params": 3}, "model"),
        ({"state": {"module": {"n_classes": -3}}}, "for -3 classes"),
        ({"state": {"frozen": ["nothing"]}}, "freezes 'nothing'"),
        ({"state": {"frozen": ["scaling"]}}, "freezes 'scaling'"),
        ({"state": {"classes": {"dtype": "<i8", "labels": [1, 2]}}}, "2 labels for 3"),
        ({"state": {"classes": {"dtype": "M8[D]", "labels": [1]}}}, r"classes\.dtype"),
        ({"state": {"seeds": {}}}, "missing required"),
        ({"state": {"history": [1]}}, r"state\.history\[0\]"),
    ],
)
def test_tampered_content(small, path, change, message):
    save_model(small, path)
    state = change.pop("state", {})
    tamper(path, lambda meta: meta.update(change) or meta["state"].update(state))
    with pytest.raises(ValueError, match=rf"(?s)net\.safetensors holds no.*{message}"):
        load_model(path)


@pytest.mark.parametrize(
    "change",
    [
        lambda arrays: arrays.update({"c1.conv.bias": np.zeros(7, np.float32)}),
        lambda arrays: arrays.update({"c1.conv.bias": np.zeros(6, np.float64)}),
        lambda arrays: arrays.update({"c1.conv.bias.": arrays.pop("c1.conv.bias")}),
        lambda arrays: arrays.pop("c1.conv.bias"),
    ],
    ids=["shape", "dtype", "name", "missing"],
)
def test_weights_that_do_not_fit(small, path, change):
    save_model(small, path)
    arrays, meta = read_container(path, kind="model")
    change(arrays)
    write_container(path, arrays, meta, kind="model")
    with pytest.raises(
        ValueError, match=r"net\.safetensors .*do not fit the network: c1\.conv\.bias"
    ):
        load_model(path)


@pytest.mark.parametrize(
    ("wrap", "advice"),
    [
        (
            lambda net: make_pipeline(net),
            r"save its last step, pipeline\[-1\]; .*skops",
        ),
        (
            lambda net: searched(net),
            r"GridSearchCV: save its attribute best_estimator_$",
        ),
        (lambda net: searched(make_pipeline(net)), r"attribute best_estimator_\[-1\]$"),
        (lambda net: GridSearchCV(net, {}), "fit it with refit=True, and save its"),
        (lambda net: VotingClassifier([("a", net)]), "class VotingClassifier$"),
    ],
)
def test_wrappers_are_told_what_to_save(small, path, wrap, advice):
    with pytest.raises(TypeError, match=advice):
        save_model(wrap(small), path)
    assert not path.exists()


def searched(estimator):
    """Return a search that has found the estimator."""
    search = GridSearchCV(estimator, {})
    search.best_estimator_ = estimator
    return search


def test_a_network_of_other_layers_is_refused(small, path):
    def swap(net):
        net.module_.c1.activation = torch.nn.ReLU()

    def prune(net):
        torch.nn.utils.prune.l1_unstructured(net.module_.c3.conv, "weight", 0.3)

    def stride(net):
        net.module_.c1.norm.momentum = 0.5

    for change in (swap, prune, stride):
        net = copy.deepcopy(small)
        change(net)
        with pytest.raises(TypeError, match=r"layers were changed .* pickle or joblib"):
            save_model(net, path)
    assert not path.exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m: m.head.out.bias.fill_(np.nan), r"head\.out\.bias holds NaN"),
        (lambda m: m.c1.conv.weight.fill_(np.inf), r"c1\.conv\.weight holds NaN"),
        (lambda m: m.c1.norm.running_var.fill_(-1), r"running_var holds NaN or other"),
        (lambda m: m.scaling.std.zero_(), r"scaling\.std holds NaN or other"),
        (lambda m: m.double(), "do not fit the network"),
    ],
)
def test_weights_that_predict_nothing_are_refused(small, path, change, message):
    net = copy.deepcopy(small)
    with torch.no_grad():
        change(net.module_)
    with pytest.raises(ValueError, match=message):
        save_model(net, path)
    assert not path.exists()


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"optimizer__betas": (2.0, 0.9)}, "Invalid beta"),
        ({"optimizer__weight_decay": -1.0}, "Invalid weight_decay"),
        ({"criterion__weight": [1.0, 2.0, 3.0]}, "refuse the file"),
        ({"criterion__label_smoothing": 3.0}, "label_smoothing"),
        ({"iterator_train__num_workers": 3}, "not known to the default iterator"),
        ({"iterator_train__batch_size": 0}, "batch_size must be an integer"),
        ({"iterator_valid__shuffle": True}, "another order"),
        ({"lr_schedule": "one_cycle", "lr_schedule__pct_start": 7.0}, "pct_start"),
        ({"class_weight": {"coat": 2.0}}, "class_weight names"),
        ({"module__hidden_units": (0, 8)}, r"`int` >= 1 .*hidden_units\[0\]"),
        ({"module__hidden_units": [1] * 100}, "hidden_units"),
        ({"batch_size": 10**15}, "batch_size holds an integer of more than 32 bits"),
        ({"augment": {"shift": 10**6}}, r"augment\['shift'\]=1000000 is far beyond"),
        ({"image_shape": (1, 10**5, 10**5)}, "far beyond small images"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_parameters_that_fit_would_refuse_are_refused(small, path, params, message):
    net = copy.deepcopy(small).set_params(**params)
    with pytest.raises(ValueError, match=message):
        save_model(net, path)
    assert not path.exists()


@pytest.mark.parametrize("widths", [("M", 4), ["M"], (), ("M", "M", 8)])
def test_widths_that_no_network_has_are_refused(mini_vgg, path, widths):
    net = copy.deepcopy(mini_vgg).set_params(module__widths=widths)
    with pytest.raises(ValueError, match="widths"):
        save_model(net, path)
    assert not path.exists()


# What else a file says -------------------------------------------------------------


def test_saves_of_one_net_are_the_same_bytes(net, tmp_path):
    first, second, third = (tmp_path / name for name in "abc")
    save_model(net, first)
    save_model(pickle.loads(pickle.dumps(net)), second)
    save_model(load_model(first), third)
    assert first.read_bytes() == second.read_bytes() == third.read_bytes()


def test_summary(lenet5, y, path):
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
    assert summary.versions["torch"] == torch.__version__
    assert summary.versions["fmnist_sklearn"] == fmnist_sklearn.__version__
    assert summary.versions["format"] == "2"
    assert summary.size == path.stat().st_size
    assert len(summary.sha256) == 64
    assert summary.params == lenet5.get_params()
    lines = str(summary).splitlines()
    assert lines[-1] == (
        "params        batch_size=32, lr=0.01, max_epochs=2, random_state=0, "
        "validation_fraction=0.2"
    )
    assert lines[1].split() == ["model", "LeNet5Classifier"]
    assert "n_parameters  61,750" in lines
    assert re.fullmatch(r"fit_ended +\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", lines[9])


def test_summary_of_a_net_that_was_only_begun(small_X, path):
    net = LeNet5Classifier(random_state=0)
    net.partial_fit(small_X, np.arange(24) % 3, classes=[0, 1, 2])
    save_model(net, path)
    summary = inspect_model(path)
    assert summary.accuracy is None
    assert "accuracy" not in str(summary)
    save_model(LeNet5Classifier(random_state=0).initialize(), path)
    assert inspect_model(path).n_epochs == 0


def test_summary_is_safe_to_print(small, path):
    metadata = {"\x1b[31m": "\x1b]0;title\x07" + "x" * 5000}
    save_model(small, path, metadata=metadata)
    text = str(inspect_model(path))
    assert "\x1b" not in text
    assert max(map(len, text.splitlines())) < 500


def test_summary_builds_no_network(small, path, monkeypatch):
    save_model(small, path)
    monkeypatch.setattr("fmnist_sklearn.estimators._schema.build_module", None)
    assert inspect_model(path).n_parameters == small.n_parameters_
    with pytest.raises(ValueError, match="holds no model"):
        load_model(path)


@pytest.mark.parametrize(
    "metadata",
    [
        {"a": [1]},
        {"a": float("nan")},
        {1: "a"},
        {"a": "x" * 10_001},
        {"a" * 201: 1},
        {str(i): i for i in range(101)},
        {"a": b"x"},
    ],
    ids=range(7),
)
def test_metadata_out_of_bounds(small, path, metadata):
    with pytest.raises(ValueError, match=r"load_model would refuse|JSON compliant"):
        save_model(small, path, metadata=metadata)
    assert not path.exists()


def test_arguments_of_save_model(small, path):
    with pytest.raises(ValueError, match=r"refuse.*preparation"):
        save_model(small, path, preparation="crop")
    with pytest.raises(ValueError, match='on_unstorable must be "warn" or "raise"'):
        save_model(small, path, on_unstorable="ignore")


def test_what_cannot_be_stored_is_refused_by_name(small, path):
    net = copy.deepcopy(small).set_params(
        callbacks=[skorch.callbacks.EpochTimer()], augment=lambda images, rng: images
    )
    with pytest.raises(TypeError, match="could hold augment, callbacks; pass on_un"):
        save_model(net, path, on_unstorable="raise")
    assert not path.exists()


# Devices ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "device", ["mps", "xpu", "hpu", "xla", "meta", "privateuseone", "cuda:7", "vulkan"]
)
def test_devices_of_other_machines(small, small_X, path, same_predictions, device):
    net = copy.deepcopy(small).set_params(device=device)
    loaded = round_trip(net, path)
    for each in (loaded, pickle.loads(pickle.dumps(net))):
        assert each.device == device
        assert same_predictions(each, small, small_X)
    here = load_model(path, device="cpu")
    assert here.device == "cpu"
    assert here.fit(small_X, np.arange(24) % 3).n_iter_ == 2


def test_device_asked_for(small, path):
    save_model(small, path)
    assert load_model(path, device=torch.device("cpu")).device == torch.device("cpu")
    for device in ("xpu", "nonsense", 3.5):
        with pytest.raises(ValueError, match="device"):
            load_model(path, device=device)


# Format 1 --------------------------------------------------------------------------

FORMAT_1 = Path(__file__).parent / "data"


def test_a_lenet5_of_format_1():
    net = load_model(FORMAT_1 / "format_1_lenet5.safetensors")
    arrays = safetensors.numpy.load_file(FORMAT_1 / "format_1_lenet5.safetensors")
    for name, value in net.module_.state_dict().items():
        np.testing.assert_array_equal(value.numpy(), arrays[name], strict=True)
    params = {
        "batch_size": 8,
        "max_epochs": 2,
        "device": "cpu",
        "optimizer": torch.optim.SGD,
        "optimizer__momentum": 0.9,
        "module__hidden_units": (10, 6),
        "augment": {"flip": 0.5, "shift": 1},
        "class_weight": {"bag": 2.0, "coat": 1.0, "shoe": 1.0},
        "random_state": 0,
    }
    assert net.get_params() == LeNet5Classifier(**params).get_params()
    assert net.classes_.tolist() == ["bag", "coat", "shoe"]
    assert net.n_iter_ == 2
    assert np.isnan(net.history_[-1, "odd"])
    X = np.random.default_rng(0).integers(0, 256, (24, 64), dtype=np.uint8)
    expected = [
        [0.22886877, 0.52839957, 0.24273166],
        [0.22728333, 0.52728645, 0.24543022],
    ]
    np.testing.assert_allclose(net.predict_proba(X)[:2], expected, atol=1e-6)
    net.partial_fit(X, net.classes_[np.arange(24) % 3])


def test_a_minivgg_of_format_1(tmp_path, same_predictions):
    path = FORMAT_1 / "format_1_minivgg.safetensors"
    net = load_model(path)
    Z = np.random.default_rng(0)
    Z.integers(0, 256, (24, 64), dtype=np.uint8)
    Z = Z.random((24, 3, 6, 9))
    expected = [[0.59129492, 0.40870508], [0.59435723, 0.40564277]]
    np.testing.assert_allclose(net.predict_proba(Z)[:2], expected, atol=1e-6)
    summary = inspect_model(path)
    assert summary.versions == {"format": "1"}
    assert summary.n_parameters == net.n_parameters_
    save_model(net, tmp_path / "again")
    assert inspect_model(tmp_path / "again").versions["format"] == "2"
    assert same_predictions(load_model(tmp_path / "again"), net, Z)


# Side effects ---------------------------------------------------------------------


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


def test_device_that_this_machine_lacks(small, small_X, path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    net = copy.deepcopy(small).set_params(device="cuda")
    loaded = round_trip(net, path)
    assert loaded.device == "cuda"
    assert loaded.device_ == torch.device("cpu")
    np.testing.assert_array_equal(loaded.predict(small_X), small.predict(small_X))


def test_memory_stays_on_this_machine(small_X, path, tmp_path):
    folder = tmp_path / "fits"
    nets = [fit_small(small_X, memory=memory) for memory in (folder, str(folder))]
    for net in nets:
        assert round_trip(net, path).memory is None

    tamper(path, lambda meta: meta["params"].update(memory=str(tmp_path / "other")))
    with pytest.raises(ValueError, match="it sets memory, and so a folder"):
        load_model(path)
