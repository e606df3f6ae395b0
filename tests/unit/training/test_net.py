"""The parts of a net, built from its parameters."""

import numpy as np
import pytest
import torch

from fmnist_sklearn import LeNet5, LeNet5Classifier, MiniVGG, MiniVGGClassifier
from fmnist_sklearn.training.batches import ImageDataset
from fmnist_sklearn.training.net import build_module


@pytest.mark.parametrize("cls", [LeNet5, MiniVGG])
def test_build_module_takes_neither_memory_nor_random_numbers(cls):
    state = torch.get_rng_state()
    module = build_module(cls, {"n_classes": 3})
    assert {p.device.type for p in module.parameters()} == {"meta"}
    assert {p.dtype for p in module.parameters()} == {torch.float32}
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize(
    "size", [0, -2, 1.5, True, "x", "", [8], np.nan, np.array([3, 4])]
)
@pytest.mark.parametrize("part", ["iterator_train", "iterator_valid"])
def test_batch_size_refuses(X, y, quick, part, size):
    net = LeNet5Classifier(**quick, **{f"{part}__batch_size": size})
    with pytest.raises(ValueError, match=f"{part}__batch_size must be an integer"):
        net.fit(X, y)
    assert vars(net).keys() - {"_nested"} == LeNet5Classifier().get_params().keys()


@pytest.mark.parametrize(
    ("name", "size", "n_rows", "expected"),
    [
        ("iterator_train__batch_size", np.int64(50), 240, 50),
        ("iterator_train__batch_size", -1, 240, 240),
        ("iterator_train__batch_size", "auto", 1700, 17),
        ("batch_size", "auto", 1, 16),
        ("batch_size", "auto", 4800, 48),
        ("batch_size", "auto", 54_000, 128),
    ],
)
def test_batch_size(name, size, n_rows, expected):
    rows = torch.zeros((n_rows, 1, 1, 1), dtype=torch.uint8)
    dataset = ImageDataset(rows, torch.zeros(n_rows, dtype=torch.int64))
    net = LeNet5Classifier(**{name: size}).initialize()
    assert net.get_iterator(dataset, training=True).batch_size == expected


@pytest.mark.parametrize(
    "kwargs", [{}, {"label_smoothing": 0.2}, {"weight": torch.arange(1.0, 11)}]
)
def test_get_loss_is_the_mean_of_pytorch_s(kwargs):
    logits, targets = torch.randn(5, 10), torch.arange(5)
    nested = {f"criterion__{name}": value for name, value in kwargs.items()}
    net = LeNet5Classifier(label_smoothing=0, device="cpu", **nested).initialize()
    losses = torch.nn.CrossEntropyLoss(**kwargs, reduction="none")(logits, targets)
    assert torch.equal(net.get_loss(logits, targets, training=True), losses.mean())
    plain = torch.nn.functional.cross_entropy(logits, targets)
    torch.testing.assert_close(net.get_loss(logits, targets), plain)
    weights = torch.tensor([0.5, 1, 1.5, 1, 1])
    weighted = net.get_loss(logits, targets, weights=weights, training=True)
    torch.testing.assert_close(weighted, (losses * weights).mean())


# Weight decay


def decays(net):
    """The weight decay of each parameter, by its name."""
    names = {id(p): name for name, p in net.module_.named_parameters()}
    return {
        names[id(p)]: group["weight_decay"]
        for group in net.optimizer_.param_groups
        for p in group["params"]
    }


@pytest.mark.parametrize("cls", [LeNet5Classifier, MiniVGGClassifier])
def test_weight_decay_spares_biases_and_normalisation(cls):
    net = cls(weight_decay=0.1, optimizer=torch.optim.AdamW).initialize()
    found = decays(net)

    assert len(found) == len(list(net.module_.parameters()))
    for name, decay in found.items():
        spared = name.endswith("bias") or ".norm." in name
        assert decay == (0.0 if spared else 0.1)


