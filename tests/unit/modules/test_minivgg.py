import pytest
import torch
from torch import nn

from fmnist_sklearn import MiniVGG

# MiniVGG's widths


@pytest.mark.parametrize("widths", [(8,), (8, "M"), (8, "M", 4, "M", 4, "M", 4, "M")])
def test_widths(widths):
    module = MiniVGG(image_shape=(1, 9, 5), widths=widths, hidden_units=6)
    convolutions = [m for m in module.modules() if isinstance(m, nn.Conv2d)]

    assert [c.out_channels for c in convolutions] == [w for w in widths if w != "M"]
    assert module(torch.rand(2, 1, 9, 5)).shape == (2, 10)


@pytest.mark.parametrize(
    ("widths", "match"),
    [
        ((), r"must start with the width of a convolution, got \(\)"),
        (("M", 32), "must start with the width of a convolution"),
        ((32, "P"), "must hold integers and \"M\", got 'P'"),
        ((32, 3.5), 'must hold integers and "M", got 3.5'),
    ],
)
def test_wrong_widths(widths, match):
    with pytest.raises(ValueError, match=match):
        MiniVGG(widths=widths)
