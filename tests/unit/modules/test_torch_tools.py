"""What PyTorch's own tools make of the networks: derivatives and graphs."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.autograd import forward_ad

from fmnist_sklearn.modules import Dropout

MODES = pytest.mark.parametrize("mode", [True, False], ids=["training", "evaluation"])


@MODES
def test_second_derivatives(mode, network, build, images, textbook, assert_close):
    def with_dropout(net):
        for layer in net.modules():
            if isinstance(layer, Dropout):
                layer.p, layer.generator = 0.4, torch.Generator().manual_seed(5)

    images.requires_grad_()
    results = []
    for forward in (nn.Module.__call__, textbook):
        net = build(network, with_dropout).train(mode)
        wanted = [images, *net.parameters()]
        loss = F.cross_entropy(forward(net, images), torch.arange(6))
        first = torch.autograd.grad(loss, wanted, create_graph=True)
        squares = sum(grad.square().sum() for grad in first)
        results.append((first, torch.autograd.grad(squares, wanted)))
    assert_close(*results, tolerance=1e-4)


def test_gradients_of_each_image(network, build, images, assert_close):
    net, targets = build(network).eval(), torch.arange(6)
    weights = {name: p.detach() for name, p in net.named_parameters()}

    def loss(weights, image, target):
        logits = torch.func.functional_call(net, weights, (image[None],))
        return F.cross_entropy(logits, target[None])

    per_image = torch.func.vmap(torch.func.grad(loss), in_dims=(None, 0, 0))
    each = per_image(weights, images, targets)
    F.cross_entropy(net(images[5:]), targets[5:]).backward()
    for name, parameter in net.named_parameters():
        assert_close(each[name][5], parameter.grad)


@pytest.mark.filterwarnings("ignore:.*torch.jit.script:FutureWarning")
@MODES
def test_derivatives_forwards(mode, network, build, images, assert_close):
    net = build(network).double().train(mode)
    x = images.double()
    direction = torch.randn_like(x)
    with torch.no_grad():
        step = 1e-6 * direction
        slope = (net(x + step) - net(x - step)) / 2e-6
    with forward_ad.dual_level():
        logits = net(forward_ad.make_dual(x, direction))
        tangent = forward_ad.unpack_dual(logits).tangent
    assert_close(tangent, slope)


CAPTURES = {
    "compile": lambda net, x: torch.compile(net, backend="eager", fullgraph=True),
    "export": lambda net, x: torch.export.export(net, (x,)).module(),
    "fx": lambda net, x: torch.fx.symbolic_trace(net),
}


@MODES
@pytest.mark.parametrize("capture", CAPTURES.values(), ids=CAPTURES)
def test_networks_as_captured_graphs(
    capture, mode, network, build, images, train, textbook, assert_close
):
    torch._dynamo.reset()
    net = build(network).train(mode)
    captured = capture(copy.deepcopy(net), images)
    logits, _ = train(captured, images)
    assert_close(logits, textbook(net, images))
