import copy
import math

import pytest
import torch
from torch import nn

from fmnist_sklearn import LeNet5, LeNet5Classifier, MiniVGG, layer_table
from fmnist_sklearn.modules.layers import Dropout, PixelScaling, reset_parameters
from fmnist_sklearn.modules.lenet5 import ConvBlock, convolutions_folded


def n_parameters(module):
    return sum(parameter.numel() for parameter in module.parameters())


def built_on_meta(kind, **kwargs):
    with torch.device("meta"):
        module = kind(**kwargs)
    return module.to_empty(device="cpu")


# Layers and parameters, as the published tables have them


def rows_of(table, kind=""):
    return [
        (row.layer.split(" ")[0], row.output_shape, row.n_parameters)
        for row in table.itertuples()
        if f"({kind}" in row.layer
    ]


def test_layers_of_lenet5():
    table = layer_table(LeNet5())

    assert list(table.columns) == ["layer", "output_shape", "n_parameters"]
    assert rows_of(table, "Conv2d") == [
        ("c1.conv", (6, 28, 28), 156),
        ("c3.conv", (16, 10, 10), 2_416),
    ]
    assert rows_of(table, "BatchNorm2d") == [
        ("c1.norm", (6, 28, 28), 12),
        ("c3.norm", (16, 10, 10), 32),
    ]
    assert rows_of(table, "MaxPool2d") == [
        ("c1.pool", (6, 14, 14), 0),
        ("c3.pool", (16, 5, 5), 0),
    ]
    assert rows_of(table, "Linear") == [
        ("head.f5", (120,), 48_120),
        ("head.f6", (84,), 10_164),
        ("head.out", (10,), 850),
    ]
    assert [shape for _, shape, _ in rows_of(table, "ELU")] == [
        (6, 14, 14),
        (16, 5, 5),
        (120,),
        (84,),
    ]
    assert [shape for _, shape, _ in rows_of(table, "Dropout")] == [(120,), (84,)]
    assert table["n_parameters"].sum() == 61_750


def test_layers_of_lenet5_in_order_of_computation():
    names = [name for name, _, _ in rows_of(layer_table(LeNet5()))]
    stages = [name.split(".")[0] for name in names]
    assert stages == ["c1"] * 4 + ["c3"] * 4 + ["head"] * 7
    assert names[0] == "c1.conv"
    assert names[-1] == "head.out"


def test_layers_of_mini_vgg():
    table = layer_table(MiniVGG())

    assert rows_of(table, "Conv2d") == [
        ("features.conv1_1", (32, 32, 32), 320),
        ("features.conv1_2", (32, 32, 32), 9_248),
        ("features.conv2_1", (64, 16, 16), 18_496),
        ("features.conv2_2", (64, 16, 16), 36_928),
    ]
    assert rows_of(table, "MaxPool2d") == [
        ("features.pool1", (32, 16, 16), 0),
        ("features.pool2", (64, 8, 8), 0),
    ]
    assert rows_of(table, "Linear") == [
        ("head.hidden", (512,), 2_097_664),
        ("head.out", (10,), 5_130),
    ]
    assert not rows_of(table, "BatchNorm2d")
    assert table["n_parameters"].sum() == 2_167_786


def test_published_totals():
    table = layer_table(LeNet5())
    without_norm = table[~table["layer"].str.contains("BatchNorm")]

    assert n_parameters(LeNet5()) == 61_750
    assert without_norm["n_parameters"].sum() == 61_706
    assert n_parameters(LeNet5(hidden_units=(128, 64))) == 62_850
    assert n_parameters(MiniVGG()) == 2_167_786
    assert MiniVGG().head.hidden.weight.numel() == 2_097_152


def test_layer_table_counts_learnable_parameters_only():
    module = LeNet5()
    module.c1.requires_grad_(False)
    assert layer_table(module)["n_parameters"].sum() == 61_750 - 156 - 12


@pytest.mark.parametrize("kind", [LeNet5, MiniVGG])
def test_layer_table_leaves_the_module_as_it_is(kind):
    module = kind().train()
    before = copy.deepcopy(module.state_dict())
    random_state = torch.get_rng_state()
    layer_table(module)

    after = module.state_dict()
    assert all(torch.equal(after[name], before[name]) for name in before)
    assert all(layer.training for layer in module.modules())
    assert not any(layer._forward_hooks for layer in module.modules())
    assert {parameter.device.type for parameter in module.parameters()} == {"cpu"}
    assert torch.equal(torch.get_rng_state(), random_state)


