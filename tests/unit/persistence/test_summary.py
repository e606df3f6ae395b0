"""What a file says of itself."""

import pickle
import re

import numpy as np
import pytest
import torch
import torch.nn.utils.prune

import fmnist_sklearn
from fmnist_sklearn import LeNet5Classifier
from fmnist_sklearn.persistence import inspect_model, load_model, save_model


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
