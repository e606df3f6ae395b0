"""LeNet-5's block as one function: PyTorch's values, statistics and gradients."""

import copy
import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from fmnist_sklearn.modules.fast.conv_block import (
    add_columns_up,
    predict_block,
    send_to_largest,
    train_block,
)
from fmnist_sklearn.modules.lenet5 import ConvBlock


def textbook(block, x):
    """Compute a block from PyTorch's own operations, in the textbook's order."""
    return F.max_pool2d(F.elu(block.norm(block.conv(x))), 2)


def build_block(in_channels, padding, out_channels=6):
    """Build a block with factors of both signs."""
    block = ConvBlock(in_channels, out_channels, padding)
    factors = torch.tensor([1.0, -0.7, 0.2, 1.5, -1.0, 0.5])
    with torch.no_grad():
        block.norm.weight.copy_(factors.repeat(3)[:out_channels])
        block.norm.bias.copy_(torch.linspace(-1, 1, out_channels))
        block.norm.running_mean.copy_(torch.linspace(-0.5, 0.5, out_channels))
        block.norm.running_var.copy_(torch.linspace(0.5, 2, out_channels))
    return block


# Shape of the input, padding and channels of the output: C1, C3, one channel from
# which few come, RGB with sides that differ.
BLOCKS = pytest.mark.parametrize(
    ("shape", "padding", "out"),
    [
        ((8, 1, 28, 28), 2, 6),
        ((8, 6, 14, 14), 0, 16),
        ((5, 2, 12, 14), 2, 1),
        ((8, 3, 16, 20), 2, 18),
    ],
)


@BLOCKS
def test_train_block_equals_torch_s_layers(shape, padding, out):
    block = build_block(shape[1], padding, out)
    reference, x = copy.deepcopy(block), torch.randn(shape, requires_grad=True)
    y, expected = train_block(x, block.conv, block.norm), textbook(reference, x)
    torch.testing.assert_close(y, expected, atol=1e-5, rtol=1e-5)
    buffers, expected_buffers = list(block.buffers()), list(reference.buffers())
    torch.testing.assert_close(buffers, expected_buffers, atol=1e-6, rtol=1e-5)

    upstream = torch.randn_like(y)
    grads = torch.autograd.grad(y, [x, *block.parameters()], upstream)
    others = torch.autograd.grad(expected, [x, *reference.parameters()], upstream)
    # Normalisation removes the convolution's bias, so that its gradient is 0.
    assert not grads[2].any()
    assert others[2].abs().max() < 1e-3
    for index in (0, 1, 3, 4):
        torch.testing.assert_close(grads[index], others[index], atol=1e-4, rtol=1e-4)


@BLOCKS
@torch.no_grad()
def test_predict_block_equals_torch_s_layers(shape, padding, out):
    block, x = build_block(shape[1], padding, out), torch.randn(shape)
    ours, theirs = predict_block(x, block.conv, block.norm), textbook(block.eval(), x)
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_predict_block_propagates_nan():
    block, x = build_block(1, 2), torch.randn(2, 1, 12, 12)
    x[1, 0, 5, 5] = math.nan
    y = predict_block(x, block.conv, block.norm)
    assert y[1].isnan().any()
    assert not y[0].isnan().any()


@pytest.mark.parametrize("n_values", [1, 2, 3])
def test_train_block_sends_gradients_at_ties_where_max_pool_does(n_values):
    """Few values make two, three and four equal corners common."""
    x = torch.randint(0, n_values, (8, 3, 8, 8)).float()
    windows = x.view(8, 3, 4, 2, 4, 2).permute(3, 5, 1, 0, 2, 4).reshape(4, 3, -1)
    n_equal = (windows == windows.amax(0)).sum(0)
    assert set(n_equal.unique().tolist()) >= ({4} if n_values == 1 else {2, 3, 4})
    conv, norm = nn.Conv2d(3, 3, 5, padding=2), nn.BatchNorm2d(3)
    with torch.no_grad():
        norm.weight.copy_(torch.tensor([0.5, 1.0, 2.0]))
        conv.bias.zero_()
        conv.weight.zero_()[range(3), range(3), 2, 2] = 1  # the identity
    x.requires_grad_()
    grad = torch.randn(8, 3, 4, 4)
    (ours,) = torch.autograd.grad(train_block(x, conv, norm), x, grad)
    (theirs,) = torch.autograd.grad(F.elu(F.max_pool2d(norm(x), 2)), x, grad)
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-4)


def test_add_columns_up_adds_copies_of_columns():
    a, b, c, d, e, f, g, h = 1.0, 2.0, 3.0, 4.0, 50.0, 60.0, 70.0, 80.0
    copies = torch.tensor([[a, e], [b, f], [c, g], [d, h]])  # (4, windows)
    columns = add_columns_up(copies[None], kernel=3, n=1)
    assert columns.flatten().tolist() == [a, b, c + e, d + f, g, h]


def test_send_to_largest_chooses_the_first_of_equal_corners():
    planes = torch.tensor([1.0, 3.0, 3.0, 2.0]).view(1, 4, 1, 1)
    grads = torch.full((1, 4, 1, 1), 7.0)
    send_to_largest(grads, planes, planes.amax(1))
    assert grads.flatten().tolist() == [0, 7, 0, 0]
