"""After an exception at any line: as before the call, or a number of whole epochs.

The lines are drawn at random, and the same in every run. ``INTERRUPT_TRIES=100`` tries
more for each way to train.
"""

import copy
import os
import subprocess
import sys
from contextlib import suppress
from itertools import product
from pathlib import Path

import numpy as np
import pytest

import fmnist_sklearn
from fmnist_sklearn import LeNet5Classifier, load_fashion_mnist_sample

from ..unit.toys import CONSTANT

PACKAGE = str(Path(fmnist_sklearn.__file__).parent)
N_EPOCHS = 2
SETTINGS = {
    **CONSTANT,
    "lr": 0.02,
    "batch_size": 16,
    "max_epochs": N_EPOCHS,
    "validation_fraction": 0.25,
    "random_state": 0,
    "device": "cpu",
}


X, y = (array[:60] for array in load_fashion_mnist_sample(return_X_y=True))
y = y % 3
ANIMALS = np.array(["cow", "cat", "ant"])[y]  # other labels, in another order


# Each way: the estimator before the call, and the call.


def first_fit():
    return LeNet5Classifier(**SETTINGS), lambda net: net.fit(X, y)


def second_fit():
    net = LeNet5Classifier(**SETTINGS | {"max_epochs": 1}).fit(X, ANIMALS)
    net.set_params(max_epochs=N_EPOCHS, pixel_scaling="symmetric")
    return net, lambda net: net.fit(X, y)


def warm_fit():
    net = LeNet5Classifier(**SETTINGS | {"max_epochs": 1}, warm_start=True).fit(X, y)
    net.set_params(max_epochs=N_EPOCHS, lr=0.01, dropout=0.1)
    return net, lambda net: net.fit(X, y)


def fit_without_validation():
    settings = SETTINGS | {"validation_fraction": 0, "ema_decay": None}
    net = LeNet5Classifier(**settings).fit(X[:40], y[:40])
    return net, lambda net: net.fit(X, y)


def partial_fit():
    net = LeNet5Classifier(**SETTINGS).partial_fit(X, y, classes=range(3))
    return net, lambda net: net.set_params(lr=0.5).partial_fit(X, y)


WAYS = (first_fit, second_fit, warm_fit, fit_without_validation, partial_fit)


class RaiseAtLine:
    """Raise an exception at the n-th line of ours that is run."""

    def __init__(self, number, error=KeyboardInterrupt):
        self.left, self.error = number, error
        self.place = None

    def trace(self, frame, event, arg):
        if not frame.f_code.co_filename.startswith(PACKAGE):
            return None
        if event == "line":
            self.left -= 1
            if self.left == 0:
                self.place = f"{frame.f_code.co_filename}:{frame.f_lineno}"
                raise self.error("injected")
        return self.trace

    def __enter__(self):
        self.before = sys.gettrace()
        sys.settrace(self.trace)
        return self

    def __exit__(self, *exc_info):
        sys.settrace(self.before)


def observed(net):
    """Return what a user sees of a fitted net, as one list."""
    probabilities = net.predict_proba(X)
    return [net.classes_.tolist(), net.n_iter_, probabilities.tolist()]


def outcomes(way):
    """Return the states that the call may leave: before, and after each epoch."""
    net, call = way()
    before = [observed(net)] if net.__sklearn_is_fitted__() else []
    after = []
    for n_epochs in range(1, N_EPOCHS + 1):
        trained = copy.deepcopy(net).set_params(max_epochs=n_epochs)
        after.append(observed(call(trained)))
    return before, after


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("way", WAYS)
def test_fit_after_an_exception_at_any_line(way):
    before, after = outcomes(way)
    net, call = way()
    counter = RaiseAtLine(-1)
    with counter:
        call(copy.deepcopy(net))
    n_lines = -1 - counter.left
    n_tries = int(os.environ.get("INTERRUPT_TRIES", "10"))
    numbers = np.random.default_rng(0).integers(1, n_lines, n_tries)
    for number, error in product(numbers, (KeyboardInterrupt, MemoryError)):
        allowed = before + (after if error is KeyboardInterrupt else after[-1:])
        attacked = copy.deepcopy(net)
        injected = RaiseAtLine(number, error)
        # The call goes on after lines whose errors are caught on purpose.
        with suppress(error), injected:
            call(attacked)
        place = injected.place
        if attacked.__sklearn_is_fitted__():
            assert observed(attacked) in allowed, place
        else:
            assert not before, place
            assert vars(attacked).keys() == attacked.get_params().keys(), place


FIRST_FIT = """
import signal, sys

class Interrupt:
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        if name == sys.argv[1]:
            sys.meta_path.remove(cls)
            signal.raise_signal(signal.SIGINT)

sys.meta_path.insert(0, Interrupt)
from fmnist_sklearn import LeNet5Classifier, load_fashion_mnist_sample

X, y = (array[:60] for array in load_fashion_mnist_sample(return_X_y=True))
net = LeNet5Classifier(max_epochs=1, patience=None)
try:
    net.fit(X, y)
except KeyboardInterrupt:
    print("interrupted", net.__sklearn_is_fitted__())
print(net.fit(X, y).n_iter_)
"""


@pytest.mark.slow
@pytest.mark.parametrize("name", ["torch._dynamo.trace_rules", "sympy.core.relational"])
def test_interrupt_while_the_first_fit_imports_the_compiler(name):
    """In the middle of a package that cannot be imported a second time."""
    command = [sys.executable, "-c", FIRST_FIT, name]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["interrupted", "False", "1"], done.stderr
