"""Whatever PyTorch is set to around a call, the call gives what it always gives."""

import contextlib
import pickle

import numpy as np
import pytest
import torch

from fmnist_sklearn import (
    LeNet5Classifier,
    MiniVGGClassifier,
    load_model,
    save_model,
)
from fmnist_sklearn.training.device import repeatable_cudnn


@contextlib.contextmanager
def default_dtype(dtype):
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


@contextlib.contextmanager
def deterministic():
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(False)


SETTINGS = {
    "float64": lambda: default_dtype(torch.float64),
    "float16": lambda: default_dtype(torch.float16),
    "bfloat16": lambda: default_dtype(torch.bfloat16),
    "device meta": lambda: torch.device("meta"),
    "no_grad": torch.no_grad,
    "inference_mode": torch.inference_mode,
    "autocast": lambda: torch.autocast("cpu", dtype=torch.bfloat16),
    "deterministic": deterministic,
}
KINDS = [
    (LeNet5Classifier, {"augment": {"flip": 0.5, "shift": 1, "erase": 3}}),
    (
        MiniVGGClassifier,
        {"module__widths": (4, "M", 6, "M"), "module__hidden_units": 8, "dropout": 0.2},
    ),
]


@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize(("cls", "params"), KINDS)
@pytest.mark.parametrize("layout", ["bytes", "floats"])
def test_fit_and_predict(X, y, setting, cls, params, layout, tmp_path):
    X, y = X[:80], y[:80]
    X = X if layout == "bytes" else X / 255.0
    params = {"max_epochs": 2, "random_state": 0, "precision": "float32", **params}
    expected = cls(**params).fit(X, y)
    probabilities = expected.predict_proba(X)

    with SETTINGS[setting]():
        net = cls(**params).fit(X, y)
        inside = net.predict_proba(X)
        of_earlier = expected.predict_proba(X)
        pickled = pickle.dumps(net)
        save_model(net, tmp_path / "inside.safetensors")
        loaded = load_model(tmp_path / "inside.safetensors").predict_proba(X)
        net.partial_fit(X, y)
    for result in (
        inside,
        of_earlier,
        loaded,
        pickle.loads(pickled).predict_proba(X),
        load_model(tmp_path / "inside.safetensors").predict_proba(X),
    ):
        assert result.dtype == np.float64
        assert np.array_equal(result, probabilities)
    assert {p.dtype for p in net.module_.parameters()} == {torch.float32}
    assert not any(p.is_inference() for p in net.module_.parameters())
    same = expected.partial_fit(X, y).predict_proba(X)
    assert np.array_equal(net.predict_proba(X), same)


@pytest.mark.parametrize("setting", ["no_grad", "inference_mode", "autocast"])
def test_settings_are_those_of_before_afterwards(X, y, quick, setting):
    with SETTINGS[setting]():
        before = (
            torch.is_grad_enabled(),
            torch.is_inference_mode_enabled(),
            torch.is_autocast_enabled("cpu"),
        )
        LeNet5Classifier(**quick).fit(X, y).predict(X)
        after = (
            torch.is_grad_enabled(),
            torch.is_inference_mode_enabled(),
            torch.is_autocast_enabled("cpu"),
        )
        assert after == before


def test_cudnn_is_repeatable_for_the_last_user_too(monkeypatch):
    cudnn = torch.backends.cudnn
    monkeypatch.setattr(cudnn, "deterministic", False)
    monkeypatch.setattr(cudnn, "benchmark", True)
    with repeatable_cudnn():
        with repeatable_cudnn():
            assert cudnn.deterministic
        assert (cudnn.deterministic, cudnn.benchmark) == (True, False)
    assert (cudnn.deterministic, cudnn.benchmark) == (False, True)
