"""Small networks, and the same computed layer by layer."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from fmnist_sklearn import LeNet5, MiniVGG
from fmnist_sklearn.modules.minivgg import ImageConv2d

SHAPE = (1, 12, 12)


@pytest.fixture(params=[LeNet5, MiniVGG])
def network(request):
    """Each of the two networks."""
    return request.param


@pytest.fixture
def build():
    """A function that builds a small network, the same each time, and changes it."""

    def build(network, change=None):
        torch.manual_seed(0)
        if network is LeNet5:
            net = LeNet5(SHAPE, hidden_units=(9, 8), dropout=0.0)
        else:
            net = MiniVGG(SHAPE, widths=(4, "M", 5), hidden_units=6)
        if change is not None:
            change(net)
        return net

    return build


@pytest.fixture
def images():
    """Six images for these networks."""
    return torch.rand(6, *SHAPE, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def layer_by_layer():
    """A function that computes a network from its layers, each called on its own."""

    def layer_by_layer(net, x):
        x = net.scaling(x)
        if isinstance(net, LeNet5):
            for block in (net.c1, net.c3):
                x = block.activation(block.pool(block.norm(block.conv(x))))
        else:
            for layer in net.features:
                has_quick_form = type(layer) is ImageConv2d
                if has_quick_form and "forward" not in vars(layer):
                    for hook in layer._forward_pre_hooks.values():
                        hook(layer, (x,))
                    x = nn.Conv2d.forward(layer, x)
                else:
                    x = layer(x)
        return nn.Sequential.forward(net.head, torch.flatten(x, 1))

    return layer_by_layer


@pytest.fixture
def train():
    """A function that computes logits and, of a loss, the gradients by name."""

    def train(net, x, forward=nn.Module.__call__):
        logits = forward(net, x)
        F.cross_entropy(logits, torch.arange(len(x)) % 10).backward()
        return logits, {name: p.grad for name, p in net.named_parameters()}

    return train


@pytest.fixture
def assert_close():
    """A function that compares tensors, however nested, within rounding."""

    def assert_close(first, second, tolerance=1e-5):
        torch.testing.assert_close(first, second, atol=tolerance, rtol=1e-4)

    return assert_close
