import copy
import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from fmnist_sklearn import LeNet5, kernels
from fmnist_sklearn.kernels import elu
from fmnist_sklearn.modules import ConvBlock, DenseHead, Dropout


def gradient(function, x, grad):
    x = x.clone(memory_format=torch.preserve_format).requires_grad_()
    function(x).backward(grad)
    return x.grad


# ELU


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_elu_values(dtype):
    x = torch.cat([torch.linspace(-30, 30, 6001), torch.linspace(-1e-3, 1e-3, 101)])
    x = x.to(dtype)

    torch.testing.assert_close(elu(x), F.elu(x), atol=1e-6, rtol=0)
    assert torch.equal(elu(x)[x > 0], x[x > 0])
    assert elu(x).dtype == dtype


def test_elu_of_special_values():
    y = elu(torch.tensor([math.inf, -math.inf, math.nan, 0.0, -0.0]))

    assert y[:2].tolist() == [math.inf, -1.0]
    assert y[2].isnan()
    assert y[3:].tolist() == [0.0, 0.0]


def test_elu_gradient_is_torch_s():
    x = torch.randn(7, 5, 4, 3) * 3
    grad = torch.randn_like(x)

    torch.testing.assert_close(
        gradient(elu, x, grad), gradient(F.elu, x, grad), atol=1e-6, rtol=1e-6
    )


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


# The convolution block: corner planes, normalisation, pooling


def plain_block(block, x):
    """Compute a block from PyTorch's own operations, in the textbook's order."""
    return F.max_pool2d(F.elu(block.norm(block.conv(x))), 2)


def pair_of_blocks(in_channels, padding, dtype=torch.float32):
    """Build two equal blocks, with factors of both signs, the second for reference."""
    block = ConvBlock(in_channels, 6, padding).to(dtype)
    with torch.no_grad():
        block.norm.weight.copy_(torch.tensor([1.0, -0.7, 0.2, 1.5, -1.0, 0.5]))
        block.norm.bias.copy_(torch.linspace(-1, 1, 6))
    return block, copy.deepcopy(block)


# C1 (one product with shifted copies), RGB, C3 (PyTorch's convolution), odd outputs.
BLOCKS = [
    ((8, 1, 28, 28), 2),
    ((8, 3, 16, 20), 2),
    ((8, 6, 14, 14), 0),
    ((4, 1, 9, 12), 2),
]


def in_two_parts(function):
    """Let a function see a batch as ``in_parts`` cuts it for two threads."""
    return lambda x: function(x.unflatten(0, (2, -1))).flatten(0, 1)


@pytest.mark.parametrize("threads", [1, 2, 3, 16])
@pytest.mark.parametrize("n", [0, 1, 31, 64, 65, 96, 128, 1000])
def test_parts_of_a_batch(monkeypatch, threads, n):
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    x = torch.arange(n * 4.0).view(n, 1, 2, 2)
    parts = kernels.in_parts(x)
    assert torch.equal(parts.flatten(0, 1), x)
    assert 1 <= len(parts) <= threads
    assert len(parts) == 1 or parts.shape[1] >= 32
    if (threads, n) in [(2, 64), (2, 128), (2, 1000), (3, 96)]:
        assert len(parts) == threads


@pytest.mark.parametrize("cut", [lambda block: block, in_two_parts])
@pytest.mark.parametrize(("shape", "padding"), BLOCKS)
def test_block_in_training_equals_torch_s(shape, padding, cut):
    block, reference = pair_of_blocks(shape[1], padding)
    x = torch.randn(shape)
    grad = torch.randn_like(plain_block(copy.deepcopy(reference), x))

    y, y_reference = cut(block)(x), plain_block(reference, x)
    y.backward(grad)
    y_reference.backward(grad)

    torch.testing.assert_close(y, y_reference, atol=1e-5, rtol=1e-5)
    for name in ("conv.weight", "norm.weight", "norm.bias"):
        torch.testing.assert_close(
            block.get_parameter(name).grad,
            reference.get_parameter(name).grad,
            atol=1e-4,
            rtol=1e-4,
        )
    for ours, theirs in zip(block.buffers(), reference.buffers(), strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=1e-5)
    # Normalisation takes the convolution's bias away, so its gradient is 0.
    torch.testing.assert_close(
        block.conv.bias.grad, reference.conv.bias.grad, atol=1e-3, rtol=0
    )
    assert reference.conv.bias.grad.abs().max() < 1e-3