def test_layer_table_of_a_fitted_estimator(lenet5, mini_vgg):
    for estimator in (lenet5, mini_vgg):
        table = layer_table(estimator.module_)
        assert table["n_parameters"].sum() == estimator.n_parameters_


# Shapes


@pytest.mark.parametrize("kind", [LeNet5, MiniVGG])
@pytest.mark.parametrize(
    "image_shape",
    [
        (1, 28, 28),
        (3, 32, 32),
        (1, 1, 1),
        (1, 1, 40),
        (2, 5, 9),
        (1, 11, 12),
        (1, 13, 27),
        (1, 31, 14),
    ],
)
def test_output_shape(kind, image_shape):
    module = kind(image_shape=image_shape, n_classes=7)
    for mode in (True, False):
        logits = module.train(mode)(torch.rand(3, *image_shape))
        assert logits.shape == (3, 7)
        assert logits.dtype == torch.float32
        assert logits.isfinite().all()


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


@pytest.mark.parametrize("hidden_units", [(), (7,), (30, 20, 10)])
def test_lenet5_of_any_depth(hidden_units):
    module = LeNet5(hidden_units=hidden_units)
    widths = [shape for _, shape, _ in rows_of(layer_table(module), "Linear")]

    assert widths == [(units,) for units in (*hidden_units, 10)]
    assert module(torch.rand(2, 1, 28, 28)).shape == (2, 10)


def test_elu_after_pooling_is_the_same_function():
    block = ConvBlock(1, 6, padding=2)
    x = torch.randn(4, 1, 28, 28)
    textbook = torch.nn.functional.max_pool2d(
        torch.nn.functional.elu(block.norm(block.conv(x))), 2
    )
    torch.testing.assert_close(block(x), textbook, atol=1e-6, rtol=1e-5)


# MiniVGG's widths


@pytest.mark.parametrize("widths", [(8,), (8, "M"), (8, "M", 4, "M", 4, "M", 4, "M")])
def test_widths(widths):
    module = MiniVGG(image_shape=(1, 9, 5), widths=widths, hidden_units=6)
    convolutions = [m for m in module.modules() if isinstance(m, nn.Conv2d)]

    assert [c.out_channels for c in convolutions] == [w for w in widths if w != "M"]
    assert module(torch.rand(2, 1, 9, 5)).shape == (2, 10)


@pytest.mark.parametrize(
    ("widths", "match"),
    [
        ((), r"must start with the width of a convolution, got \(\)"),
        (("M", 32), "must start with the width of a convolution"),
        ((32, "P"), "must hold integers and \"M\", got 'P'"),
        ((32, 3.5), 'must hold integers and "M", got 3.5'),
    ],
)
def test_wrong_widths(widths, match):
    with pytest.raises(ValueError, match=match):
        MiniVGG(widths=widths)


# Weights


@pytest.mark.parametrize("kind", [LeNet5, MiniVGG])
def test_reset_parameters_draws_as_torch_does(kind):
    module = built_on_meta(kind)
    reset_parameters(module, torch.Generator().manual_seed(0))

    for layer in module.modules():
        if not isinstance(layer, nn.Conv2d | nn.Linear):
            continue
        bound = 1 / math.sqrt(layer.weight[0].numel())
        torch_s = type(layer).__new__(type(layer))
        torch_s.__dict__ = copy.deepcopy(layer.__dict__)
        torch_s.reset_parameters()
        for ours, theirs in (
            (layer.weight, torch_s.weight),
            (layer.bias, torch_s.bias),
        ):
            assert ours.abs().max() <= bound
            assert theirs.abs().max() <= bound  # the same bound as PyTorch's
            if ours.numel() > 1000:
                assert ours.abs().max() > 0.98 * bound
                # A uniform distribution: mean 0, standard deviation bound / sqrt(3).
                mean, std = ours.detach().mean(), ours.detach().std()
                assert abs(float(mean)) < 0.1 * bound
                assert float(std) == pytest.approx(bound / 3**0.5, rel=0.05)


