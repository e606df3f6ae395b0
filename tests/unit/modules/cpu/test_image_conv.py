"""The first convolution's own product: PyTorch's values and gradients."""

import pytest
import torch
import torch.nn.functional as F

from fmnist_sklearn.modules.cpu.image_conv import conv_of_images
from fmnist_sklearn.modules.minivgg import ImageConv2d


def gradients_of_conv(function, images, parameters, grad):
    arguments = [p.detach().clone().requires_grad_() for p in parameters]
    y = function(images, *arguments)
    y.backward(grad)
    return y, *(argument.grad for argument in arguments)


def conv_case(channels):
    images = torch.randn(4, channels, 9, 12)
    parameters = torch.randn(8, channels, 3, 3), torch.randn(8)
    return images, parameters, torch.randn(4, 8, 13, 16)


@pytest.mark.parametrize("channels", [1, 3])
def test_conv_of_images_equals_torch_s(channels):
    case = conv_case(channels)
    ours = gradients_of_conv(lambda *a: conv_of_images(*a, (3, 3)), *case)
    theirs = gradients_of_conv(lambda *a: F.conv2d(*a, padding=3), *case)

    for tensor, expected in zip(ours, theirs, strict=True):
        torch.testing.assert_close(tensor, expected, atol=1e-4, rtol=1e-5)


def test_conv_of_images_under_autocast_is_exact_within_rounding():
    """As torch's convolution is: how often either rounds depends on the processor."""
    images, parameters, grad = conv_case(1)
    images, *parameters, grad = (t.bfloat16() for t in (images, *parameters, grad))

    def torch_s(*arguments):
        return F.conv2d(*arguments, padding=3)

    def in_float64(change=torch.clone):
        x, *rest, g = (change(t.double()) for t in (images, *parameters, grad))
        return gradients_of_conv(torch_s, x, rest, g)

    exact, sums_of_magnitudes = in_float64(), in_float64(torch.abs)
    eps = torch.finfo(torch.bfloat16).eps
    with torch.autocast("cpu", dtype=torch.bfloat16):
        for function in (lambda *a: conv_of_images(*a, (3, 3)), torch_s):
            results = gradients_of_conv(function, images, parameters, grad)
            for result, value, magnitude in zip(
                results, exact, sums_of_magnitudes, strict=True
            ):
                assert result.dtype == torch.bfloat16
                # Rounding a partial or the whole sum errs by at most eps / 2 of the
                # sum of the terms' magnitudes. Two such roundings are allowed.
                assert ((result.double() - value).abs() <= eps * magnitude).all()


def test_conv_of_images_gradcheck():
    images = torch.randn(2, 2, 5, 4, dtype=torch.float64)
    parameters = [
        torch.randn(shape, dtype=torch.float64, requires_grad=True)
        for shape in ((3, 2, 3, 3), (3,))
    ]

    def function(weight, bias):
        return conv_of_images(images, weight, bias, (1, 1))

    assert torch.autograd.gradcheck(function, parameters)
    assert torch.autograd.gradgradcheck(function, parameters)


@pytest.mark.parametrize("padding", [(0, 3), (0, 0)])
def test_conv_of_images_with_channels_last_and_oblong_kernels(padding):
    images = torch.randn(4, 3, 9, 12)
    parameters = torch.randn(8, 3, 3, 5), torch.randn(8)
    grad = torch.randn_like(F.conv2d(images, *parameters, padding=padding))
    last = images.to(memory_format=torch.channels_last)
    ours = gradients_of_conv(
        lambda *a: conv_of_images(*a, padding), last, parameters, grad
    )
    theirs = gradients_of_conv(
        lambda *a: F.conv2d(*a, padding=padding), images, parameters, grad
    )
    for tensor, expected in zip(ours, theirs, strict=True):
        torch.testing.assert_close(tensor, expected, atol=1e-4, rtol=1e-5)


def test_what_follows_may_change_the_output_in_place():
    conv = ImageConv2d(1, 8, 3, padding=1)
    images = torch.randn(2, 1, 6, 6)
    F.relu_(conv(images)).sum().backward()
    grad = conv.weight.grad.clone()
    conv.zero_grad()
    F.relu(conv.eval()(images)).sum().backward()
    torch.testing.assert_close(grad, conv.weight.grad, atol=1e-4, rtol=1e-5)


def test_first_convolution_gives_a_gradient_to_images_that_ask_for_it():
    conv = ImageConv2d(1, 8, 3, padding=1)
    images = torch.randn(2, 1, 6, 6, requires_grad=True)
    conv(images).sum().backward()
    assert images.grad.abs().sum() > 0
