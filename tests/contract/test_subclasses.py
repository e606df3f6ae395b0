"""Subclasses with their own constructor are estimators like any other."""

import copy
import inspect
import pickle

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.utils.estimator_checks import estimator_checks_generator

from fmnist_sklearn import LeNet5Classifier, MiniVGGClassifier


class OtherDefault(LeNet5Classifier):
    """Only another default."""

    def __init__(self, *, lr=0.02, **kwargs):
        super().__init__(lr=lr, **kwargs)


class OneMore(LeNet5Classifier):
    """One parameter more, for predictions."""

    def __init__(self, *, temperature=1.0, **kwargs):
        super().__init__(**kwargs)
        self.temperature = temperature

    def predict_proba(self, X):
        sharpened = super().predict_proba(X) ** (1 / self.temperature)
        return sharpened / sharpened.sum(1, keepdims=True)


class TwoLevels(OneMore):
    """A subclass of a subclass."""

    def __init__(self, temperature=2.0, *, floor=0.0, **others):
        super().__init__(temperature=temperature, **others)
        self.floor = floor


class WrittenOut(MiniVGGClassifier):
    """All its parameters written out, as scikit-learn has it; the rest is fixed."""

    def __init__(self, lr=1e-3, max_epochs=2, random_state=None, width=8):
        super().__init__(lr=lr, max_epochs=max_epochs, random_state=random_state)
        self.width = width

    def get_params_for(self, prefix):
        params = super().get_params_for(prefix)
        small = {"widths": (4, "M", 8, "M"), "hidden_units": self.width}
        return params | small if prefix == "module" else params


class AnotherLoss(LeNet5Classifier):
    """No constructor at all."""

    criterion = torch.nn.MultiMarginLoss

    def initialize_criterion(self):
        self.criterion_ = self.criterion(reduction="none")
        return self


QUICK = {"max_epochs": 2, "random_state": 0}
KINDS = [
    (OtherDefault, {}),
    (OneMore, {"temperature": 3.0}),
    (TwoLevels, {"temperature": 3.0, "floor": 0.1}),
    (WrittenOut, {"width": 4}),
    (AnotherLoss, {}),
]


@pytest.mark.parametrize(("cls", "params"), KINDS)
def test_subclass_fits_is_cloned_and_pickled(X, y, cls, params):
    net = cls(**QUICK, **params)
    for name, value in {**QUICK, **params}.items():
        assert net.get_params()[name] == clone(net).get_params()[name] == value
    assert list(net.get_params()) == sorted(net.get_params())
    net.fit(X, y)
    expected = net.predict_proba(X)
    for other in (copy.deepcopy(net), pickle.loads(pickle.dumps(net))):
        assert type(other) is cls
        assert np.array_equal(other.predict_proba(X), expected)
    assert np.array_equal(clone(net).fit(X, y).predict_proba(X), expected)
    assert net.set_params(max_epochs=1).max_epochs == 1


def test_repr_shows_what_differs_from_the_subclass_s_own_defaults():
    assert repr(OtherDefault()) == "OtherDefault()"
    assert repr(TwoLevels(lr=0.5)) == "TwoLevels(lr=0.5)"
    assert repr(OneMore(temperature=2.0)) == "OneMore(temperature=2.0)"
    assert "OtherDefault" in OtherDefault()._repr_html_()


def test_signature_includes_what_kwargs_pass_on():
    parameters = inspect.signature(TwoLevels).parameters
    assert parameters["temperature"].default == 2.0
    assert parameters["lr"].default == 0.01
    assert "kwargs" not in parameters
    assert "others" not in parameters


def test_parameters_are_checked_in_a_subclass(X, y):
    with pytest.raises(TypeError, match="'temprature'; did you mean temperature"):
        TwoLevels(temprature=2.0)
    with pytest.raises(ValueError, match="Invalid parameter 'tempereture'"):
        OneMore().set_params(tempereture=2.0)
    with pytest.raises(ValueError, match="'max_epochs' parameter of OneMore"):
        OneMore(max_epochs=0).fit(X, y)


def test_parameter_names_with_underscores_need_kwargs():
    net = OneMore(module__dropout=0.1).set_params(optimizer__weight_decay=0.1)
    assert clone(net).get_params()["module__dropout"] == 0.1
    with pytest.raises(ValueError, match="Invalid parameter 'optimizer__weight_decay'"):
        WrittenOut().set_params(optimizer__weight_decay=0.1)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("cls", [OtherDefault, TwoLevels])
def test_subclass_passes_scikit_learn_s_checks_of_the_constructor(cls):
    left = {
        "check_estimator_cloneable",
        "check_estimator_repr",
        "check_get_params_invariance",
        "check_set_params",
        "check_no_attributes_set_in_init",
        "check_do_not_raise_errors_in_init_or_set_params",
    }
    for estimator, check in estimator_checks_generator(cls(max_epochs=1)):
        if check.func.__name__ in left:
            check(estimator)
            left.remove(check.func.__name__)
    assert not left