def test_reset_parameters_sets_everything():
    module = built_on_meta(LeNet5)
    with torch.no_grad():
        for value in module.state_dict().values():
            value.fill_(99)
    reset_parameters(module, torch.Generator().manual_seed(0))
    fresh = LeNet5().state_dict()

    for name, value in module.state_dict().items():
        assert not (value == 99).any()
        if "norm" in name or "scaling" in name:
            assert torch.equal(value, fresh[name])


def test_reset_parameters_depends_on_its_generator_alone():
    first, again, other = (built_on_meta(LeNet5) for _ in range(3))
    random_state = torch.get_rng_state()
    reset_parameters(first, torch.Generator().manual_seed(1))
    torch.rand(3)
    reset_parameters(again, torch.Generator().manual_seed(1))
    reset_parameters(other, torch.Generator().manual_seed(2))

    pairs = zip(first.state_dict().values(), again.state_dict().values(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)
    assert not torch.equal(first.head.f5.weight, other.head.f5.weight)
    torch.set_rng_state(random_state)
    reset_parameters(first, torch.Generator().manual_seed(1))
    assert torch.equal(torch.get_rng_state(), random_state)


def predict(net, x):
    with torch.no_grad():
        return net(x)


def test_fixed_parameters_predict_the_same_until_they_may_change():
    net, x = LeNet5().eval(), torch.randn(3, 1, 28, 28)
    changed = copy.deepcopy(net)
    reset_parameters(changed, torch.Generator().manual_seed(1))
    before, after = predict(net, x), predict(changed, x)

    with convolutions_folded(net):
        assert torch.equal(predict(net, x), before)
    net.load_state_dict(changed.state_dict())
    assert torch.equal(predict(net, x), after)
    assert not torch.equal(before, after)


def test_fixed_parameters_are_forgotten_when_training_begins():
    net, x = LeNet5(dropout=0.0), torch.randn(8, 1, 28, 28)
    trained = copy.deepcopy(net)
    with convolutions_folded(net.eval()):
        for module in (net, trained):
            module.train()(x)  # moves the running mean and variance
            module.eval()
        assert torch.equal(predict(net, x), predict(trained, x))


# Scaling and dropout


def test_pixel_scaling_for_each_channel():
    scaling = PixelScaling(2)
    scaling.mean.copy_(torch.tensor([1.0, 10.0]))
    scaling.std.copy_(torch.tensor([2.0, 5.0]))
    x = torch.tensor([3, 20], dtype=torch.uint8).view(1, 2, 1, 1)

    assert scaling(x).flatten().tolist() == [1.0, 2.0]
    assert scaling(x).dtype == torch.float32
    assert set(scaling.state_dict()) == {"mean", "std"}


def test_dropout_keeps_the_mean():
    y = Dropout(0.25)(torch.ones(100_000))
    assert float((y == 0).float().mean()) == pytest.approx(0.25, abs=0.01)
    assert y.unique().tolist() == pytest.approx([0, 1 / 0.75])


def test_dropout_draws_from_its_own_generator():
    x = torch.ones(1000)
    layer = Dropout(0.5)
    random_state = torch.get_rng_state()
    layer.generator = torch.Generator().manual_seed(3)
    first = layer(x)
    second = layer(x)
    layer.generator = torch.Generator().manual_seed(3)

    assert torch.equal(layer(x), first)
    assert not torch.equal(first, second)
    assert torch.equal(torch.get_rng_state(), random_state)


def test_dropout_without_a_generator_obeys_the_global_seed():
    torch.manual_seed(5)
    first = Dropout(0.5)(torch.ones(1000))
    torch.manual_seed(5)
    assert torch.equal(Dropout(0.5)(torch.ones(1000)), first)


def test_dropout_does_nothing_where_it_should_not():
    x = torch.randn(100)
    assert Dropout(0.5).eval()(x) is x
    assert Dropout(0.0).train()(x) is x


def test_dropout_reaches_the_networks():
    def probabilities(module):
        return [m.p for m in module.modules() if isinstance(m, Dropout)]

    assert probabilities(LeNet5()) == [0.5, 0.5]
    assert probabilities(LeNet5(dropout=0.2)) == [0.2, 0.2]
    assert probabilities(MiniVGG()) == [0.0]
    assert probabilities(MiniVGG(dropout=0.4)) == [0.4]
    net = LeNet5Classifier(dropout=0.3).initialize()
    assert probabilities(net.module_) == [0.3, 0.3]
