import copy
import math

import pytest
import torch
import torch.nn.functional as F

from fmnist_sklearn.modules.cpu import conv_pool
from fmnist_sklearn.modules.lenet5 import ConvBlock


def gradient(function, x, grad):
    x = x.clone(memory_format=torch.preserve_format).requires_grad_()
    function(x).backward(grad)
    return x.grad


def plain_block(block, x):
    """Compute a block from PyTorch's own operations, in the textbook's order."""
    return F.max_pool2d(F.elu(block.norm(block.conv(x))), 2)


def pair_of_blocks(in_channels, padding, out_channels=6, dtype=torch.float32):
    """Build two equal blocks, with factors of both signs, the second for reference."""
    block = ConvBlock(in_channels, out_channels, padding).to(dtype)
    factors = torch.tensor([1.0, -0.7, 0.2, 1.5, -1.0, 0.5])
    with torch.no_grad():
        block.norm.weight.copy_(factors.repeat(3)[:out_channels])
        block.norm.bias.copy_(torch.linspace(-1, 1, out_channels))
    return block, copy.deepcopy(block)


# Shape of the input, padding and channels of the output: C1, C3, one channel from
# which few come, RGB with sides that differ, an odd side, which PyTorch's layers take.
BLOCKS = [
    ((8, 1, 28, 28), 2, 6),
    ((8, 6, 14, 14), 0, 16),
    ((5, 2, 12, 14), 2, 1),
    ((8, 3, 16, 20), 2, 18),
    ((4, 1, 9, 12), 2, 6),
]


@pytest.mark.parametrize(("shape", "padding", "out"), BLOCKS)
def test_block_in_training_equals_torch_s(shape, padding, out):
    block, reference = pair_of_blocks(shape[1], padding, out)
    x = torch.randn(shape)
    grad = torch.randn_like(plain_block(copy.deepcopy(reference), x))

    y, y_reference = block(x), plain_block(reference, x)
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


@pytest.mark.parametrize(("shape", "padding", "out"), BLOCKS)
def test_block_in_prediction_equals_torch_s(shape, padding, out):
    block, reference = pair_of_blocks(shape[1], padding, out)
    with torch.no_grad():
        for norm in (block.norm, reference.norm):
            norm.running_mean.copy_(torch.linspace(-0.5, 0.5, out))
            norm.running_var.copy_(torch.linspace(0.5, 2, out))
        x = torch.randn(shape)
        torch.testing.assert_close(
            block.eval()(x),
            plain_block(reference.eval(), x),
            atol=1e-5,
            rtol=1e-5,
        )


@pytest.mark.parametrize(("shape", "padding", "out"), BLOCKS)
def test_gradient_for_the_input_of_a_block(shape, padding, out):
    block, reference = pair_of_blocks(shape[1], padding, out)
    x = torch.randn(shape)
    grad = torch.randn_like(plain_block(copy.deepcopy(reference), x))
    ours = gradient(block, x, grad)
    theirs = gradient(lambda x: plain_block(reference, x), x, grad)
    torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(("channels", "padding", "side"), [(1, 2, 6), (4, 0, 8)])
def test_block_gradcheck(channels, padding, side):
    block, _ = pair_of_blocks(channels, padding, dtype=torch.float64)
    x = torch.randn(3, channels, side, side, dtype=torch.float64)

    def function(weight, gamma, beta):
        parameters = weight, block.conv.bias, gamma, beta
        return conv_pool.conv_norm_pool_elu(x, *parameters, 1e-5, padding)[0]

    arguments = [
        t.detach().clone().requires_grad_()
        for t in (block.conv.weight, block.norm.weight, block.norm.bias)
    ]
    assert torch.autograd.gradcheck(function, arguments)
    assert torch.autograd.gradgradcheck(function, arguments, fast_mode=True)


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
        return conv_pool.conv_norm_pool_elu(x, *parameters, eps=1e-5, padding=2)[0]

    def theirs(x):
        normed = F.batch_norm(x, None, None, gamma, beta, training=True)
        return F.elu(F.max_pool2d(normed, 2))

    torch.testing.assert_close(
        gradient(ours, x, grad),
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


@pytest.mark.filterwarnings("ignore:.*torch.jit.trace:FutureWarning")
def test_traced_graph_holds_torch_s_operations():
    traced = torch.jit.trace(ConvBlock(1, 6, 2).eval(), torch.randn(2, 1, 28, 28))
    kinds = [node.kind() for node in traced.inlined_graph.nodes()]

    assert kinds.count("aten::elu") == 1
    assert kinds.count("aten::max_pool2d") == 1
