import pytest
import torch

from fmnist_sklearn import LeNet5Classifier, MiniVGGClassifier
from fmnist_sklearn.recipes import RECIPES

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
