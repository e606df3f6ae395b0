import copy

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, prune

from fmnist_sklearn import LeNet5, LeNet5Classifier, MiniVGG, layer_table


def n_parameters(module):
    return sum(parameter.numel() for parameter in module.parameters())


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


@pytest.mark.parametrize("hidden_units", [(), (7,), (30, 20, 10)])
def test_lenet5_of_any_depth(hidden_units):
    module = LeNet5(hidden_units=hidden_units)
    widths = [shape for _, shape, _ in rows_of(layer_table(module), "Linear")]

    assert widths == [(units,) for units in (*hidden_units, 10)]
    assert module(torch.rand(2, 1, 28, 28)).shape == (2, 10)


@pytest.mark.parametrize(
    ("given", "got"),
    [
        (LeNet5Classifier(), "got LeNet5Classifier"),
        (LeNet5Classifier, "got the class LeNet5Classifier"),
        (LeNet5, "got the class LeNet5"),
        (nn.Linear(2, 2), "got Linear"),
        ((1, 28, 28), "got tuple"),
    ],
)
def test_layer_table_of_something_else_says_what_it_takes(given, got):
    with pytest.raises(TypeError, match=rf"image_shape.*module_, {got}$"):
        layer_table(given)


def test_layer_table_of_a_fitted_estimator_itself_names_its_module(lenet5):
    with pytest.raises(TypeError, match="a fitted estimator's module_, got LeNet5Cl"):
        layer_table(lenet5)
    with pytest.raises(TypeError, match=r"^pass the network of the estimator, its mod"):
        layer_table(lenet5)
    with pytest.raises(TypeError, match=r"^call its fit first; pass the network"):
        layer_table(LeNet5Classifier())


def test_layer_table_of_changed_layers(lenet5):
    module = copy.deepcopy(lenet5.module_)
    prune.l1_unstructured(module.c1.conv, "weight", amount=0.5)
    parametrizations.weight_norm(module.c3.conv)
    module.head.f5 = nn.Linear(400, 120, bias=False)
    module.head.dropout5.generator = torch.Generator()  # as while it is fitted
    seen = []
    module.c3.pool.register_forward_hook(lambda *_: seen.append(_))

    rows = {name: row for name, *row in rows_of(layer_table(module))}
    assert len(rows) == 15
    assert rows["c1.conv"] == [(6, 28, 28), 156]
    assert rows["c3.conv"] == [(16, 10, 10), 2_416 + 16]
    assert rows["head.f5"] == [(120,), 48_000]
    assert not seen
