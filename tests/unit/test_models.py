import pytest

from fmnist_sklearn.models import MODELS, find_model
from fmnist_sklearn.recipes import RECIPES


def test_find_model_knows_each_name():
    for name in ("LeNet5", "lenet5", "LeNet5Classifier", "LENET5"):
        assert find_model(name) is MODELS["LeNet5"]
    for name in ("vgg", "", None, 5):
        match = rf"among \['LeNet5', 'MiniVGG'\]; got {name!r}"
        with pytest.raises(ValueError, match=match):
            find_model(name)


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize("name", MODELS)
def test_model_makes_an_estimator_by_a_recipe(name, recipe):
    model = MODELS[name]
    estimator = model.make(recipe, batch_size=17, lr=0.5)
    expected = {**RECIPES[recipe][model.cls.__name__], "batch_size": 17, "lr": 0.5}
    params = estimator.get_params()
    assert {key: params[key] for key in expected} == expected
    assert not hasattr(estimator, "classes_")
