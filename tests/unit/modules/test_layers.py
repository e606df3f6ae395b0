import copy
import math

import pytest
import torch
from torch import nn

from fmnist_sklearn import LeNet5, LeNet5Classifier, MiniVGG
from fmnist_sklearn.modules.layers import (
    Dropout,
    PixelScaling,
    reset_parameters,
    zero_border,
)


def built_on_meta(kind, **kwargs):
    with torch.device("meta"):
        module = kind(**kwargs)
    return module.to_empty(device="cpu")


# Weights


@pytest.mark.parametrize("kind", [LeNet5, MiniVGG])
def test_reset_parameters_draws_as_torch_does(kind):
    module = built_on_meta(kind)
    reset_parameters(module, torch.Generator().manual_seed(0))

    for layer in module.modules():
        if not isinstance(layer, nn.Conv2d | nn.Linear):
            continue
        bound = 1 / math.sqrt(layer.weight[0].numel())
        torch_s = type(layer).__new__(type(layer))
        torch_s.__dict__ = copy.deepcopy(layer.__dict__)
        torch_s.reset_parameters()
        for ours, theirs in (
            (layer.weight, torch_s.weight),
            (layer.bias, torch_s.bias),
        ):
            assert ours.abs().max() <= bound
            assert theirs.abs().max() <= bound  # the same bound as PyTorch's
            if ours.numel() > 1000:
                assert ours.abs().max() > 0.98 * bound
                # A uniform distribution: mean 0, standard deviation bound / sqrt(3).
                mean, std = ours.detach().mean(), ours.detach().std()
                assert abs(float(mean)) < 0.1 * bound
                assert float(std) == pytest.approx(bound / 3**0.5, rel=0.05)


def test_reset_parameters_sets_everything():
    module = built_on_meta(LeNet5)
    with torch.no_grad():
        for value in module.state_dict().values():
            value.fill_(99)
    reset_parameters(module, torch.Generator().manual_seed(0))
    fresh = LeNet5().state_dict()

    for name, value in module.state_dict().items():
        assert not (value == 99).any()
        if "norm" in name or "scaling" in name:
            assert torch.equal(value, fresh[name])


def test_reset_parameters_depends_on_its_generator_alone():
    first, again, other = (built_on_meta(LeNet5) for _ in range(3))
    random_state = torch.get_rng_state()
    reset_parameters(first, torch.Generator().manual_seed(1))
    torch.rand(3)
    reset_parameters(again, torch.Generator().manual_seed(1))
    reset_parameters(other, torch.Generator().manual_seed(2))

    pairs = zip(first.state_dict().values(), again.state_dict().values(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)
    assert not torch.equal(first.head.f5.weight, other.head.f5.weight)
    torch.set_rng_state(random_state)
    reset_parameters(first, torch.Generator().manual_seed(1))
    assert torch.equal(torch.get_rng_state(), random_state)


# Scaling and dropout


def test_pixel_scaling_for_each_channel():
    scaling = PixelScaling(2)
    scaling.mean.copy_(torch.tensor([1.0, 10.0]))
    scaling.std.copy_(torch.tensor([2.0, 5.0]))
    x = torch.tensor([3, 20], dtype=torch.uint8).view(1, 2, 1, 1)

    assert scaling(x).flatten().tolist() == [1.0, 2.0]
    assert scaling(x).dtype == torch.float32
    assert set(scaling.state_dict()) == {"mean", "std"}


def test_dropout_keeps_the_mean():
    y = Dropout(0.25)(torch.ones(100_000))
    assert float((y == 0).float().mean()) == pytest.approx(0.25, abs=0.01)
    assert y.unique().tolist() == pytest.approx([0, 1 / 0.75])


def test_dropout_draws_from_its_own_generator():
    x = torch.ones(1000)
    layer = Dropout(0.5)
    random_state = torch.get_rng_state()
    layer.generator = torch.Generator().manual_seed(3)
    first = layer(x)
    second = layer(x)
    layer.generator = torch.Generator().manual_seed(3)

    assert torch.equal(layer(x), first)
    assert not torch.equal(first, second)
    assert torch.equal(torch.get_rng_state(), random_state)


def test_dropout_without_a_generator_obeys_the_global_seed():
    torch.manual_seed(5)
    first = Dropout(0.5)(torch.ones(1000))
    torch.manual_seed(5)
    assert torch.equal(Dropout(0.5)(torch.ones(1000)), first)


def test_dropout_does_nothing_where_it_should_not():
    x = torch.randn(100)
    assert Dropout(0.5).eval()(x) is x
    assert Dropout(0.0).train()(x) is x


def test_dropout_reaches_the_networks():
    def probabilities(module):
        return [m.p for m in module.modules() if isinstance(m, Dropout)]

    assert probabilities(LeNet5()) == [0.5, 0.5]
    assert probabilities(LeNet5(dropout=0.2)) == [0.2, 0.2]
    assert probabilities(MiniVGG()) == [0.0]
    assert probabilities(MiniVGG(dropout=0.4)) == [0.4]
    net = LeNet5Classifier(dropout=0.3).initialize()
    assert probabilities(net.module_) == [0.3, 0.3]


# Borders


@pytest.mark.parametrize(
    ("image_shape", "border"),
    [
        ((1, 28, 28), ()),
        ((3, 12, 40), ()),
        ((1, 9, 10), (1, 1, 1, 2)),
        ((1, 1, 20), (0, 0, 5, 6)),
    ],
)
def test_zero_border(image_shape, border):
    assert zero_border(image_shape, 12) == border
