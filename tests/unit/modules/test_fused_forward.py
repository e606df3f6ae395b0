"""Which layers a fused forward stands in for, and which are called themselves."""

import copy
from functools import partial

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from skorch.callbacks import Callback
from torch import nn
from torch.nn.utils import parametrizations, parametrize, prune

from fmnist_sklearn import LeNet5, LeNet5Classifier, MiniVGG, MiniVGGClassifier
from fmnist_sklearn.modules import Dropout, fast
from fmnist_sklearn.modules.fast import fused_forward

TRAINING = ["train_block"] * 2 + ["dense_elu"]
PREDICTION = ["predict_block"] * 2 + ["dense_elu"]


def fused(net, x):
    return fused_forward(net)(x)


@pytest.fixture
def calls(monkeypatch):
    """Names of the fused operations, as they are called."""
    called = []

    def watched(name, function, *args):
        called.append(name)
        return function(*args)

    for name in ("train_block", "predict_block", "dense_elu", "conv_of_images"):
        monkeypatch.setattr(fast, name, partial(watched, name, getattr(fast, name)))
    return called


def called_in(calls, function, *args):
    calls.clear()
    function(*args)
    return list(calls)


# As built


def test_fused_forward_of_networks_as_built(build, images, calls):
    lenet5, mini_vgg = build(LeNet5), build(MiniVGG)
    assert called_in(calls, fused, lenet5, images) == TRAINING
    assert called_in(calls, fused, mini_vgg, images) == ["conv_of_images"]
    with torch.no_grad():
        assert called_in(calls, fused, lenet5.eval(), images) == PREDICTION
        assert called_in(calls, fused, mini_vgg.eval(), images) == []
    # The gradient of a prediction is that of the layers, but for the dense ones.
    assert called_in(calls, fused, lenet5, images) == ["dense_elu"]
    for net in (lenet5, mini_vgg):
        assert called_in(calls, net.train(), images) == []
        with torch.no_grad():
            assert called_in(calls, net.eval(), images) == []


def test_fused_forward_in_autocast(build, images, calls):
    with torch.autocast("cpu", dtype=torch.bfloat16), torch.device("cpu"):
        assert called_in(calls, fused, build(MiniVGG), images) == ["conv_of_images"]
        net = build(LeNet5)
        assert called_in(calls, fused, net, images) == []
        assert torch.equal(fused(net, images), net(images))


def test_fused_forward_of_layers_put_back_as_they_were(build, images, calls):
    net = build(LeNet5)
    hook = net.c1.conv.register_forward_hook(lambda *_: None)
    prune.l1_unstructured(net.head.f5, "weight", amount=0.5)
    assert called_in(calls, fused, net, images) == ["train_block"]
    hook.remove()
    prune.remove(net.head.f5, "weight")
    assert called_in(calls, fused, copy.deepcopy(net), images) == TRAINING


def test_fused_forward_of_other_modules_is_the_module():
    class Doubled(LeNet5):
        def forward(self, x):
            return 2 * super().forward(x)

    replaced = LeNet5()
    replaced.forward = torch.zeros_like
    for module in (Doubled(), replaced, nn.Identity()):
        assert fused_forward(module) is module


def test_fit_and_predict_call_the_fused_forward(X, y, quick, calls):
    settings = quick | {"max_epochs": 1, "batch_size": -1, "device": "cpu"}
    net = LeNet5Classifier(**settings, predict_flip=True)
    step_and_validation = TRAINING + PREDICTION
    assert called_in(calls, net.fit, X, y) == step_and_validation
    assert called_in(calls, net.predict, X[:3]) == PREDICTION * 2
    settings |= {"module__widths": (4, "M"), "module__hidden_units": 5}
    net = MiniVGGClassifier(**settings)
    assert called_in(calls, net.fit, X, y) == ["conv_of_images"]


# Changed layers


def put(path, layer, *args, **kwargs):
    return lambda net: net.set_submodule(path, layer(*args, **kwargs))


def with_attributes(path, **values):
    def change(net):
        for name, value in values.items():
            setattr(net.get_submodule(path), name, value)

    return change


def of_layer(path, function, *args, **kwargs):
    return lambda net: function(net.get_submodule(path), *args, **kwargs)


