"""The two networks: what they compute, in which shapes, and what they refuse."""

import copy
import re

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils import prune

from fmnist_sklearn import LeNet5, MiniVGG


def test_networks_compute_the_textbook_s_order(
    network, build, images, train, textbook, assert_close
):
    """Activations after the poolings, which they may change places with."""
    net, reference = build(network), build(network)
    assert_close(train(net, images), train(reference, images, textbook))
    net.eval()
    reference.eval()
    assert_close(net(images), textbook(reference, images))


@pytest.mark.parametrize(
    "image_shape",
    [(1, 28, 28), (3, 32, 32), (1, 1, 1), (1, 1, 40), (2, 5, 9), (1, 13, 27)],
    ids=str,
)
def test_networks_of_any_image_shape(network, image_shape):
    small = {"widths": (8, 8, "M", 8, 8, "M"), "hidden_units": 16}
    kwargs = small if network is MiniVGG else {}
    module = network(image_shape=image_shape, n_classes=7, **kwargs)
    for mode in (True, False):
        logits = module.train(mode)(torch.rand(3, *image_shape))
        assert logits.shape == (3, 7)
        assert logits.dtype == torch.float32
        assert logits.isfinite().all()


def test_networks_of_no_images_and_of_bytes(network, build):
    module = build(network).eval()
    assert module(torch.zeros(0, 1, 12, 12)).shape == (0, 10)
    images = torch.randint(0, 256, (2, 1, 12, 12), dtype=torch.uint8)
    assert torch.equal(module(images), module(images.float()))


def test_lenet5_pads_small_images_with_zeros_after_scaling():
    small = LeNet5(image_shape=(1, 9, 10)).eval()
    full = LeNet5(image_shape=(1, 12, 12)).eval()
    full.load_state_dict(small.state_dict())
    small.scaling.mean.fill_(3.0)  # the border is 0 after scaling, not before

    images = torch.rand(2, 1, 9, 10)
    padded = F.pad(images - 3.0, (1, 1, 1, 2))
    torch.testing.assert_close(small(images), full(padded))


@pytest.mark.parametrize("widths", [(8,), (8, "M"), (8, "M", 4, "M", 4, "M", 4, "M")])
def test_mini_vgg_widths(widths):
    module = MiniVGG(image_shape=(1, 9, 5), widths=widths, hidden_units=6)
    convolutions = [m for m in module.modules() if isinstance(m, nn.Conv2d)]

    assert [c.out_channels for c in convolutions] == [w for w in widths if w != "M"]
    assert module(torch.rand(2, 1, 9, 5)).shape == (2, 10)


@pytest.mark.parametrize("widths", [(), ("M", 32), (32, "P"), (32, 3.5)])
def test_mini_vgg_wrong_widths_are_refused(widths):
    expected = re.escape(f'integers and "M", an integer first, got {widths}')
    with pytest.raises(ValueError, match=f"^widths must hold {expected}$"):
        MiniVGG(widths=widths)


# Changes between the batches of one prediction


OTHERS = LeNet5().state_dict()
CHANGES = {
    "other weights": lambda net: net.load_state_dict(OTHERS),
    "array of a buffer": lambda net: net.c3.norm.running_mean.numpy().fill(0.5),
    "pruning": lambda net: prune.ln_structured(net.c1.conv, "weight", 0.5, n=1, dim=0),
    "activation": lambda net: setattr(net.c1, "activation", nn.Tanh()),
    "hook": lambda net: net.c1.pool.register_forward_hook(lambda *args: args[2] * 0),
    "float64": lambda net: net.double(),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_forward_iter_sees_changes_between_batches(change, lenet5, X):
    net, expected = copy.deepcopy(lenet5), copy.deepcopy(lenet5)
    batches = net.forward_iter(X)
    first = next(batches)
    change(net.module_)
    change(expected.module_)
    rest = torch.cat(list(batches))

    right = torch.cat(list(expected.forward_iter(X)))
    assert torch.equal(rest, right[len(first) :])
    assert not torch.equal(first, right[: len(first)])
