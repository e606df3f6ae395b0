"""The first convolution, whose gradient repeats to the bit on a GPU."""

import pytest
import torch
from torch import nn

from fmnist_sklearn.modules.repeatable import conv_of_images, repeats_slowly


@pytest.mark.parametrize(
    ("channels", "kernel", "padding"), [(1, 5, 2), (2, 3, (1, 0)), (1, (3, 5), 0)]
)
def test_it_is_the_layer_s_own(channels, kernel, padding):
    conv = nn.Conv2d(channels, 6, kernel, padding=padding).double()
    x = torch.rand(4, channels, 9, 11, dtype=torch.float64)
    expected = conv(x)
    y = conv_of_images(x, conv)
    assert torch.equal(y, expected)
    upstream = torch.rand_like(y)
    found = torch.autograd.grad(y, list(conv.parameters()), upstream)
    wanted = torch.autograd.grad(expected, list(conv.parameters()), upstream)
    for ours, theirs in zip(found, wanted, strict=True):
        torch.testing.assert_close(ours, theirs)


def test_its_gradient_has_a_gradient():
    conv = nn.Conv2d(1, 2, 3, padding=1).double()
    x = torch.rand(2, 1, 5, 5, dtype=torch.float64)

    def function(weight, bias):
        y = conv_of_images(x, _Like(weight, bias))
        return (y**2).sum()

    inputs = (conv.weight, conv.bias)
    assert torch.autograd.gradcheck(function, inputs)
    assert torch.autograd.gradgradcheck(function, inputs)


class _Like:
    padding = (1, 1)

    def __init__(self, weight, bias):
        self.weight, self.bias = weight, bias


def test_on_a_cpu_the_layer_is_called():
    conv = nn.Conv2d(1, 6, 5)
    with torch.backends.cudnn.flags(deterministic=True):
        assert not repeats_slowly(torch.rand(1, 1, 9, 9), conv)