def both(*changes):
    return lambda net: [change(net) for change in changes]


class Positive(nn.Module):
    def forward(self, weight):
        return weight.exp()


def random_and_negative(net):
    """Set dropout with a generator of its own, and factors of norms below 0."""
    for layer in net.modules():
        if isinstance(layer, nn.BatchNorm2d):
            nn.init.constant_(layer.weight, -1)
        if isinstance(layer, Dropout):
            layer.p, layer.generator = 0.4, torch.Generator().manual_seed(5)


def erase_a_channel(layer, inputs, y):
    y[:, 2] = 0


HOOK = nn.Module.register_forward_hook
FIRST = "features.conv1_1"
PRUNE = prune.l1_unstructured, "weight", 0.5
CHANGES = {
    LeNet5: {
        "activation": put("c1.activation", nn.ReLU),
        "alpha": with_attributes("c3.activation", alpha=0.3),
        "activation in the head": put("head.activation5", nn.Tanh),
        "average pooling": put("c3.pool", nn.AvgPool2d, 2),
        "overlapping pooling": put("c1.pool", nn.MaxPool2d, 3, 2, padding=1),
        "setting of the pooling": with_attributes("c1.pool", kernel_size=3, padding=1),
        "no norm": put("c1.norm", nn.Identity),
        "group norm": put("c3.norm", nn.GroupNorm, 4, 16),
        "evaluated norm": of_layer("c1.norm", nn.Module.eval),
        "eps": with_attributes("c1.norm", eps=0.5),
        "cumulative average": with_attributes("c3.norm", momentum=None),
        "no statistics": put("c1.norm", nn.BatchNorm2d, 6, track_running_stats=False),
        "norm without parameters": put("c1.norm", nn.BatchNorm2d, 6, affine=False),
        "parametrised norm": of_layer(
            "c1.norm", parametrize.register_parametrization, "weight", Positive()
        ),
        "frozen convolution": of_layer("c1.conv", nn.Module.requires_grad_, False),
        "frozen block": of_layer("c3", nn.Module.requires_grad_, False),
        "dilation": put("c1.conv", nn.Conv2d, 1, 6, 5, padding=4, dilation=2),
        "groups": put("c3.conv", nn.Conv2d, 6, 16, 5, groups=2),
        "reflected padding": put(
            "c1.conv", nn.Conv2d, 1, 6, 5, padding=2, padding_mode="reflect"
        ),
        "named padding": put("c1.conv", nn.Conv2d, 1, 6, 5, padding="same"),
        "convolution without bias": put("c3.conv", nn.Conv2d, 6, 16, 5, bias=False),
        "kernels of another size": put("c1.conv", nn.Conv2d, 1, 6, 3, padding=1),
        "pruned convolution": of_layer("c3.conv", *PRUNE),
        "pruned head": of_layer("head.f6", *PRUNE),
        "weight norm": of_layer("c1.conv", parametrizations.weight_norm),
        "weight norm in the head": of_layer("head.f5", parametrizations.weight_norm),
        "forward of a convolution": with_attributes(
            "c1.conv", forward=lambda x: x.repeat(1, 6, 1, 1)
        ),
        "forward of a block": with_attributes(
            "c3", forward=lambda x: x.flatten(1)[:, :16, None, None]
        ),
        "forward of a dropout": with_attributes("head.dropout5", forward=torch.neg),
        "head without an activation": lambda net: delattr(net.head, "activation6"),
        "head without bias": put("head.out", nn.Linear, 8, 10, bias=False),
        "shorter head": put("head.out", nn.Identity),
        "channels last": lambda net: net.to(memory_format=torch.channels_last),
        "hook that replaces": of_layer("c3.norm", HOOK, lambda *args: args[2] * 0),
        "hook in place of a block": of_layer("c1", HOOK, erase_a_channel),
    },
    MiniVGG: {
        "stride": put(FIRST, nn.Conv2d, 1, 4, 4, padding=11, stride=2),
        "circular padding": put(
            FIRST, nn.Conv2d, 1, 4, 3, padding=3, padding_mode="circular"
        ),
        "no bias": with_attributes(FIRST, bias=None),
        "padding by name": both(
            put(FIRST, nn.Conv2d, 1, 4, 1, padding="valid"),
            put("features.conv2_1", nn.Conv2d, 4, 5, 3, padding=2),
        ),
        "oblong kernels": put(FIRST, nn.Conv2d, 1, 4, (3, 5), padding=(3, 4)),
        "pruned convolution": of_layer(FIRST, *PRUNE),
        "spectral norm": both(
            of_layer(FIRST, parametrizations.spectral_norm),
            of_layer(FIRST, nn.Module.eval),
        ),
        "activation in place": both(
            put("features.pool1", nn.ReLU, inplace=True),
            put("features.conv2_1", nn.Conv2d, 4, 5, 3, padding=1, stride=2),
        ),
        "activation twice": lambda net: net.features.append(net.features.relu1_pooled),
        "forward of a convolution": with_attributes(
            FIRST, forward=lambda x: F.pad(x, (2,) * 4).repeat(1, 4, 1, 1)
        ),
        "forward of the features": with_attributes(
            "features", forward=lambda x: F.interpolate(x, 8).repeat(1, 5, 1, 1)
        ),
        "frozen convolution": of_layer(FIRST, nn.Module.requires_grad_, False),
        "hook that replaces": of_layer(FIRST, HOOK, lambda *args: args[2] * 0),
    },
}
for changes in CHANGES.values():
    changes["dropout and negative factors"] = random_and_negative
    for dtype in (torch.float64, torch.float16, torch.bfloat16):
        changes[str(dtype)] = of_layer("", nn.Module.to, dtype)


