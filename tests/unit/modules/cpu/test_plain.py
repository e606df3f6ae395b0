"""Layers that were changed, or have hooks, are those that train and predict."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils import parametrizations, parametrize, prune

from fmnist_sklearn import LeNet5, MiniVGG
from fmnist_sklearn.modules import convolutions_folded, lenet5, minivgg
from fmnist_sklearn.modules.minivgg import ImageConv2d


@pytest.fixture
def quick_calls(monkeypatch):
    """Names of the quick forms, as they are called."""
    called = []

    def watch(module, name):
        function = getattr(module, name)

        def watched(*args):
            called.append(name)
            return function(*args)

        monkeypatch.setattr(module, name, watched)

    watch(lenet5.conv_pool, "conv_norm_pool_elu")
    watch(lenet5.conv_pool, "folded_conv_pool_elu")
    watch(lenet5, "dense_elu")
    watch(minivgg, "conv_of_images")
    return called


# As built


def test_networks_as_built_are_quick(build, images, quick_calls):
    net = build(LeNet5)
    net(images)
    assert quick_calls == ["conv_norm_pool_elu"] * 2 + ["dense_elu"]
    quick_calls.clear()
    with torch.no_grad():
        net.eval()(images)
    assert quick_calls == ["folded_conv_pool_elu"] * 2 + ["dense_elu"]
    quick_calls.clear()
    build(MiniVGG)(images)
    assert quick_calls == ["conv_of_images"]


@pytest.mark.parametrize(
    "around",
    [
        lambda: torch.autocast("cpu", dtype=torch.bfloat16),
        lambda: torch.device("cpu"),
    ],
    ids=["autocast", "device"],
)
def test_first_convolution_of_mini_vgg_is_quick_in(around, build, images, quick_calls):
    with around():
        build(MiniVGG)(images)
    assert quick_calls == ["conv_of_images"]


def test_layers_put_back_as_they_were_are_quick(build, images, quick_calls):
    net = build(LeNet5)
    hook = net.c1.conv.register_forward_hook(lambda *_: None)
    prune.l1_unstructured(net.head.f5, "weight", amount=0.5)
    net(images)
    assert quick_calls == ["conv_norm_pool_elu"]
    hook.remove()
    prune.remove(net.head.f5, "weight")
    quick_calls.clear()
    copy.deepcopy(net)(images)
    assert quick_calls == ["conv_norm_pool_elu"] * 2 + ["dense_elu"]


# Changed layers

CHANGES = {}


def change(network):
    """Register a change of a network under its name."""

    def register(function):
        CHANGES[f"{network.__name__}-{function.__name__}"] = network, function
        return function

    return register


@change(LeNet5)
def other_activation(net):
    net.c1.activation = nn.ReLU()


@change(LeNet5)
def other_alpha(net):
    net.c3.activation.alpha = 0.3


@change(LeNet5)
def other_activation_in_the_head(net):
    net.head.activation5 = nn.Tanh()


@change(LeNet5)
def average_pooling(net):
    net.c3.pool = nn.AvgPool2d(2)


@change(LeNet5)
def overlapping_pooling(net):
    net.c1.pool = nn.MaxPool2d(3, stride=2, padding=1)


@change(LeNet5)
def setting_of_the_pooling(net):
    net.c1.pool.kernel_size, net.c1.pool.padding = 3, 1


@change(LeNet5)
def no_norm(net):
    net.c1.norm = nn.Identity()


@change(LeNet5)
def group_norm(net):
    net.c3.norm = nn.GroupNorm(4, 16)


@change(LeNet5)
def evaluated_norm(net):
    net.c1.norm.eval()


@change(LeNet5)
def norm_with_other_eps(net):
    net.c1.norm.eps = 0.5


@change(LeNet5)
def norm_with_cumulative_average(net):
    net.c3.norm.momentum = None


@change(LeNet5)
def norm_without_running_statistics(net):
    net.c1.norm = nn.BatchNorm2d(6, track_running_stats=False)


@change(LeNet5)
def norm_without_parameters(net):
    net.c1.norm = nn.BatchNorm2d(6, affine=False)


@change(LeNet5)
def norm_without_a_count(net):
    net.c3.norm.num_batches_tracked = None


@change(LeNet5)
def frozen_convolution(net):
    net.c1.conv.requires_grad_(False)


@change(LeNet5)
def only_the_head_is_trained(net):
    net.c1.requires_grad_(False)
    net.c3.requires_grad_(False)


@change(LeNet5)
def dilated_convolution(net):
    net.c1.conv = nn.Conv2d(1, 6, 5, padding=4, dilation=2)


@change(LeNet5)
def grouped_convolution(net):
    net.c3.conv = nn.Conv2d(6, 16, 5, groups=2)


@change(LeNet5)
def convolution_with_reflected_padding(net):
    net.c1.conv = nn.Conv2d(1, 6, 5, padding=2, padding_mode="reflect")


@change(LeNet5)
def convolution_with_named_padding(net):
    net.c1.conv = nn.Conv2d(1, 6, 5, padding="same")


@change(LeNet5)
def convolution_without_bias(net):
    net.c3.conv = nn.Conv2d(6, 16, 5, bias=False)


@change(LeNet5)
def kernels_of_another_size(net):
    net.c1.conv.weight = nn.Parameter(torch.randn(6, 1, 3, 3))
    net.c1.conv.padding = (1, 1)


@change(LeNet5)
def pruned_convolution(net):
    prune.l1_unstructured(net.c3.conv, "weight", amount=0.5)


@change(LeNet5)
def pruned_head(net):
    prune.random_unstructured(net.head.f6, "weight", amount=0.5)


@change(LeNet5)
def weight_norm(net):
    parametrizations.weight_norm(net.c1.conv)
    parametrizations.weight_norm(net.head.f5)


@change(LeNet5)
def parametrised_norm(net):
    class Positive(nn.Module):
        def forward(self, weight):
            return weight.exp()

    parametrize.register_parametrization(net.c1.norm, "weight", Positive())


@change(LeNet5)
def convolution_with_a_forward_of_its_own(net):
    conv = net.c1.conv
    conv.forward = lambda x: nn.Conv2d.forward(conv, x) * 2 + x


@change(LeNet5)
def dropout_with_a_forward_of_its_own(net):
    net.head.dropout5.forward = lambda x: x / 3


@change(LeNet5)
def head_without_an_activation(net):
    del net.head.activation6


@change(LeNet5)
def head_without_bias(net):
    net.head.out = nn.Linear(8, 10, bias=False)


@change(MiniVGG)
def strided_convolution(net):
    net.features.conv1_1 = ImageConv2d(1, 4, 4, padding=11, stride=2)


@change(MiniVGG)
def circular_padding(net):
    net.features.conv1_1.padding_mode = "circular"
    net.features.conv1_1._reversed_padding_repeated_twice = [3, 3, 3, 3]


@change(MiniVGG)
def no_bias(net):
    net.features.conv1_1.bias = None


@change(MiniVGG)
def padding_by_name(net):
    net.features.conv1_1 = ImageConv2d(1, 4, 1, padding="valid")
    net.features.conv2_1 = nn.Conv2d(4, 5, 3, padding=2)


@change(MiniVGG)
def oblong_kernels(net):
    net.features.conv1_1 = ImageConv2d(1, 4, (3, 5), padding=(3, 4))


@change(MiniVGG)
def pruned_first_convolution(net):
    prune.l1_unstructured(net.features.conv1_1, "weight", amount=0.5)


@change(MiniVGG)
def spectral_norm(net):
    parametrizations.spectral_norm(net.features.conv1_1).eval()


@change(MiniVGG)
def activation_in_place(net):
    net.features.pool1 = nn.ReLU(inplace=True)
    net.features.conv2_1 = nn.Conv2d(4, 5, 3, padding=1, stride=2)


@change(MiniVGG)
def forward_of_its_own(net):
    net.features.conv1_1.forward = lambda x: F.pad(x, (2,) * 4).repeat(1, 4, 1, 1)


@change(MiniVGG)
def frozen_first_convolution(net):
    net.features.conv1_1.requires_grad_(False)


@pytest.mark.parametrize("name", CHANGES)
def test_changed_layers_are_those_used(
    name, build, images, train, layer_by_layer, assert_close
):
    network, function = CHANGES[name]
    net, reference = build(network, function), build(network, function)

    for _ in range(2):
        net.zero_grad()
        reference.zero_grad()
        expected = train(reference, images, layer_by_layer)
        assert_close(train(net, images), expected)
    for buffer, expected in zip(net.buffers(), reference.buffers(), strict=True):
        assert_close(buffer, expected)
    net.eval()
    reference.eval()
    with torch.no_grad():
        expected = layer_by_layer(reference, images)
        assert_close(net(images), expected)
        with convolutions_folded(net):
            assert_close(net(images), expected)


def test_a_norm_in_evaluation_mode_keeps_its_statistics(build, images):
    net = build(LeNet5)
    net.c1.norm.eval()
    net(images)
    assert not net.c1.norm.running_mean.any()
    assert net.c1.norm.num_batches_tracked == 0
    assert net.c3.norm.num_batches_tracked == 1


@pytest.mark.parametrize(
    "x",
    [
        torch.rand(6, 3, 12, 12),
        torch.rand(6, 1, 12, 12).double(),
        torch.rand(1, 12, 12),
    ],
    ids=["channels", "dtype", "no batch"],
)
def test_blocks_refuse_what_their_layers_refuse(x):
    block = lenet5.ConvBlock(1, 6, padding=2)
    with pytest.raises((RuntimeError, ValueError)) as ours:
        block(x)
    with pytest.raises((RuntimeError, ValueError)) as theirs:
        block.norm(block.conv(x))
    assert str(ours.value) == str(theirs.value)


def test_a_first_convolution_takes_what_its_class_takes():
    conv = ImageConv2d(1, 4, 3)
    assert conv(torch.rand(1, 12, 12)).shape == (4, 10, 10)
    assert conv(torch.rand(0, 1, 12, 12)).shape == (0, 4, 10, 10)
    with pytest.raises(RuntimeError, match="to have 1 channels"):
        conv(torch.rand(6, 3, 12, 12))
    with pytest.raises(RuntimeError, match="Kernel size can't be greater"):
        conv(torch.rand(6, 1, 2, 2))


def test_layers_that_do_not_belong_together_are_refused(images):
    block = lenet5.ConvBlock(1, 6, padding=2)
    block.norm = nn.BatchNorm2d(1)
    for mode in (True, False):
        with torch.no_grad(), pytest.raises(RuntimeError, match="running_mean"):
            block.train(mode)(images)


# Hooks


def leaves(net):
    return {name: m for name, m in net.named_modules() if not list(m.children())}


@pytest.mark.parametrize(
    "register",
    [
        "register_forward_pre_hook",
        "register_forward_hook",
        "register_full_backward_pre_hook",
        "register_full_backward_hook",
    ],
)
def test_hooks_of_all_layers_are_called(register, network, build, images):
    net = build(network)
    called = []
    for name, layer in leaves(net).items():
        getattr(layer, register)(lambda *_, name=name: called.append(name))
    images.requires_grad_()  # or scaling would have no gradient to tell of

    for mode in (True, False):
        called.clear()
        net.train(mode)(images).sum().backward()
        assert sorted(called) == sorted(leaves(net))


@pytest.mark.parametrize("kind", ["forward_pre_hook", "forward_hook"])
def test_hooks_of_all_modules_are_called(kind, network, build, images):
    net = build(network)
    called = set()
    register = getattr(nn.modules.module, f"register_module_{kind}")
    hook = register(lambda layer, *_: called.add(layer))
    try:
        for mode in (True, False):
            called.clear()
            with torch.no_grad():
                net.train(mode)(images)
            assert called == set(net.modules())
    finally:
        hook.remove()


def test_backward_hooks_of_all_modules_are_called(network, build, images):
    net = build(network)
    called = set()
    register = nn.modules.module.register_module_full_backward_hook
    hook = register(lambda layer, *_: called.add(layer))
    try:
        net(images.requires_grad_()).sum().backward()
    finally:
        hook.remove()
    assert called == set(net.modules())


def test_hooks_may_replace_what_a_layer_returns(network, build, images, assert_close):
    net = build(network)
    layers = leaves(net)
    last = layers["c3.norm" if network is LeNet5 else "features.conv1_1"]
    last.register_forward_hook(lambda layer, inputs, y: torch.zeros_like(y))
    for mode in (True, False):
        with torch.no_grad():
            logits = net.train(mode)(images)
        assert_close(logits, logits[:1].expand_as(logits))
        assert build(network).train(mode)(images).std(0).min() > 1e-4


def test_hooks_of_a_block_may_change_its_output_in_place(
    build, images, train, layer_by_layer, assert_close
):
    def erase(layer, inputs, y):
        y[:, 2] = 0

    net, reference = build(LeNet5), build(LeNet5)
    net.c1.register_forward_hook(erase)
    reference.c1.activation.register_forward_hook(erase)
    assert_close(train(net, images), train(reference, images, layer_by_layer))
