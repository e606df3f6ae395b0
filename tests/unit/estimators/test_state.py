import json

import msgspec
import numpy as np
import pytest
from sklearn.base import clone

from fmnist_sklearn import LeNet5Classifier, MiniVGGClassifier
from fmnist_sklearn.estimators.state import State, get_state, set_state

y = np.arange(24) % 3


def fitted(X, kind=LeNet5Classifier, **params):
    return kind(max_epochs=2, random_state=0, **params).fit(X, y)


def through_json(net):
    """Return a copy of the net that went through arrays and JSON."""
    state, arrays, _ = get_state(net)
    values = json.loads(json.dumps(msgspec.to_builtins(state), allow_nan=False))
    arrays = {name: array.copy() for name, array in arrays.items()}
    again = clone(net)
    set_state(again, msgspec.convert(values, State), arrays)
    return again


@pytest.mark.parametrize(
    ("kind", "params"),
    [
        (LeNet5Classifier, {"module__hidden_units": (), "image_shape": (4, 4, 4)}),
        (MiniVGGClassifier, {"module__widths": (4, "M"), "module__hidden_units": 8}),
    ],
)
def test_state_continues_training_from_the_weights(
    small_X, same_predictions, kind, params
):
    net = fitted(small_X, kind, **params)
    copies = through_json(net), through_json(net)
    for again in copies:
        assert same_predictions(net, again, small_X)
        assert again.history_ == net.history_
        assert again._seeds.order == net._seeds.order
        again.partial_fit(small_X, y)
    assert same_predictions(*copies, small_X)


def test_state_keeps_what_the_network_was_built_with(small_X):
    again = through_json(fitted(small_X, warm_start=True))
    again.set_params(module__hidden_units=(7,))
    with pytest.raises(ValueError, match="module__hidden_units was"):
        again.fit(small_X, y)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda a, v: v.pop("classes"), "missing required field `classes`"),
        (lambda a, v: v.update(more=1), "unknown field `more`"),
        (lambda a, v: a.update(more=np.ones(1)), "do not fit the network: more"),
    ],
)
def test_state_that_is_invalid_leaves_the_estimator_alone(small_X, change, message):
    state, arrays, _ = get_state(fitted(small_X))
    net = LeNet5Classifier()
    before = dict(vars(net))
    values = msgspec.to_builtins(state)
    change(arrays, values)
    with pytest.raises(Exception, match=message):
        set_state(net, msgspec.convert(values, State), arrays)
    assert vars(net) == before