@pytest.mark.parametrize(
    ("network", "name"), [(n, name) for n, names in CHANGES.items() for name in names]
)
def test_fused_forward_of_changed_layers(
    network, name, build, images, train, assert_close
):
    change = CHANGES[network][name]
    net, reference = build(network, change), build(network, change)

    for _ in range(2):
        net.zero_grad()
        reference.zero_grad()
        assert_close(train(net, images, fused), train(reference, images))
    for buffer, expected in zip(net.buffers(), reference.buffers(), strict=True):
        assert_close(buffer, expected)
    net.eval()
    reference.eval()
    with torch.no_grad():
        assert_close(fused(net, images), reference(images))


def test_fused_forward_ignores_the_default_precision(network, build, images, train):
    expected = train(build(network, random_and_negative), images, fused)
    net = build(network, random_and_negative)
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.bfloat16)
    try:
        ours = train(net, images, fused)
    finally:
        torch.set_default_dtype(before)
    torch.testing.assert_close(ours, expected, atol=0, rtol=0)


# Images that the layers take or refuse


@pytest.mark.parametrize("side", [9, 13, 14])
def test_fused_forward_of_odd_sides(side, network, train, assert_close):
    """Only even sides fall into pooling windows; others take the layers."""
    settings = {"widths": (4, "M"), "hidden_units": 5} if network is MiniVGG else {}
    net = network((1, side, 12), dropout=0.0, **settings)
    reference, x = copy.deepcopy(net), torch.rand(6, 1, side, 12)
    assert_close(train(net, x, fused), train(reference, x))
    with torch.no_grad():
        assert_close(fused(net.eval(), x), reference.eval()(x))


@pytest.mark.parametrize("shape", [(6, 3, 12, 12), (1, 12, 12), (6, 1, 2, 2)], ids=str)
@pytest.mark.parametrize("mode", [True, False])
def test_fused_forward_refuses_what_the_layers_refuse(mode, shape, network, build):
    net, x = build(network).train(mode), torch.rand(shape)
    with torch.set_grad_enabled(mode):
        with pytest.raises((RuntimeError, ValueError)) as theirs:
            net(x)
        with pytest.raises((RuntimeError, ValueError)) as ours:
            fused(net, x)
    assert str(ours.value) == str(theirs.value)


def test_fused_forward_of_no_images(network, build):
    net, x = build(network), torch.rand(0, 1, 12, 12)
    if network is MiniVGG:  # LeNet-5's normalisation refuses them
        assert fused(net, x).shape == (0, 10)
    with torch.no_grad():
        assert fused(net.eval(), x).shape == (0, 10)


