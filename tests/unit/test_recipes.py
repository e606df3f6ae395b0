import json
import pickle

import pytest
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV

from fmnist_sklearn import LeNet5Classifier, MiniVGGClassifier, load_model, save_model
from fmnist_sklearn.recipes import RECIPES

ACCURATE = RECIPES["accurate"]["LeNet5Classifier"]
AUGMENT = {"shift": 1, "rotate": 4, "erase": 4, "mixup": 0.1}
CLASSES = {cls.__name__: cls for cls in (LeNet5Classifier, MiniVGGClassifier)}


@pytest.mark.parametrize("recipe", RECIPES)
def test_recipe_has_valid_parameters_for_both_classes(recipe):
    assert set(RECIPES[recipe]) == set(CLASSES)
    for name, kwargs in RECIPES[recipe].items():
        CLASSES[name](**kwargs)._check_params()
        # Users choose the one, and benchmarks vary the other.
        assert not {"batch_size", "random_state"} & set(kwargs)


def test_recipe_survives_clone_search_pickle_and_file(X, y, tmp_path):
    few = {"max_epochs": 1, "batch_size": 32, "random_state": 0}
    net = LeNet5Classifier(**{**ACCURATE, **few})
    assert "augment={'erase': 4, 'mixup': 0.1, 'rotate': 4, 'shift': 1}" in repr(net)
    search = GridSearchCV(net, {"augment": [ACCURATE["augment"], None]}, cv=2)
    search.fit(X, y)
    assert search.cv_results_["params"][0] == {"augment": AUGMENT}
    save_model(net.fit(X, y), tmp_path / "net")
    copies = clone(net), pickle.loads(pickle.dumps(net)), load_model(tmp_path / "net")
    assert [each.augment for each in copies] == [AUGMENT] * 3
    assert net.set_params(augment={"flip": 0.5}).augment == {"flip": 0.5}
    assert json.loads(json.dumps(ACCURATE["augment"])) == AUGMENT
