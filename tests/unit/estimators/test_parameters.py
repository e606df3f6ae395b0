"""The constructor's parameters: stored, set, checked, cloned and shown."""

import copy
import inspect
import pickle
import re

import numpy as np
import pytest
import torch
from sklearn.base import clone, is_classifier
from sklearn.exceptions import NotFittedError
from torch.utils.data import DataLoader

from fmnist_sklearn import (
    RECIPES,
    ImageClassifier,
    LeNet5Classifier,
    MiniVGGClassifier,
    load_model,
    save_model,
)


def test_constructor_names_and_stores_its_parameters(kind):
    names = [
        name
        for name, parameter in inspect.signature(kind).parameters.items()
        if parameter.kind is parameter.KEYWORD_ONLY
    ]
    assert list(kind().get_params()) == sorted(names)
    assert not any(name.endswith("_") or name.startswith("_") for name in names)
    nested = {"module__hidden_units": 7, "optimizer__eps": 1e-6}
    assert kind(**nested).get_params() == kind().get_params() | nested
    odd = {name: object() for name in names}
    assert all(getattr(kind(**odd), name) is value for name, value in odd.items())


def test_constructors_share_the_text_of_their_parameters():
    """But for defaults, and for the precision that each network gains from."""

    def text(cls):
        doc = inspect.getdoc(cls)
        doc = doc[doc.index("Parameters\n") : doc.index("See Also\n")]
        doc = re.sub(r"as many as make .*? at most \d+", "", doc, flags=re.DOTALL)
        doc = re.sub(r"Arithmetic of .*?in\s+float32\.", "", doc, flags=re.DOTALL)
        # What they have of their own, and an example of a nested name.
        for own in (
            r"(module|lr|dropout|module_) : .*?(?=\n\S)",
            r"``module__\w+=\.\.\.``.*?(?=\n\n)",
        ):
            doc = re.sub(own, "", doc, flags=re.DOTALL)
        return re.sub(r"default=\S+|\s+", "", doc)

    assert text(LeNet5Classifier) == text(MiniVGGClassifier) == text(ImageClassifier)


def test_set_params_only_stores(lenet5, X):
    net = copy.deepcopy(lenet5)
    before = net.predict_proba(X)
    changes = {
        "lr": 0.5,
        "dropout": 0.9,
        "optimizer": torch.optim.SGD,
        "module__hidden_units": (5,),
        "optimizer__momentum": 0.3,
        "pixel_scaling": "symmetric",
        "image_shape": (1, 14, 56),
        "class_weight": "balanced",
        "random_state": 5,
        "precision": "bfloat16",
        "callbacks": [],
        "augment": {"flip": 0.5},
        "batch_size": 3,
        "iterator_train": DataLoader,
        "device": "cpu",
    }
    assert net.set_params(**changes) is net
    assert net.get_params() == lenet5.get_params() | changes
    assert np.array_equal(net.predict_proba(X), before)


# Numbers of NumPy ---------------------------------------------------------------------

SOME = RECIPES["accurate"]["LeNet5Classifier"] | {
    "max_epochs": 2,
    "image_shape": (1, 28, 28),
    "class_weight": {label: 1 + label / 16 for label in range(10)},
    "random_state": 3,
    "module__hidden_units": [16, 8],
    "optimizer__betas": (0.5, 0.75),
    "iterator_train__drop_last": False,
}


