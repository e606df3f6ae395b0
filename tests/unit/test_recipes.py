import copy
import json
import operator
import pickle

import pytest
import torch
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV

from fmnist_sklearn import LeNet5Classifier, MiniVGGClassifier, load_model, save_model
from fmnist_sklearn.recipes import RECIPES

ACCURATE = RECIPES["accurate"]["LeNet5Classifier"]
AUGMENT = {"shift": 1, "rotate": 4, "erase": 4, "mixup": 0.1}
CLASSES = {cls.__name__: cls for cls in (LeNet5Classifier, MiniVGGClassifier)}


@pytest.mark.parametrize("recipe", RECIPES)
def test_every_recipe_is_a_valid_set_of_parameters_for_both_classes(recipe):
    assert set(RECIPES[recipe]) == set(CLASSES)
    for name, kwargs in RECIPES[recipe].items():
        CLASSES[name](**kwargs)._check_params()
        # The user's to choose, and the benchmark's to vary.
        assert not {"batch_size", "random_state"} & set(kwargs)


def test_published_is_the_published_protocol():
    for name, cls in CLASSES.items():
        params = cls(**RECIPES["published"][name]).get_params()
        expected = {
            "optimizer": torch.optim.SGD,
            "optimizer__momentum": 0.9,
            "optimizer__nesterov": True,
            "lr": 0.001,
            "lr_schedule": None,
            "max_epochs": 150,
            "patience": 10,
            "validation_fraction": 0.2,
            "shuffle": False,
            "label_smoothing": 0.0,
            "ema_decay": None,
            "pixel_scaling": "symmetric",
            "precision": "float32",
        }
        assert {key: params[key] for key in expected} == expected
    assert RECIPES["published"]["LeNet5Classifier"]["module__hidden_units"] == (128, 64)


def test_recipes_are_read_only():
    with pytest.raises(TypeError, match="does not support item assignment"):
        RECIPES["fast"]["LeNet5Classifier"]["lr"] = 1.0
    with pytest.raises(TypeError, match="does not support item assignment"):
        RECIPES["fast"]["LeNet5Classifier"] = {}


def leaves(value):
    """All that is in a value, however deep."""
    inner = value.values() if isinstance(value, dict) else ()
    return [value, *(leaf for item in inner for leaf in leaves(item))]


def test_nothing_in_the_recipes_can_be_changed():
    for value in leaves(RECIPES):
        if isinstance(value, dict):
            with pytest.raises(TypeError, match="read-only"):
                value["shift"] = 3
        else:
            hash(value)  # lists and sets have none


@pytest.mark.parametrize(
    "change",
    [
        lambda augment: augment.update(shift=3),
        lambda augment: augment.pop("shift"),
        lambda augment: augment.popitem(),
        lambda augment: augment.setdefault("flip", 0.5),
        lambda augment: augment.clear(),
        lambda augment: operator.ior(augment, {"flip": 0.5}),
        lambda augment: operator.delitem(augment, "shift"),
    ],
)
def test_a_nested_value_refuses_every_change(change):
    augment = LeNet5Classifier(**ACCURATE).augment
    with pytest.raises(TypeError, match="change a copy"):
        change(augment)
    assert ACCURATE["augment"] == AUGMENT


@pytest.mark.parametrize(
    "copied",
    [
        copy.copy,
        copy.deepcopy,
        lambda recipe: pickle.loads(pickle.dumps(recipe)),
        lambda recipe: {**recipe, "augment": {**recipe["augment"]}},
        lambda recipe: recipe | {"augment": recipe["augment"] | {}},
        lambda recipe: {**recipe, "augment": recipe["augment"].copy()},
    ],
)
def test_copies_are_plain_dicts_of_ones_own(copied):
    own = copied(RECIPES["accurate"]["MiniVGGClassifier"])
    assert own == RECIPES["accurate"]["MiniVGGClassifier"]
    own["augment"] = dict(own["augment"], flip=0.25)
    own["lr"] = 1.0
    recipe = RECIPES["accurate"]["MiniVGGClassifier"]
    assert recipe["augment"] == {"flip": 0.5, "shift": 1, "erase": 8}
    assert recipe["lr"] != 1.0


def test_an_estimator_made_by_a_recipe_goes_everywhere(X, y, tmp_path, two_processes):
    few = {"max_epochs": 1, "batch_size": 32, "random_state": 0}
    net = LeNet5Classifier(**{**ACCURATE, **few})
    expected = AUGMENT
    assert clone(net).augment == expected
    assert "augment={'erase': 4, 'mixup': 0.1, 'rotate': 4, 'shift': 1}" in repr(net)
    search = GridSearchCV(net, {"augment": [ACCURATE["augment"], None]}, cv=2, n_jobs=2)
    search.fit(X, y)
    assert search.cv_results_["params"][0] == {"augment": expected}
    net.fit(X, y)
    assert pickle.loads(pickle.dumps(net)).augment == expected
    save_model(net, tmp_path / "net")
    assert load_model(tmp_path / "net").augment == expected
    assert net.set_params(augment={"flip": 0.5}).augment == {"flip": 0.5}
    assert json.loads(json.dumps(ACCURATE["augment"])) == expected
