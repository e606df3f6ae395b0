import copy

import pytest
import torch
from torch import nn
from torch.nn.utils import prune

from fmnist_sklearn import LeNet5
from fmnist_sklearn.modules import convolutions_folded, reset_parameters
from fmnist_sklearn.modules.lenet5 import ConvBlock


def test_no_images_give_no_logits():
    with torch.no_grad():
        assert LeNet5().eval()(torch.zeros(0, 1, 28, 28)).shape == (0, 10)


def test_uint8_images_give_the_logits_of_the_same_floats():
    images = torch.randint(0, 256, (2, 1, 28, 28), dtype=torch.uint8)
    module = LeNet5().eval()
    assert torch.equal(module(images), module(images.float()))


def test_lenet5_pads_small_images_with_zeros_after_scaling():
    small = LeNet5(image_shape=(1, 9, 10)).eval()
    full = LeNet5(image_shape=(1, 12, 12)).eval()
    full.load_state_dict(small.state_dict())
    small.scaling.mean.fill_(3.0)  # the border is 0 after scaling, not before

    images = torch.rand(2, 1, 9, 10)
    padded = torch.nn.functional.pad(images - 3.0, (1, 1, 1, 2))
    torch.testing.assert_close(small(images), full(padded))


def test_elu_after_pooling_is_the_same_function():
    block = ConvBlock(1, 6, padding=2)
    x = torch.randn(4, 1, 28, 28)
    textbook = torch.nn.functional.max_pool2d(
        torch.nn.functional.elu(block.norm(block.conv(x))), 2
    )
    torch.testing.assert_close(block(x), textbook, atol=1e-6, rtol=1e-5)


def predict(net, x):
    with torch.no_grad():
        return net(x)


def test_folded_convolutions_predict_the_same():
    net, x = LeNet5().eval(), torch.randn(3, 1, 28, 28)
    changed = copy.deepcopy(net)
    reset_parameters(changed, torch.Generator().manual_seed(1))
    before, after = predict(net, x), predict(changed, x)

    with convolutions_folded(net):
        assert torch.equal(predict(net, x), before)
    net.load_state_dict(changed.state_dict())
    assert torch.equal(predict(net, x), after)
    assert not torch.equal(before, after)


def test_folded_convolutions_are_forgotten_when_training_begins():
    net, x = LeNet5(dropout=0.0), torch.randn(8, 1, 28, 28)
    trained = copy.deepcopy(net)
    with convolutions_folded(net.eval()):
        for module in (net, trained):
            module.train()(x)  # moves the running mean and variance
            module.eval()
        assert torch.equal(predict(net, x), predict(trained, x))


@torch.no_grad()
def load_others(net):
    changed = copy.deepcopy(net)
    reset_parameters(changed, torch.Generator().manual_seed(1))
    net.load_state_dict(changed.state_dict())


def write_to_data(net):
    net.c1.conv.weight.data.mul_(-2)


def write_to_the_array_below(net):
    net.c3.norm.running_mean.numpy()[:] = 0.5


def assign_parameters(net):
    net.c3.norm.bias = nn.Parameter(torch.ones(16))


def freeze_channels(net):
    prune.ln_structured(net.c1.conv, "weight", amount=0.5, n=1, dim=0)


def replace_activation(net):
    net.c1.activation = nn.Tanh()


def hook_in_zeros(net):
    net.c1.pool.register_forward_hook(lambda layer, inputs, y: y * 0)


def compute_in_float64(net):
    net.double()


CHANGES = [
    load_others,
    write_to_data,
    write_to_the_array_below,
    assign_parameters,
    freeze_channels,
    replace_activation,
    hook_in_zeros,
    compute_in_float64,
]


@pytest.mark.parametrize("change", CHANGES)
def test_folded_convolutions_that_change_are_those_used(change):
    net, x = LeNet5().eval(), torch.randn(3, 1, 28, 28)
    expected = copy.deepcopy(net)
    with convolutions_folded(net):
        before = predict(net, x)
        change(net)
        ours = predict(net, x)
        kept = predict(copy.deepcopy(net), x)
    change(expected)
    assert torch.equal(ours, predict(expected, x))
    assert torch.equal(kept, ours)
    assert not torch.equal(ours, before)


@pytest.mark.parametrize("change", CHANGES)
def test_weights_that_change_between_batches_are_those_that_predict(change, lenet5, X):
    net, expected = copy.deepcopy(lenet5), copy.deepcopy(lenet5)
    batches = net.forward_iter(X)
    first = next(batches)
    change(net.module_)
    change(expected.module_)
    rest = torch.cat(list(batches))

    right = torch.cat(list(expected.forward_iter(X)))
    assert torch.equal(rest, right[len(first) :])
    assert not torch.equal(first, right[: len(first)])


def test_predictions_side_by_side_do_not_disturb_each_other(lenet5, X):
    net = copy.deepcopy(lenet5)
    expected = torch.cat(list(net.forward_iter(X)))
    one, other = net.forward_iter(X), net.forward_iter(X)
    first_of_one, first_of_other = next(one), next(other)
    assert torch.equal(torch.cat([first_of_one, *one]), expected)
    assert torch.equal(torch.cat([first_of_other, *other]), expected)


def test_exported_graph_holds_torch_s_operations():
    module = LeNet5().eval()
    x = torch.randn(2, 1, 28, 28)
    exported = torch.export.export(module, (x,))
    targets = [str(node.target) for node in exported.graph.nodes]

    assert targets.count("aten.elu.default") == 4
    assert sum(target.startswith("aten.max_pool2d") for target in targets) == 2
    torch.testing.assert_close(exported.module()(x), module(x), atol=1e-5, rtol=0)
