"""The parts of a net, built from its parameters."""

import numpy as np
import pytest
import torch

from fmnist_sklearn import LeNet5, LeNet5Classifier, MiniVGG
from fmnist_sklearn.training.parts import build_module


@pytest.mark.parametrize("cls", [LeNet5, MiniVGG])
def test_a_module_is_built_without_memory_and_randomness(cls):
    state = torch.get_rng_state()
    module = build_module(cls, {"n_classes": 3})
    assert {p.device.type for p in module.parameters()} == {"meta"}
    assert {p.dtype for p in module.parameters()} == {torch.float32}
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize(
    "size", [0, -2, 1.5, True, "x", "", [8], np.nan, np.array([3, 4])]
)
@pytest.mark.parametrize("part", ["iterator_train", "iterator_valid"])
def test_batch_sizes_that_are_none(X, y, quick, part, size):
    net = LeNet5Classifier(**quick, **{f"{part}__batch_size": size})
    with pytest.raises(ValueError, match=f"{part}__batch_size must be an integer"):
        net.fit(X, y)
    assert vars(net).keys() - {"_nested"} == LeNet5Classifier().get_params().keys()


@pytest.mark.parametrize(("size", "n_batches"), [(np.int64(50), 4), (-1, 1), (7, 28)])
def test_batch_sizes_that_are_some(X, y, quick, size, n_batches):
    net = LeNet5Classifier(
        **quick | {"max_epochs": 1}, iterator_train__batch_size=size
    ).fit(X, y)
    assert net.history_[0, "train_batch_count"] == n_batches


def test_batch_size_auto_in_the_iterator_s_own_name(X, y, quick):
    net = LeNet5Classifier(
        **quick | {"max_epochs": 1}, iterator_train__batch_size="auto"
    ).fit(X, y)
    assert net.history_[0, "train_batch_count"] == 12