@pytest.mark.parametrize(
    ("optimizer", "decay"), [(torch.optim.AdamW, 0.02), (torch.optim.SGD, 0)]
)
def test_weight_decay_auto_is_for_adamw(optimizer, decay):
    net = LeNet5Classifier(optimizer=optimizer).initialize()
    assert net.optimizer_.param_groups[0]["weight_decay"] == decay


@pytest.mark.parametrize(("side", "lr"), [(8, 3e-3), (28, 3e-3), (64, 1.3125e-3)])
def test_lr_auto_of_minivgg_is_lower_for_larger_images(side, lr):
    net = MiniVGGClassifier(image_shape=(3, side, side)).initialize()
    assert all(g["lr"] == pytest.approx(lr) for g in net.optimizer_.param_groups)
    assert net.set_params(lr=0.1).initialize().optimizer_.defaults["lr"] == 0.1
    with pytest.raises(ValueError, match=r"'lr' parameter .* Got 'auto' instead"):
        LeNet5Classifier(lr="auto").initialize()


@pytest.mark.parametrize(
    ("n_rows", "params", "n_epochs"),
    [
        (54_000, {}, (16, 10)),
        (5_400, {}, (18, 12)),  # 100 batches of 54
        (1_000, {}, (22, 13)),
        (1_000, {"batch_size": 10}, (18, 12)),
        (18, {}, (150, 150)),  # 2 batches
        (10, {"max_epochs": 3}, (3, 3)),
    ],
)
def test_max_epochs_auto_follows_the_number_of_batches(n_rows, params, n_epochs):
    nets = LeNet5Classifier(**params), MiniVGGClassifier(**params)
    assert tuple(net.count_epochs(n_rows) for net in nets) == n_epochs


def test_few_batches_are_all_trained_unless_patience_is_given(X, y):
    few = np.flatnonzero(y < 2)[:20]  # two rows to validate on, which say little
    for patience, is_whole in (("auto", True), (1, False)):
        net = LeNet5Classifier(patience=patience, random_state=0).fit(X[few], y[few])
        assert (net.n_iter_ == 150) == is_whole


def test_weight_decay_and_the_optimizer_s_own():
    net = LeNet5Classifier(weight_decay=0.1, optimizer__weight_decay=0.3)
    assert set(decays(net.initialize()).values()) == {0.3}

    groups = [("c1.*", {"weight_decay": 0.5}), ("head.out.*", {"lr": 0.1})]
    net = LeNet5Classifier(weight_decay=0.2, optimizer__param_groups=groups)
    found = decays(net.initialize())
    assert found["c1.conv.weight"] == found["c1.conv.bias"] == 0.5
    assert found["head.out.weight"] == found["c3.conv.weight"] == 0.2
    assert found["head.out.bias"] == found["c3.norm.weight"] == 0.0
    assert {group["lr"] for group in net.optimizer_.param_groups} == {0.1, net.lr}
    # A decay of zero leaves one group.
    net = LeNet5Classifier(weight_decay=0).initialize()
    assert len(net.optimizer_.param_groups) == 1


def test_weight_decay_needs_an_optimizer_that_has_it(X, y, quick):
    net = LeNet5Classifier(weight_decay=0.1, optimizer=torch.optim.LBFGS, **quick)
    with pytest.raises(ValueError, match=r"weight_decay=0.1 needs .*LBFGS"):
        net.fit(X, y)


class CountingSGD(torch.optim.SGD):
    n_zeroed = 0

    def zero_grad(self, set_to_none=True):
        self.n_zeroed += 1
        super().zero_grad(set_to_none)


def test_optimizer_of_another_class(X, y, quick):
    """Its own zero_grad is called; its state holds None instead of tensors."""
    settings = quick | {"max_epochs": 1, "validation_fraction": 0}
    net = LeNet5Classifier(**settings, optimizer=CountingSGD).fit(X[:96], y[:96])
    assert net.optimizer_.n_zeroed == 3
