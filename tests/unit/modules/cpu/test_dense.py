import copy

import pytest
import torch
from torch import nn

from fmnist_sklearn.modules.cpu.dense import dense_elu
from fmnist_sklearn.modules.layers import Dropout
from fmnist_sklearn.modules.lenet5 import DenseHead


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
    masks = [torch.rand(4, 7, dtype=torch.float64), None]

    def function(x, *parameters):
        return dense_elu(x, masks, parameters)

    assert torch.autograd.gradcheck(function, (x, *head.parameters()))
    assert torch.autograd.gradgradcheck(function, (x, *head.parameters()))


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


def test_dense_layers_take_inputs_of_any_shape():
    head = dense_head(0.0)
    x = torch.randn(2, 4, 6)
    torch.testing.assert_close(head(x), torch.stack([head(rows) for rows in x]))
    torch.testing.assert_close(head(x[0, 0]), head(x[0])[0])
