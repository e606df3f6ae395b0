import copy

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations

from fmnist_sklearn import LeNet5, LeNet5Classifier, MiniVGG, layer_table


def rows_of(table):
    """Return layer, kind, output shape and number of parameters of each row."""
    names = [layer.removesuffix(")").split(" (") for layer in table["layer"]]
    values = zip(names, table["output_shape"], table["n_parameters"], strict=True)
    return [(*name, shape, n) for name, shape, n in values]


def test_layer_table_of_lenet5():
    table = layer_table(LeNet5())

    assert list(table.columns) == ["layer", "output_shape", "n_parameters"]
    assert rows_of(table) == [
        ("c1.conv", "Conv2d", (6, 28, 28), 156),
        ("c1.norm", "BatchNorm2d", (6, 28, 28), 12),
        ("c1.pool", "MaxPool2d", (6, 14, 14), 0),
        ("c1.activation", "ELU", (6, 14, 14), 0),
        ("c3.conv", "Conv2d", (16, 10, 10), 2_416),
        ("c3.norm", "BatchNorm2d", (16, 10, 10), 32),
        ("c3.pool", "MaxPool2d", (16, 5, 5), 0),
        ("c3.activation", "ELU", (16, 5, 5), 0),
        ("head.f5", "Linear", (120,), 48_120),
        ("head.activation5", "ELU", (120,), 0),
        ("head.dropout5", "Dropout", (120,), 0),
        ("head.f6", "Linear", (84,), 10_164),
        ("head.activation6", "ELU", (84,), 0),
        ("head.dropout6", "Dropout", (84,), 0),
        ("head.out", "Linear", (10,), 850),
    ]


def test_layer_table_gives_the_published_totals(lenet5, mini_vgg):
    table = layer_table(LeNet5())
    without_norm = table[~table["layer"].str.contains("BatchNorm")]
    assert without_norm["n_parameters"].sum() == 61_706
    for module, n in (
        (LeNet5(), 61_750),
        (LeNet5(hidden_units=(128, 64)), 62_850),
        (MiniVGG(), 2_167_786),
        (lenet5.module_, lenet5.n_parameters_),
        (mini_vgg.module_, mini_vgg.n_parameters_),
    ):
        assert layer_table(module)["n_parameters"].sum() == n
        assert sum(parameter.numel() for parameter in module.parameters()) == n


def test_layer_table_leaves_the_module_as_it_is(network):
    module = network().train()
    before = copy.deepcopy(module.state_dict())
    random_state = torch.get_rng_state()
    layer_table(module)

    after = module.state_dict()
    assert all(torch.equal(after[name], before[name]) for name in before)
    assert all(layer.training for layer in module.modules())
    assert not any(layer._forward_hooks for layer in module.modules())
    assert {parameter.device.type for parameter in module.parameters()} == {"cpu"}
    assert torch.equal(torch.get_rng_state(), random_state)


@pytest.mark.parametrize(
    ("given", "got"),
    [
        (LeNet5Classifier(), r"LeNet5Classifier\(\)"),
        (LeNet5, "<class 'fmnist_sklearn.modules.lenet5.LeNet5'>"),
        (nn.Linear(2, 2), "Linear.*"),
    ],
)
def test_layer_table_of_something_else_is_refused(given, got):
    expected = "a torch module with an image_shape.* the module_ of a fitted estimator"
    with pytest.raises(TypeError, match=f"^module must be {expected}, got {got}$"):
        layer_table(given)


def test_layer_table_of_changed_layers(lenet5):
    module = copy.deepcopy(lenet5.module_)
    parametrizations.weight_norm(module.c3.conv)
    module.head.f5 = nn.Linear(400, 120, bias=False)
    module.head.dropout5.generator = torch.Generator()  # as while it is fitted
    module.head.f6.requires_grad_(False)  # only learnable parameters are counted

    rows = {name: row for name, _, *row in rows_of(layer_table(module))}
    assert len(rows) == 15
    assert rows["c1.conv"] == [(6, 28, 28), 156]
    assert rows["c3.conv"] == [(16, 10, 10), 2_416 + 16]
    assert rows["head.f5"] == [(120,), 48_000]
    assert rows["head.f6"] == [(84,), 0]
