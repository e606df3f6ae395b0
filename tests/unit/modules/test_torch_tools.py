"""What PyTorch's own tools make of the networks: derivatives, graphs, counts."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.autograd import forward_ad
from torch.utils.checkpoint import checkpoint
from torch.utils.flop_counter import FlopCounterMode

from fmnist_sklearn.modules import Dropout

MODES = pytest.mark.parametrize("mode", [True, False], ids=["training", "evaluation"])


# Derivatives


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


def test_gradients_for_many_cotangents_at_once(network, build, images, assert_close):
    net = build(network)
    y, parameters = net(images), list(net.parameters())
    cotangents = torch.randn(3, *y.shape)

    def gradients(cotangent, **settings):
        return torch.autograd.grad(
            y, parameters, cotangent, retain_graph=True, **settings
        )

    each = map(gradients, cotangents)
    one_by_one = tuple(torch.stack(grads) for grads in zip(*each, strict=True))
    assert_close(gradients(cotangents, is_grads_batched=True), one_by_one)
    assert_close(torch.func.vmap(gradients)(cotangents), one_by_one)


def test_gradients_of_each_image(network, build, images, assert_close):
    net, targets = build(network).eval(), torch.arange(6)
    weights = {name: p.detach() for name, p in net.named_parameters()}

    def loss(weights, image, target):
        logits = torch.func.functional_call(net, weights, (image[None],))
        return F.cross_entropy(logits, target[None])

    per_image = torch.func.vmap(torch.func.grad(loss), in_dims=(None, 0, 0))
    each = per_image(weights, images, targets)
    for row in (0, 5):
        net.zero_grad()
        rows = slice(row, row + 1)
        F.cross_entropy(net(images[rows]), targets[rows]).backward()
        for name, parameter in net.named_parameters():
            assert_close(each[name][row], parameter.grad)


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
    if not mode:  # torch.func takes no layer that changes its buffers
        assert_close(torch.func.jvp(net, (x,), (direction,))[1], slope)
        jacobian = torch.func.jacrev(net)(x)
        assert_close(torch.einsum("ijnchw,nchw->ij", jacobian, direction), slope)


def test_an_ensemble_is_one_call(network, build, images, assert_close):
    nets = [build(network).eval() for _ in range(3)]
    for number, net in enumerate(nets):
        net.scaling.mean.fill_(number / 10)
        with torch.no_grad():
            net.head.out.bias.add_(number)
    states = torch.func.stack_module_state(nets)

    def predict(*states):
        return torch.func.functional_call(nets[0], states, (images,))

    logits = torch.func.vmap(predict)(*states)
    assert_close(logits, torch.stack([net(images) for net in nets]))


def test_what_the_gradient_needs_may_be_computed_again(
    network, build, images, train, assert_close
):
    def recomputed(net, x):
        return checkpoint(net, x, use_reentrant=False)

    ours = train(build(network), images, recomputed)
    assert_close(ours, train(build(network), images))


# Other tensors


@MODES
def test_networks_without_data(mode, network, build, images):
    logits = build(network).to("meta").train(mode)(images.to("meta"))
    assert logits.is_meta
    assert logits.shape == (6, 10)


@MODES
def test_subclasses_of_tensor_come_out_as_they_went_in(mode, network, build, images):
    class Tracked(torch.Tensor):
        pass

    with torch.set_grad_enabled(mode):
        logits = build(network).train(mode)(images.as_subclass(Tracked))
    assert type(logits) is Tracked


# Tools that record or count operations


@MODES
def test_operations_are_counted_as_the_layers_are(
    mode, network, build, images, textbook
):
    counts = []
    for forward in (nn.Module.__call__, textbook):
        net = build(network).train(mode)
        with FlopCounterMode(display=False) as counter, torch.set_grad_enabled(mode):
            logits = forward(net, images)
            if mode:
                logits.sum().backward()
        counts.append(counter.get_flop_counts()["Global"])
    assert counts[0] == counts[1]
    assert torch.ops.aten.convolution in counts[0]


@MODES
def test_compiled_networks(mode, network, build, images, train, textbook, assert_close):
    torch._dynamo.reset()

    def compiled(net, x):
        return torch.compile(net, backend="eager", fullgraph=True)(x)

    ours = train(build(network).train(mode), images, compiled)
    expected = train(build(network).train(mode), images, textbook)
    assert_close(ours, expected)


def test_exported_networks(network, build, images, assert_close):
    net = build(network).eval()
    exported = torch.export.export(net, (images,))
    targets = [str(node.target) for node in exported.graph.nodes]
    assert sum(target.startswith("aten.conv2d") for target in targets) == 2
    assert_close(exported.module()(images), net(images))


@pytest.mark.filterwarnings("ignore:.*torch.jit.trace:FutureWarning")
def test_traced_networks(network, build, images, assert_close):
    net = build(network).eval()
    with torch.no_grad():
        traced = torch.jit.trace(net, images)
        kinds = [node.kind() for node in traced.inlined_graph.nodes()]
        assert kinds.count("aten::_convolution") == 2
        assert_close(traced(images[:4]), net(images[:4]))


@MODES
def test_symbolically_traced_networks(
    mode, network, build, images, textbook, assert_close
):
    net = build(network).train(mode)
    graph = torch.fx.symbolic_trace(copy.deepcopy(net))
    names = [node.name for node in graph.graph.nodes if node.name.endswith("conv2d")]
    called = [node.target for node in graph.graph.nodes if node.op == "call_module"]
    layers = [name for name in called if type(graph.get_submodule(name)) is nn.Conv2d]
    assert len(names + layers) == 2
    assert_close(graph(images), textbook(net, images))
