"""Files that the first format left."""

from pathlib import Path

import numpy as np
import safetensors.numpy
import torch
import torch.nn.utils.prune

from fmnist_sklearn import LeNet5Classifier
from fmnist_sklearn.persistence import inspect_model, load_model, save_model

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
