"""Small networks, and the same computed by functions in the textbook's order."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from fmnist_sklearn import LeNet5, MiniVGG

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
def textbook():
    """A function that computes a network from its layers, poolings last in a stage."""

    def textbook(net, x):
        x = net.scaling(x)
        if isinstance(net, LeNet5):
            for block in (net.c1, net.c3):
                x = block.pool(block.activation(block.norm(block.conv(x))))
        else:
            layers = net.features
            x = layers.pool1(F.relu(layers.conv1_1(x)))
            x = F.relu(layers.conv2_1(x))
        for layer in net.head:
            x = layer(x.flatten(1))
        return x

    return textbook


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
