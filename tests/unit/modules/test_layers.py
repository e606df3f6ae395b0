import copy
import math

import pytest
import torch
from torch import nn

from fmnist_sklearn import LeNet5
from fmnist_sklearn.modules.layers import Dropout, PixelScaling, reset_parameters


def drawn(kind, seed):
    """Build a network without weights, and draw them."""
    with torch.device("meta"):
        module = kind()
    module.to_empty(device="cpu")
    with torch.no_grad():
        for value in module.state_dict().values():
            value.fill_(99)
    reset_parameters(module, torch.Generator().manual_seed(seed))
    return module


def test_reset_parameters_draws_as_torch_does(network):
    for layer in drawn(network, 0).modules():
        if not isinstance(layer, nn.Conv2d | nn.Linear):
            continue
        bound = 1 / math.sqrt(layer.weight[0].numel())
        torch_s = copy.deepcopy(layer)
        torch_s.reset_parameters()
        for name in ("weight", "bias"):
            ours, theirs = getattr(layer, name), getattr(torch_s, name)
            assert ours.abs().max() <= bound
            assert theirs.abs().max() <= bound  # the same bound as PyTorch's
            if ours.numel() > 1000:
                assert ours.abs().max() > 0.98 * bound
                # A uniform distribution: mean 0, standard deviation bound / sqrt(3).
                mean, std = ours.detach().mean(), ours.detach().std()
                assert abs(float(mean)) < 0.1 * bound
                assert float(std) == pytest.approx(bound / 3**0.5, rel=0.05)


def test_reset_parameters_sets_everything():
    fresh = LeNet5().state_dict()
    for name, value in drawn(LeNet5, 0).state_dict().items():
        assert not (value == 99).any()
        if "norm" in name or "scaling" in name:
            assert torch.equal(value, fresh[name])


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


def test_dropout_draws_from_its_own_generator_or_the_global_one():
    layer, x = Dropout(0.5), torch.ones(1000)
    random_state = torch.get_rng_state()
    layer.generator = torch.Generator().manual_seed(3)
    first, second = layer(x), layer(x)
    assert not torch.equal(first, second)
    assert torch.equal(torch.get_rng_state(), random_state)
    layer.generator = None
    torch.manual_seed(3)
    assert torch.equal(layer(x), first)
    assert Dropout(0.5).eval()(x) is x  # and it does nothing where it should not
    assert Dropout(0.0).train()(x) is x
