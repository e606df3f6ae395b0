"""What save_model refuses, with nothing written."""

import copy

import numpy as np
import pytest
import skorch.callbacks
import torch
import torch.nn.utils.prune
from sklearn.ensemble import VotingClassifier
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline

from fmnist_sklearn import LeNet5Classifier
from fmnist_sklearn.persistence import save_model


def test_other_estimators_are_refused(small, path):
    class Own(LeNet5Classifier):
        pass

    for estimator in (Own(), make_pipeline(small), None, "net"):
        name = type(estimator).__name__
        with pytest.raises(TypeError, match=f"MiniVGGClassifier, got .* {name}"):
            save_model(estimator, path)


def test_an_unfitted_estimator_is_refused(path):
    with pytest.raises(NotFittedError):
        save_model(LeNet5Classifier(), path)


def test_invalid_parameters_are_refused(small, path):
    net = copy.deepcopy(small).set_params(module__hiden_units=(8,))
    with pytest.raises(ValueError, match="did you mean module__hidden_units"):
        save_model(net, path)


@pytest.mark.parametrize(
    ("wrap", "advice"),
    [
        (
            lambda net: make_pipeline(net),
            r"save its last step, pipeline\[-1\]; .*skops",
        ),
        (
            lambda net: searched(net),
            r"GridSearchCV: save its attribute best_estimator_$",
        ),
        (lambda net: searched(make_pipeline(net)), r"attribute best_estimator_\[-1\]$"),
        (lambda net: GridSearchCV(net, {}), "fit it with refit=True, and save its"),
        (lambda net: VotingClassifier([("a", net)]), "class VotingClassifier$"),
    ],
)
def test_wrappers_are_told_what_to_save(small, path, wrap, advice):
    with pytest.raises(TypeError, match=advice):
        save_model(wrap(small), path)
    assert not path.exists()


def searched(estimator):
    """Return a search that has found the estimator."""
    search = GridSearchCV(estimator, {})
    search.best_estimator_ = estimator
    return search


def test_a_network_of_other_layers_is_refused(small, path):
    def swap(net):
        net.module_.c1.activation = torch.nn.ReLU()

    def prune(net):
        torch.nn.utils.prune.l1_unstructured(net.module_.c3.conv, "weight", 0.3)

    def stride(net):
        net.module_.c1.norm.momentum = 0.5

    for change in (swap, prune, stride):
        net = copy.deepcopy(small)
        change(net)
        with pytest.raises(TypeError, match=r"layers were changed .* pickle or joblib"):
            save_model(net, path)
    assert not path.exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m: m.head.out.bias.fill_(np.nan), r"head\.out\.bias holds NaN"),
        (lambda m: m.c1.conv.weight.fill_(np.inf), r"c1\.conv\.weight holds NaN"),
        (lambda m: m.c1.norm.running_var.fill_(-1), r"running_var holds NaN or other"),
        (lambda m: m.scaling.std.zero_(), r"scaling\.std holds NaN or other"),
        (lambda m: m.double(), "do not fit the network"),
    ],
)
def test_weights_that_predict_nothing_are_refused(small, path, change, message):
    net = copy.deepcopy(small)
    with torch.no_grad():
        change(net.module_)
    with pytest.raises(ValueError, match=message):
        save_model(net, path)
    assert not path.exists()


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"optimizer__betas": (2.0, 0.9)}, "Invalid beta"),
        ({"optimizer__weight_decay": -1.0}, "Invalid weight_decay"),
        ({"criterion__weight": [1.0, 2.0, 3.0]}, "refuse the file"),
        ({"criterion__label_smoothing": 3.0}, "label_smoothing"),
        ({"iterator_train__num_workers": 3}, "not known to the default iterator"),
        ({"iterator_train__batch_size": 0}, "batch_size must be an integer"),
        ({"iterator_valid__shuffle": True}, "another order"),
        ({"lr_schedule": "one_cycle", "lr_schedule__pct_start": 7.0}, "pct_start"),
        ({"class_weight": {"coat": 2.0}}, "class_weight names"),
        ({"module__hidden_units": (0, 8)}, r"`int` >= 1 .*hidden_units\[0\]"),
        ({"module__hidden_units": [1] * 100}, "hidden_units"),
        ({"batch_size": 10**15}, "batch_size holds an integer of more than 32 bits"),
        ({"augment": {"shift": 10**6}}, r"augment\['shift'\]=1000000 is far beyond"),
        ({"image_shape": (1, 10**5, 10**5)}, "far beyond small images"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_parameters_that_fit_would_refuse_are_refused(small, path, params, message):
    net = copy.deepcopy(small).set_params(**params)
    with pytest.raises(ValueError, match=message):
        save_model(net, path)
    assert not path.exists()


@pytest.mark.parametrize("widths", [("M", 4), ["M"], (), ("M", "M", 8)])
def test_widths_that_no_network_has_are_refused(mini_vgg, path, widths):
    net = copy.deepcopy(mini_vgg).set_params(module__widths=widths)
    with pytest.raises(ValueError, match="widths"):
        save_model(net, path)
    assert not path.exists()


def test_arguments_of_save_model(small, path):
    with pytest.raises(ValueError, match=r"refuse.*preparation"):
        save_model(small, path, preparation="crop")
    with pytest.raises(ValueError, match='on_unstorable must be "warn" or "raise"'):
        save_model(small, path, on_unstorable="ignore")


def test_what_cannot_be_stored_is_refused_by_name(small, path):
    net = copy.deepcopy(small).set_params(
        callbacks=[skorch.callbacks.EpochTimer()], augment=lambda images, rng: images
    )
    with pytest.raises(TypeError, match="could hold augment, callbacks; pass on_un"):
        save_model(net, path, on_unstorable="raise")
    assert not path.exists()
