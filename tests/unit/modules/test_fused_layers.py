"""Fused blocks, dense layers, ELU and first convolutions: equal to PyTorch's."""

import copy
import math
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from fmnist_sklearn.modules.fast import (
    _ConvOnCUDA,
    conv_of_images,
    dense_elu,
    elu_forward,
    fused_forward,
    predict_block,
    train_block,
)
from fmnist_sklearn.modules.layers import Dropout
from fmnist_sklearn.modules.lenet5 import ConvBlock, DenseHead

# LeNet-5's block


def textbook_block(block, x):
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
    y, expected = train_block(x, block.conv, block.norm), textbook_block(reference, x)
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
    ours, theirs = (
        predict_block(x, block.conv, block.norm),
        textbook_block(block.eval(), x),
    )
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


# Dense layers


@pytest.mark.parametrize("hidden_units", [(), (7,), (7, 5)])
@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_dense_elu_equals_torch_s_layers(hidden_units, dropout):
    head = DenseHead(6, hidden_units, 3, dropout)
    generators = [torch.Generator().manual_seed(3) for _ in range(2)]
    dropouts = [layer for layer in head if isinstance(layer, Dropout)]
    masks = []
    for layer, units in zip(dropouts, hidden_units, strict=True):
        layer.generator = generators[0]
        masks.append(layer.draw_mask(torch.Size((8, units)), torch.device("cpu")))
        layer.generator = generators[1]
    x = torch.randn(8, 6, requires_grad=True)
    grad = torch.randn(8, 3)

    results = []
    for function in (lambda x: dense_elu(x, masks, list(head.parameters())), head):
        y = function(x)
        results.append((y, *torch.autograd.grad(y, [x, *head.parameters()], grad)))
    torch.testing.assert_close(*results, atol=1e-6, rtol=1e-6)


# ELU


def test_elu_forward_values():
    x = torch.cat([torch.linspace(-30, 30, 6001), torch.linspace(-1e-3, 1e-3, 101)])
    before = x.clone()
    y = elu_forward(x)
    torch.testing.assert_close(y, F.elu(x), atol=1e-6, rtol=0)
    assert torch.equal(y[x > 0], x[x > 0])
    assert torch.equal(x, before)
    x = torch.randn(2, 6, 5, 4).to(memory_format=torch.channels_last)
    torch.testing.assert_close(elu_forward(x[:, ::2]), F.elu(x[:, ::2]))
    # It is exact to the last place of 1.
    x = torch.linspace(-20, 0, 1_000_001)
    error = (elu_forward(x) - torch.expm1(x.double())).abs().max()
    assert error <= torch.finfo(torch.float32).eps
    x = torch.tensor([math.inf, -math.inf, math.nan, 0.0, -0.0])
    expected = torch.tensor([math.inf, -1, math.nan, 0, 0])
    torch.testing.assert_close(elu_forward(x), expected, rtol=0, atol=0, equal_nan=True)


# First convolutions


def gradients(function, conv, images, grad):
    y = function(images)
    return y, *torch.autograd.grad(y, list(conv.parameters()), grad)


def conv_on_cuda(x, conv):
    """Compute on a CPU what CUDA devices compute."""
    return _ConvOnCUDA.apply(x, conv.weight, conv.bias, conv.padding)


@pytest.mark.parametrize("convolve", [conv_of_images, conv_on_cuda])
@pytest.mark.parametrize(
    ("channels", "kernel", "padding"),
    [(1, 3, 3), (3, 3, 3), (1, 5, 2), (2, 3, (1, 0)), (3, (3, 5), (0, 3)), (1, 3, 0)],
)
def test_conv_of_images_equals_torch_s_layer(convolve, channels, kernel, padding):
    conv = nn.Conv2d(channels, 8, kernel, padding=padding).double()
    images = torch.randn(4, channels, 9, 12, dtype=torch.float64)
    grad = torch.randn_like(conv(images))
    expected = gradients(conv, conv, images, grad)
    for layout in (torch.contiguous_format, torch.channels_last):
        x = images.to(memory_format=layout)
        ours = gradients(partial(convolve, conv=conv), conv, x, grad)
        for tensor, other in zip(ours, expected, strict=True):
            torch.testing.assert_close(tensor, other)


def test_conv_of_images_under_autocast_is_exact_within_rounding():
    """As torch's convolution is: how often either rounds depends on the processor."""
    conv, x = nn.Conv2d(1, 8, 3, padding=3).bfloat16(), torch.randn(4, 1, 9, 12)
    x, grad = x.bfloat16(), torch.randn(4, 8, 13, 16).bfloat16()

    def in_float64(change=torch.clone):
        other = copy.deepcopy(conv).double()
        for parameter in other.parameters():
            parameter.data = change(parameter.data)
        return gradients(other, other, change(x.double()), change(grad.double()))

    exact, sums_of_magnitudes = in_float64(), in_float64(torch.abs)
    eps = torch.finfo(torch.bfloat16).eps
    with torch.autocast("cpu", dtype=torch.bfloat16):
        for function in (partial(conv_of_images, conv=conv), conv):
            results = gradients(function, conv, x, grad)
            for result, value, magnitude in zip(
                results, exact, sums_of_magnitudes, strict=True
            ):
                assert result.dtype == torch.bfloat16
                # Rounding a partial or the whole sum errs by at most eps / 2 of the
                # sum of the terms' magnitudes. Two such roundings are allowed.
                assert ((result.double() - value).abs() <= eps * magnitude).all()


@pytest.mark.cuda
def test_fused_forward_on_cuda_repeats_to_the_bit(build, network, images):
    """Where cuDNN may only use what does, LeNet-5 has a convolution of its own."""
    results = []
    for _ in range(2):
        net = build(network).to("cuda")
        with torch.backends.cudnn.flags(deterministic=True):
            fused_forward(net)(images.to("cuda")).square().sum().backward()
        results.append([p.grad for p in net.parameters()])
    assert all(map(torch.equal, *results))
