import copy
import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from fmnist_sklearn import LeNet5
from fmnist_sklearn.modules.cpu.dense import dense_elu
from fmnist_sklearn.modules.cpu.elu import elu
from fmnist_sklearn.modules.layers import Dropout
from fmnist_sklearn.modules.lenet5 import DenseHead

# ELU


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_elu_values(dtype):
    x = torch.cat([torch.linspace(-30, 30, 6001), torch.linspace(-1e-3, 1e-3, 101)])
    x = x.to(dtype)

    torch.testing.assert_close(elu(x), F.elu(x), atol=1e-6, rtol=0)
    assert torch.equal(elu(x)[x > 0], x[x > 0])
    assert elu(x).dtype == dtype


def test_elu_is_exact_to_the_last_place_of_1():
    x = torch.linspace(-20, 0, 1_000_001)
    error = (elu(x) - torch.expm1(x.double())).abs().max()
    assert error <= torch.finfo(torch.float32).eps


def test_elu_of_special_values():
    y = elu(torch.tensor([math.inf, -math.inf, math.nan, 0.0, -0.0]))

    assert y[:2].tolist() == [math.inf, -1.0]
    assert y[2].isnan()
    assert y[3:].tolist() == [0.0, 0.0]


def test_elu_gradient_is_torch_s():
    x = (torch.randn(7, 5, 4, 3) * 3).requires_grad_()
    grad = torch.randn_like(x)
    ours, theirs = (torch.autograd.grad(f(x), x, grad) for f in (elu, F.elu))
    torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=1e-6)


def test_elu_gradcheck():
    x = torch.randn(40, dtype=torch.float64)
    x += 0.1 * x.sign()  # away from the bend at 0
    assert torch.autograd.gradcheck(elu, x.requires_grad_())


def test_elu_leaves_its_input_alone():
    x = torch.randn(100)
    before = x.clone()
    elu(x)
    assert torch.equal(x, before)


def test_elu_of_any_layout():
    x = torch.randn(2, 6, 5, 4).to(memory_format=torch.channels_last)
    torch.testing.assert_close(elu(x), F.elu(x), atol=1e-6, rtol=0)
    torch.testing.assert_close(elu(x[:, ::2]), F.elu(x[:, ::2]), atol=1e-6, rtol=0)


def test_second_derivative_of_elu():
    x = torch.randn(40, dtype=torch.float64)
    x += 0.1 * x.sign()
    assert torch.autograd.gradgradcheck(elu, x.requires_grad_())


def test_exported_graph_holds_torch_s_operations():
    module = LeNet5().eval()
    x = torch.randn(2, 1, 28, 28)
    exported = torch.export.export(module, (x,))
    targets = [str(node.target) for node in exported.graph.nodes]

    assert targets.count("aten.elu.default") == 4
    assert sum(target.startswith("aten.max_pool2d") for target in targets) == 2
    torch.testing.assert_close(exported.module()(x), module(x), atol=1e-5, rtol=0)


# The dense layers


def dense_head(dropout, hidden_units=(7, 5)):
    return DenseHead(6, hidden_units, 3, dropout)


@pytest.mark.parametrize("hidden_units", [(), (7,), (7, 5)])
@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_dense_layers_equal_torch_s(hidden_units, dropout):
    head = dense_head(dropout, hidden_units)
    reference = copy.deepcopy(head)
    for module in (head, reference):
        for layer in module:
            if isinstance(layer, Dropout):
                layer.generator = torch.Generator().manual_seed(3)
    x = torch.randn(8, 6, requires_grad=True)
    x_reference = x.detach().clone().requires_grad_()
    grad = torch.randn(8, 3)

    y = head(x)
    y_reference = nn.Sequential.forward(reference, x_reference)
    y.backward(grad)
    y_reference.backward(grad)

    torch.testing.assert_close(y, y_reference, atol=1e-6, rtol=1e-6)
    torch.testing.assert_close(x.grad, x_reference.grad, atol=1e-6, rtol=1e-6)
    for ours, theirs in zip(head.parameters(), reference.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad, atol=1e-6, rtol=1e-6)
    with torch.no_grad():
        torch.testing.assert_close(
            head.eval()(x), nn.Sequential.forward(reference.eval(), x)
        )


def test_dense_layers_gradcheck():
    head = dense_head(0.0).double()
    x = torch.randn(4, 6, dtype=torch.float64, requires_grad=True)
    parameters = tuple(head.parameters())
    assert torch.autograd.gradcheck(
        lambda x, *parameters: dense_elu(x, [None, None], parameters),
        (x, *parameters),
    )


def test_dense_layers_under_autocast_are_torch_s():
    head = dense_head(0.0)
    x = torch.randn(4, 6)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = head(x)
        expected = nn.Sequential.forward(head, x)
    assert y.dtype == torch.bfloat16
    assert torch.equal(y, expected)


def test_dense_layers_that_were_changed_are_called():
    x = torch.randn(4, 6)
    head = dense_head(0.0)
    seen = []
    head.f6.register_forward_hook(lambda layer, inputs, y: seen.append(y))
    head.f5.register_full_backward_hook(lambda layer, *grads: seen.append(grads))
    head(x.clone().requires_grad_()).sum().backward()
    assert len(seen) == 2
    head = dense_head(0.0)
    head.out = nn.Identity()
    assert head(x).shape == (4, 5)
