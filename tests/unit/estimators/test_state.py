import copy
import json

import msgspec
import numpy as np
import pytest
import torch
from sklearn.base import clone

from fmnist_sklearn import LeNet5Classifier, MiniVGGClassifier
from fmnist_sklearn.estimators.state import State, get_state, set_state


@pytest.fixture(scope="module")
def small_X():
    """24 images on which a fit takes no time."""
    return np.random.default_rng(0).integers(0, 256, (24, 64), dtype=np.uint8)


def fitted(X, kind=LeNet5Classifier, **params):
    return kind(max_epochs=2, random_state=0, **params).fit(X, np.arange(24) % 3)


def through_json(net, **options):
    """Return a copy of the net that went through arrays and JSON."""
    state, arrays, _ = get_state(net, **options)
    values = json.loads(json.dumps(msgspec.to_builtins(state), allow_nan=False))
    arrays = {name: array.copy() for name, array in arrays.items()}
    again = clone(net)
    set_state(again, msgspec.convert(values, State), arrays)
    return again


@pytest.mark.parametrize(
    ("kind", "params"),
    [
        (LeNet5Classifier, {}),
        (LeNet5Classifier, {"module__hidden_units": (), "image_shape": (4, 4, 4)}),
        (MiniVGGClassifier, {"module__widths": (4, "M"), "module__hidden_units": 8}),
    ],
)
def test_predictions_and_attributes_are_the_same(
    small_X, same_predictions, kind, params
):
    net = fitted(small_X, kind, **params)
    again = through_json(net)
    assert same_predictions(net, again, small_X)
    assert again.history_ == net.history_
    for name in ("image_shape_", "n_features_in_", "best_epoch_", "fit_time_"):
        value = getattr(again, name)
        assert value == getattr(net, name)
        assert type(value) is type(getattr(net, name))
    assert list(again.classes_) == list(net.classes_)


@pytest.mark.parametrize("optimizer", [torch.optim.Adam, torch.optim.SGD])
@pytest.mark.parametrize("warm", [True, False])
def test_training_goes_on_as_if_nothing_had_happened(
    small_X, same_predictions, optimizer, warm
):
    net = fitted(small_X, optimizer=optimizer, warm_start=warm, batch_size=8)
    if not warm:
        net.partial_fit(small_X, np.arange(24) % 3)
    again = through_json(net, optimizer=True)
    for each in (net, again):
        method = each.fit if warm else each.partial_fit
        method(small_X, np.arange(24) % 3)
    assert same_predictions(net, again, small_X)
    assert again._seeds.order == net._seeds.order


def test_the_optimizer_outlives_a_pickle_in_between(small_X, same_predictions):
    net = fitted(small_X, warm_start=True)
    again = through_json(copy.deepcopy(net), optimizer=True)
    for each in (net, again):
        each.fit(small_X, np.arange(24) % 3)
    assert same_predictions(net, again, small_X)


def test_without_its_optimizer_a_net_takes_no_room_for_it(small_X):
    state, arrays, _ = get_state(fitted(small_X))
    assert not any(name.startswith("optimizer") for name in arrays)
    assert state.optimizer is None


def test_what_changed_since_the_fit_is_refused_as_before(small_X):
    again = through_json(fitted(small_X, warm_start=True))
    again.set_params(module__hidden_units=(7,))
    with pytest.raises(ValueError, match="module__hidden_units was"):
        again.fit(small_X, np.arange(24) % 3)


def test_a_generator_of_another_kind_seeds_one_of_the_usual(small_X, same_predictions):
    rng = np.random.RandomState(np.random.PCG64(0))
    net = LeNet5Classifier(max_epochs=1, patience=None, random_state=rng)
    net.fit(small_X, np.arange(24) % 3)
    before = str(rng.get_state(legacy=False))
    (state, arrays, _), (_, same, _) = get_state(net), get_state(net)
    assert str(rng.get_state(legacy=False)) == before
    np.testing.assert_array_equal(arrays["rng/key"], same["rng/key"])
    again = clone(net).set_params(random_state=None)
    set_state(again, state, arrays)
    assert same_predictions(net, again, small_X)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda a, v: v.pop("classes"), "missing required field `classes`"),
        (lambda a, v: v.update(more=1), "unknown field `more`"),
        (
            lambda a, v: v["history"].append({}),
            "epoch",
        ),
        (lambda a, v: a.update({"more": a["rng/key"]}), "do not fit the network: more"),
        (lambda a, v: a.update({"x/y": a["rng/key"]}), "that are not used: x/y"),
        (lambda a, v: a.pop("rng/key"), "rng/key is not the state"),
        (lambda a, v: v["optimizer"].pop("groups"), "groups"),
    ],
)
def test_what_is_no_state_leaves_the_estimator_alone(small_X, change, message):
    state, arrays, _ = get_state(fitted(small_X, warm_start=True), optimizer=True)
    net = LeNet5Classifier()
    before = dict(vars(net))
    values = msgspec.to_builtins(state)
    change(arrays, values)
    with pytest.raises(Exception, match=message):
        set_state(net, msgspec.convert(values, State), arrays)
    assert vars(net) == before
