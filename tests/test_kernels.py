import math

import pytest
import torch
import torch.nn.functional as F

from fmnist_sklearn import LeNet5
from fmnist_sklearn.kernels import elu, max_pool2x2

SHAPES = [(1, 1, 2, 2), (2, 3, 8, 8), (2, 3, 7, 9), (1, 2, 2, 5), (4, 1, 3, 2)]


def bits(x):
    """The bit patterns: -0 and 0 differ, NaN equals itself."""
    return x.detach().contiguous().view(torch.int32)


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


# 2 x 2 max pooling


@pytest.mark.parametrize("shape", SHAPES)
def test_max_pool_equals_torch_s(shape):
    x = torch.randn(shape)
    for values in (x, -x.abs(), x.abs()):
        assert torch.equal(bits(max_pool2x2(values)), bits(F.max_pool2d(values, 2)))


@pytest.mark.parametrize("shape", [(64, 1, 8, 8), (64, 3, 7, 7)])
def test_max_pool_of_both_zeros(shape):
    x = torch.zeros(shape).copysign(torch.randn(shape))
    assert torch.equal(bits(max_pool2x2(x)), bits(F.max_pool2d(x, 2)))


@pytest.mark.parametrize("shape", SHAPES)
def test_max_pool_channels_last(shape):
    x = torch.randn(shape).to(memory_format=torch.channels_last)
    grad = torch.randn_like(F.max_pool2d(x, 2))

    assert torch.equal(bits(max_pool2x2(x)), bits(F.max_pool2d(x, 2)))
    ours = gradient(max_pool2x2, x, grad)
    theirs = gradient(lambda x: F.max_pool2d(x, 2), x, grad)
    assert torch.equal(ours, theirs)


def test_max_pool_of_a_view_that_is_not_contiguous():
    x = torch.randn(2, 3, 10, 12).transpose(2, 3)
    assert torch.equal(max_pool2x2(x), F.max_pool2d(x, 2))


@pytest.mark.parametrize("shape", SHAPES)
def test_max_pool_gradient_without_ties(shape):
    x = torch.randn(shape)
    grad = torch.randn_like(F.max_pool2d(x, 2))

    ours = gradient(max_pool2x2, x, grad)
    theirs = gradient(lambda x: F.max_pool2d(x, 2), x, grad)
    assert torch.equal(ours, theirs)


@pytest.mark.parametrize("n_values", [1, 2, 3])
@pytest.mark.parametrize("shape", [(20, 3, 8, 8), (20, 2, 7, 9)])
def test_max_pool_gradient_at_ties(n_values, shape):
    """Few values make two, three and four equal corners common."""
    x = torch.randint(0, n_values, shape).float()
    pooled = F.max_pool2d(x, 2)
    windows = F.unfold(x[..., : shape[2] // 2 * 2, : shape[3] // 2 * 2], 2, stride=2)
    windows = windows.view(shape[0], shape[1], 4, -1)
    n_equal = (windows == windows.amax(2, keepdim=True)).sum(2)
    assert set(n_equal.unique().tolist()) >= ({4} if n_values == 1 else {2, 3, 4})

    grad = torch.randn_like(pooled)
    ours = gradient(max_pool2x2, x, grad)
    theirs = gradient(lambda x: F.max_pool2d(x, 2), x, grad)
    assert torch.equal(ours, theirs)


def test_max_pool_gradcheck():
    x = torch.randperm(2 * 3 * 5 * 6).double().view(2, 3, 5, 6)  # no two are close
    assert torch.autograd.gradcheck(max_pool2x2, x.requires_grad_())


@pytest.mark.parametrize("corner", [(0, 0), (0, 1), (1, 0), (1, 1)])
def test_max_pool_propagates_nan(corner):
    x = torch.zeros(1, 1, 4, 4)
    x[0, 0, corner[0], corner[1]] = math.nan
    pooled = max_pool2x2(x)

    assert pooled[0, 0, 0, 0].isnan()
    assert pooled.isnan().sum() == 1


def test_second_derivative_of_elu():
    x = torch.randn(40, dtype=torch.float64)
    x += 0.1 * x.sign()
    assert torch.autograd.gradgradcheck(elu, x.requires_grad_())


def test_second_derivative_of_the_pooling_is_refused_rather_than_wrong():
    x = torch.randn(1, 1, 4, 4, requires_grad=True)
    with pytest.raises(RuntimeError, match="differentia"):
        torch.autograd.grad(max_pool2x2(x).square().sum(), x, create_graph=True)


# Recorded graphs hold PyTorch's own operations


@pytest.mark.filterwarnings("ignore:.*torch.jit.trace:FutureWarning")
def test_traced_graph_holds_torch_s_operations():
    traced = torch.jit.trace(lambda x: max_pool2x2(elu(x)), torch.randn(2, 1, 8, 8))
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