def as_numpy(value):
    if isinstance(value, dict):
        return {as_numpy(key): as_numpy(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(map(as_numpy, value))
    is_plain = isinstance(value, bool | int | float | str)
    return np.asarray(value)[()] if is_plain else value


def test_numbers_of_numpy_are_those_of_python(X, y, tmp_path):
    params = {name: as_numpy(value) for name, value in SOME.items()}
    net = LeNet5Classifier(**params).set_params(memory=tmp_path / "fits").fit(X, y)
    assert repr(net.set_params(memory=None)) == repr(LeNet5Classifier(**SOME))
    cached = LeNet5Classifier(**SOME, memory=tmp_path / "fits")
    assert clone(cached).fit(X, y).from_memory_
    save_model(net, tmp_path / "net.safetensors")
    assert repr(load_model(tmp_path / "net.safetensors")) == repr(net)
    net.lr = np.float32(0.5)
    assert type(net.lr) is float
    net.set_params(module__hidden_units=np.array([16, 8])).fit(X, y)
    with pytest.warns(UserWarning, match="leaves out .*: module__hidden_units"):
        save_model(net, tmp_path / "net.safetensors")


# Refused names and values -------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "likely"),
    [
        ("batchsize", "batch_size"),
        ("learning_rate_schedule", "lr_schedule"),
        ("learning_rate", "lr"),
        ("xyzzy", None),
        # With too few underscores
        ("iterator_train_shuffle", "iterator_train__shuffle"),
        ("optimizer_momentum", "optimizer__momentum"),
        ("criterion_label_smoothing", "criterion__label_smoothing"),
        ("lr_schedule_pct_start", "lr_schedule__pct_start"),
        # Parameters of skorch that the estimators do not have
        *(("module", None), ("criterion", None), ("classes", None), ("dataset", None)),
        *(("history", None), ("compile", None), ("predict_nonlinearity", None)),
        *(("torch_load_kwargs", None), ("use_caching", None)),
    ],
)
def test_misspelt_names(name, likely):
    suggestion = f"; did you mean {likely}\\?" if likely else ""
    match = f"unexpected keyword argument '{name}'{suggestion}"
    with pytest.raises(TypeError, match=match):
        LeNet5Classifier(**{name: 1})
    match = f"Invalid parameter '{name}' for .*LeNet5Class.*{suggestion}"
    net = LeNet5Classifier()
    with pytest.raises(ValueError, match=match):
        net.set_params(lr=3, **{name: 1})
    assert vars(net) == vars(LeNet5Classifier())  # all or nothing is stored


@pytest.mark.parametrize(
    ("name", "match"),
    [
        ("modul__dropout", r"unexpected argument\(s\) modul__dropout"),
        ("module__hiden_units", "unexpected keyword argument 'hiden_units'"),
        ("optimizer__weight_decai", "unexpected keyword argument 'weight_decai'"),
        ("criterion__reduction", "multiple values for .* 'reduction'"),
        ("iterator_train__batchsize", "iterator_train__batchsize"),
        (
            "iterator_train__num_workers",
            r"iterator_train__num_wor.*iterator_train=torch\.utils\.data\.DataLoader",
        ),
    ],
)
def test_double_underscore_names_are_checked_in_fit(X, y, quick, name, match):
    net = LeNet5Classifier(**quick, **{name: 1})
    with pytest.raises((TypeError, ValueError), match=match):
        net.fit(X, y)


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("lr", [0, "fast"]),
        ("batch_size", [0, 1.5]),
        ("max_epochs", [0]),
        ("patience", [0, "never"]),
        ("validation_fraction", [1.0, -0.1]),
        ("shuffle", ["yes"]),
        ("dropout", [1.0]),
        ("optimizer", ["adam"]),
        ("lr_schedule", ["linear"]),
        ("augment", ["flip"]),
        ("label_smoothing", [1.0]),
        ("ema_decay", [1.0]),
        ("distillation_weight", [1.1, -0.1]),
        ("distillation_temperature", [0]),
        ("predict_flip", ["yes"]),
        ("pixel_scaling", ["minmax"]),
        ("image_shape", [28]),
        ("class_weight", ["even"]),
        ("device", [0.5, None]),
        ("precision", ["float16"]),
        ("random_state", ["seed"]),
        ("warm_start", ["yes"]),
        ("callbacks", [3]),
        ("train_split", [0.2, False]),
    ],
)
def test_values_out_of_range(X, y, quick, name, values):
    for value in values:
        net = LeNet5Classifier(**quick | {name: value})
        match = rf"'{name}' parameter.*Got {value!r} instead"
        with pytest.raises(ValueError, match=match):
            net.fit(X, y)


def test_patience_needs_validation_rows(X, y, quick):
    quick |= {"validation_fraction": 0}
    with pytest.raises(ValueError, match="patience=3 needs a validation part"):
        LeNet5Classifier(**quick, patience=3).fit(X, y)
    for patience in ("auto", None):
        net = LeNet5Classifier(**quick, patience=patience).fit(X, y)
        assert not net.module_.training
        assert net.n_iter_ == net.best_epoch_ == 2
        assert net.history_[0, "train_batch_count"] == 8
        assert "valid_loss" not in net.history_[0]


def test_image_shape_must_fit_the_data(X, y, quick):
    net = LeNet5Classifier(**quick, image_shape=(3, 16, 16))
    with pytest.raises(ValueError, match=r"image_shape=\(3, 16, 16\) holds 768 pixels"):
        net.fit(X, y)
    with pytest.raises(ValueError, match=r"expects \(3, 16, 16\)"):
        net.fit(X.reshape(-1, 28, 28), y)


# clone, repr, tags --------------------------------------------------------------------


def test_clone_in_every_state(X, y, quick, lenet5):
    fresh = LeNet5Classifier(**quick, module__dropout=0.1)
    initialized = LeNet5Classifier(**quick).initialize()
    partial = LeNet5Classifier(**quick).partial_fit(X, y, classes=np.arange(10))
    loaded = pickle.loads(pickle.dumps(lenet5))
    for net in (fresh, initialized, partial, lenet5, loaded, clone(fresh)):
        copied = clone(net)
        assert copied.get_params() == net.get_params()
        nested = vars(copied).get("_nested", {}).keys()
        assert vars(copied).keys() - {"_nested"} | nested == net.get_params().keys()
        with pytest.raises(NotFittedError, match="not fitted yet"):
            copied.predict(X)


def test_tags(kind):
    tags = kind().__sklearn_tags__()
    assert is_classifier(kind())
    assert tags.input_tags.two_d_array
    assert tags.input_tags.three_d_array
    assert not tags.input_tags.allow_nan
    assert not tags.input_tags.sparse
    assert tags.target_tags.required
    assert tags.classifier_tags.multi_class
