import pytest

from fmnist_sklearn import LeNet5Classifier, MiniVGGClassifier
from fmnist_sklearn.models import MODELS, find_model
from fmnist_sklearn.recipes import RECIPES


def test_the_pair():
    assert {name: model.cls for name, model in MODELS.items()} == {
        "LeNet5": LeNet5Classifier,
        "MiniVGG": MiniVGGClassifier,
    }
    for name, model in MODELS.items():
        assert model.name == name
        assert model.cost > 0


@pytest.mark.parametrize("name", ["LeNet5", "lenet5", "LeNet5Classifier", "LENET5"])
def test_a_model_is_found_by_any_of_its_names(name):
    assert find_model(name) is MODELS["LeNet5"]


@pytest.mark.parametrize("name", ["vgg", "", None, 5])
def test_another_name_is_refused(name):
    with pytest.raises(
        ValueError, match=rf"among \['LeNet5', 'MiniVGG'\]; got {name!r}"
    ):
        find_model(name)


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize("name", MODELS)
def test_made_as_the_recipe_says_unless_told_otherwise(name, recipe):
    model = MODELS[name]
    estimator = model.make(recipe, batch_size=17, lr=0.5)
    expected = {**RECIPES[recipe][model.cls.__name__], "batch_size": 17, "lr": 0.5}
    params = estimator.get_params()
    assert {key: params[key] for key in expected} == expected
    assert not hasattr(estimator, "classes_")