@pytest.mark.parametrize("cut", [lambda block: block, in_two_parts])
@pytest.mark.parametrize(("shape", "padding"), BLOCKS)
def test_block_in_prediction_equals_torch_s(shape, padding, cut):
    block, reference = pair_of_blocks(shape[1], padding)
    with torch.no_grad():
        for norm in (block.norm, reference.norm):
            norm.running_mean.copy_(torch.linspace(-0.5, 0.5, 6))
            norm.running_var.copy_(torch.linspace(0.5, 2, 6))
        x = torch.randn(shape)
        torch.testing.assert_close(
            cut(block.eval())(x),
            plain_block(reference.eval(), x),
            atol=1e-5,
            rtol=1e-5,
        )


@pytest.mark.parametrize("cut", [lambda block: block, in_two_parts])
def test_gradient_for_the_input_of_a_block(cut):
    block, reference = pair_of_blocks(6, 0)
    x = torch.randn(4, 6, 14, 14)
    grad = torch.randn(4, 6, 5, 5)
    ours = gradient(cut(block), x, grad)
    theirs = gradient(lambda x: plain_block(reference, x), x, grad)
    torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(("channels", "padding", "side"), [(1, 2, 6), (4, 0, 8)])
def test_block_gradcheck(channels, padding, side):
    block, _ = pair_of_blocks(channels, padding, torch.float64)
    x = torch.randn(3, channels, side, side, dtype=torch.float64)

    def function(weight, gamma, beta):
        parameters = {"conv.weight": weight, "norm.weight": gamma, "norm.bias": beta}
        return torch.func.functional_call(block, parameters, x)

    arguments = [
        t.detach().clone().requires_grad_()
        for t in (block.conv.weight, block.norm.weight, block.norm.bias)
    ]
    assert torch.autograd.gradcheck(function, arguments)


@pytest.mark.parametrize("n_values", [1, 2, 3])
def test_gradient_at_ties_goes_where_max_pool_sends_it(n_values):
    """Few values make two, three and four equal corners common."""
    x = torch.randint(0, n_values, (8, 3, 8, 8)).float()
    windows = x.view(8, 3, 4, 2, 4, 2).permute(3, 5, 1, 0, 2, 4).reshape(4, 3, -1)
    n_equal = (windows == windows.amax(0)).sum(0)
    assert set(n_equal.unique().tolist()) >= ({4} if n_values == 1 else {2, 3, 4})
    gamma, beta = torch.tensor([0.5, 1.0, 2.0]), torch.zeros(3)
    grad = torch.randn(8, 3, 4, 4)
    identity = torch.zeros(3, 3, 5, 5)
    identity[range(3), range(3), 2, 2] = 1

    def ours(x):
        parameters = identity, torch.zeros(3), gamma, beta
        return kernels.conv_norm_pool_elu(x, *parameters, eps=1e-5, padding=2)[0]

    def theirs(x):
        normed = F.batch_norm(x, None, None, gamma, beta, training=True)
        return F.elu(F.max_pool2d(normed, 2))

    torch.testing.assert_close(
        gradient(in_two_parts(ours), x, grad),
        gradient(theirs, x, grad),
        atol=1e-5,
        rtol=1e-4,
    )


def test_block_under_autocast_is_torch_s():
    block, reference = pair_of_blocks(1, 2)
    x = torch.randn(8, 1, 28, 28)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y, expected = (
            block(x),
            block.activation(reference.pool(reference.norm(reference.conv(x)))),
        )
    assert y.dtype == expected.dtype
    assert torch.equal(y, expected)
    assert torch.equal(block.norm.running_var, reference.norm.running_var)


def test_block_propagates_nan():
    block, _ = pair_of_blocks(1, 2)
    x = torch.randn(2, 1, 12, 12)
    x[1, 0, 5, 5] = math.nan
    with torch.no_grad():
        y = block.eval()(x)
    assert y[1].isnan().any()
    assert not y[0].isnan().any()


def test_second_derivative_of_elu():
    x = torch.randn(40, dtype=torch.float64)
    x += 0.1 * x.sign()
    assert torch.autograd.gradgradcheck(elu, x.requires_grad_())


def test_second_derivative_of_a_block_is_refused_rather_than_wrong():
    block, _ = pair_of_blocks(1, 2)
    loss = block(torch.randn(2, 1, 12, 12)).square().sum()
    (slope,) = torch.autograd.grad(loss, block.norm.weight, create_graph=True)
    with pytest.raises(RuntimeError, match="differentia"):
        slope.sum().backward()


@pytest.mark.filterwarnings("ignore:.*torch.jit.trace:FutureWarning")
def test_traced_graph_holds_torch_s_operations():
    traced = torch.jit.trace(ConvBlock(1, 6, 2).eval(), torch.randn(2, 1, 28, 28))
    kinds = [node.kind() for node in traced.inlined_graph.nodes()]

    assert kinds.count("aten::elu") == 1
    assert kinds.count("aten::max_pool2d") == 1


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
        lambda x, *parameters: kernels.dense_elu(x, [None, None], parameters),
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
