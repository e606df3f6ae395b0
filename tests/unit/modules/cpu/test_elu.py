import math

import pytest
import torch
import torch.nn.functional as F

from fmnist_sklearn.modules.cpu.elu import elu_backward, elu_forward


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_elu_values(dtype):
    x = torch.cat([torch.linspace(-30, 30, 6001), torch.linspace(-1e-3, 1e-3, 101)])
    x = x.to(dtype)

    torch.testing.assert_close(elu_forward(x), F.elu(x), atol=1e-6, rtol=0)
    assert torch.equal(elu_forward(x)[x > 0], x[x > 0])
    assert elu_forward(x).dtype == dtype


def test_elu_is_exact_to_the_last_place_of_1():
    x = torch.linspace(-20, 0, 1_000_001)
    error = (elu_forward(x) - torch.expm1(x.double())).abs().max()
    assert error <= torch.finfo(torch.float32).eps


def test_elu_of_special_values():
    y = elu_forward(torch.tensor([math.inf, -math.inf, math.nan, 0.0, -0.0]))

    assert y[:2].tolist() == [math.inf, -1.0]
    assert y[2].isnan()
    assert y[3:].tolist() == [0.0, 0.0]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_elu_gradient_is_torch_s(dtype):
    x = (torch.randn(7, 5, 4, 3, dtype=dtype) * 3).requires_grad_()
    grad = torch.randn_like(x)
    ours = elu_backward(grad, elu_forward(x.detach()))
    (theirs,) = torch.autograd.grad(F.elu(x), x, grad)
    torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=1e-6)


def test_elu_leaves_its_input_alone():
    x = torch.randn(100)
    before = x.clone()
    elu_forward(x)
    assert torch.equal(x, before)


def test_elu_of_any_layout():
    x = torch.randn(2, 6, 5, 4).to(memory_format=torch.channels_last)
    torch.testing.assert_close(elu_forward(x), F.elu(x), atol=1e-6, rtol=0)
    torch.testing.assert_close(
        elu_forward(x[:, ::2]), F.elu(x[:, ::2]), atol=1e-6, rtol=0
    )
