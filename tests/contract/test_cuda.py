"""On a CUDA device: what the cases that are simulated elsewhere stand for."""

import pickle

import numpy as np
import pytest
import torch

from fmnist_sklearn import load_model, save_model

pytestmark = pytest.mark.cuda


def test_auto_is_the_gpu(X, y, quick, kind):
    net = kind(**quick | {"max_epochs": 1}).fit(X, y)
    assert net.device_.type == "cuda"
    assert {p.device.type for p in net.module_.parameters()} == {"cuda"}
    assert net.predict_proba(X).shape == (240, 10)


def test_equal_seeds_give_equal_bits(X, y, quick, kind, same_predictions):
    nets = [kind(**quick | {"max_epochs": 1}).fit(X, y) for _ in range(2)]
    assert same_predictions(*nets, X)


@pytest.mark.parametrize("way", ["pickle", "file"])
def test_a_net_trained_there_opens_on_the_cpu(
    X, y, quick, kind, way, tmp_path, monkeypatch
):
    net = kind(**quick | {"max_epochs": 1}).fit(X, y)
    expected = net.predict_proba(X)
    pickled = pickle.dumps(net)
    save_model(net, tmp_path / "net")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    opened = pickle.loads(pickled) if way == "pickle" else load_model(tmp_path / "net")
    assert opened.device_ == torch.device("cpu")
    np.testing.assert_allclose(opened.predict_proba(X), expected, atol=1e-2)
