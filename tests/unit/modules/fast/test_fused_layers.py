"""Fused dense layers, ELU and first convolutions: PyTorch's values and gradients."""

import copy
import math
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from fmnist_sklearn.modules.fast import fused_forward, layers
from fmnist_sklearn.modules.fast.layers import (
    conv_of_images,
    dense_elu,
    elu_backward,
    elu_forward,
)
from fmnist_sklearn.modules.layers import Dropout
from fmnist_sklearn.modules.lenet5 import DenseHead

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


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_elu_forward_values(dtype):
    x = torch.cat([torch.linspace(-30, 30, 6001), torch.linspace(-1e-3, 1e-3, 101)])
    x = x.to(dtype)
    before = x.clone()
    y = elu_forward(x)
    torch.testing.assert_close(y, F.elu(x), atol=1e-6, rtol=0)
    assert torch.equal(y[x > 0], x[x > 0])
    assert y.dtype == dtype
    assert torch.equal(x, before)
    x = torch.randn(2, 6, 5, 4).to(dtype, memory_format=torch.channels_last)
    torch.testing.assert_close(elu_forward(x[:, ::2]), F.elu(x[:, ::2]))


def test_elu_forward_is_exact_to_the_last_place_of_1():
    x = torch.linspace(-20, 0, 1_000_001)
    error = (elu_forward(x) - torch.expm1(x.double())).abs().max()
    assert error <= torch.finfo(torch.float32).eps


def test_elu_forward_of_special_values():
    y = elu_forward(torch.tensor([math.inf, -math.inf, math.nan, 0.0, -0.0]))
    assert y[:2].tolist() == [math.inf, -1.0]
    assert y[2].isnan()
    assert y[3:].tolist() == [0.0, 0.0]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_elu_backward_is_torch_s_gradient(dtype):
    x = (torch.randn(7, 5, 4, 3, dtype=dtype) * 3).requires_grad_()
    grad = torch.randn_like(x)
    ours = elu_backward(grad, elu_forward(x.detach()))
    (theirs,) = torch.autograd.grad(F.elu(x), x, grad)
    torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=1e-6)


# First convolutions


def gradients(function, conv, images, grad):
    y = function(images)
    return y, *torch.autograd.grad(y, list(conv.parameters()), grad)


def conv_on_cuda(x, conv):
    """Compute on a CPU what CUDA devices compute."""
    return layers._ConvOnCUDA.apply(x, conv.weight, conv.bias, conv.padding)


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