def test_fused_forward_refuses_layers_that_do_not_belong_together(build, images):
    net = build(LeNet5, put("c1.norm", nn.BatchNorm2d, 1))
    for mode in (True, False):
        with torch.set_grad_enabled(mode), pytest.raises(RuntimeError, match="running"):
            fused(net.train(mode), images)


def test_fused_forward_gives_gradients_to_images(
    network, build, images, train, assert_close
):
    theirs = images.clone().requires_grad_()
    images.requires_grad_()
    train(build(network), images, fused)
    train(build(network), theirs)
    assert_close(images.grad, theirs.grad)


def test_fused_forward_cannot_be_differentiated_twice(network, build, images):
    net = build(network)
    weights = next(net.parameters())
    loss = fused(net, images).square().sum()
    (grad,) = torch.autograd.grad(loss, weights, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        grad.sum().backward()


# Hooks


@pytest.mark.parametrize(
    "kind", ["forward_pre", "forward", "full_backward_pre", "full_backward"]
)
def test_hooks_of_each_module_are_called(kind, network, build, images):
    images.requires_grad_()  # or scaling would have no gradient
    for name in dict(build(network).named_modules()):
        net, called = build(network), []
        register = getattr(net.get_submodule(name), f"register_{kind}_hook")
        register(lambda *_, called=called: called.append(1))
        for mode in (True, False):
            fused(net.train(mode), images).sum().backward()
        assert len(called) == 2, name


@pytest.mark.parametrize("kind", ["forward_pre", "forward", "full_backward"])
def test_hooks_of_all_modules_are_called(kind, network, build, images):
    net = build(network)
    called = set()
    register = getattr(nn.modules.module, f"register_module_{kind}_hook")
    hook = register(lambda layer, *_: called.add(layer))
    try:
        for mode in (True, False):
            called.clear()
            fused(net.train(mode), images.requires_grad_()).sum().backward()
            assert called == set(net.modules())
    finally:
        hook.remove()


def test_hooks_set_in_the_middle_of_an_epoch_are_called(X, y, quick):
    class Hooks(Callback):
        n_steps, called = 0, 0

        def on_batch_end(self, net, training=False, **kwargs):
            self.n_steps += training
            if self.n_steps == 2 and not self.called:
                net.module_.c1.pool.register_forward_hook(self.hook)

        def hook(self, layer, inputs, y):
            self.called += layer.training

    hooks = Hooks()
    settings = quick | {"max_epochs": 1, "device": "cpu"}
    LeNet5Classifier(**settings, callbacks=[("hooks", hooks)]).fit(X, y)
    assert hooks.called == hooks.n_steps - 2 > 2


# Overridden steps


def test_get_loss_of_a_subclass_may_differentiate_twice(X, y, quick):
    class Penalised(LeNet5Classifier):
        def get_loss(self, y_pred, y_true, *args, training=False, **kwargs):
            loss = super().get_loss(y_pred, y_true, *args, training=training, **kwargs)
            if not training:
                return loss
            weights = self.module_.c1.conv.weight
            (grad,) = torch.autograd.grad(loss, weights, create_graph=True)
            return loss + grad.square().sum()

    net = Penalised(**quick, device="cpu").fit(X, y)
    assert np.isfinite(net.history_[:, "train_loss"]).all()


def test_infer_of_a_subclass_is_called(X, y, quick, calls):
    class Halved(LeNet5Classifier):
        def infer(self, x, **fit_params):
            return super().infer(x, **fit_params) / 2

    net = Halved(**quick, device="cpu").fit(X, y)
    assert not calls
    plain = LeNet5Classifier(**quick, device="cpu").fit(X, y)
    plain.module_ = net.module_
    expected = plain.decision_function(X) / 2
    np.testing.assert_allclose(net.decision_function(X), expected, rtol=1e-9)


def test_forward_iter_in_training_mode_may_be_differentiated_twice(lenet5, X):
    net = copy.deepcopy(lenet5)
    logits = next(iter(net.forward_iter(X[:8], training=True)))
    weights = net.module_.head.f5.weight
    (grad,) = torch.autograd.grad(logits.square().sum(), weights, create_graph=True)
    assert torch.autograd.grad(grad.square().sum(), weights)[0].isfinite().all()
