"""A training run is an object: steps, pickles and copies work at any moment."""

import copy
import io
import pickle

import numpy as np
import pytest
import torch
from skorch.callbacks import Callback

from fmnist_sklearn import LeNet5Classifier


def batch_of(X, y, n=20):
    return torch.from_numpy(X[:n].reshape(-1, 1, 28, 28).copy()), torch.tensor(y[:n])


def check_steps_and_copies(net, batch, X):
    """Take both steps with a net and with its copies."""
    for other in (pickle.loads(pickle.dumps(net)), copy.deepcopy(net), net):
        assert "_training" not in vars(other) or other is net
        loss = other.train_step(batch)["loss"]
        assert torch.isfinite(loss)
        assert other.validation_step(batch)["y_pred"].shape == (len(batch[1]), 10)
        other.predict(X[:3])
        other.notify("on_batch_end", batch=batch, training=True)


def test_net_steps_and_copies_before_a_fit(X, y, kind):
    check_steps_and_copies(kind(device="cpu"), batch_of(X, y), X)
    check_steps_and_copies(kind(device="cpu").initialize(), batch_of(X, y), X)


@pytest.mark.parametrize("warm_start", [True, False])
def test_net_steps_and_copies_after_a_fit(X, y, quick, warm_start):
    net = LeNet5Classifier(**quick, warm_start=warm_start, lr_schedule="cosine")
    check_steps_and_copies(net.fit(X, y), batch_of(X, y), X)
    net.stop_training()  # outside of a run it does nothing


def test_train_step_trains(X, y, quick):
    net = LeNet5Classifier(**quick | {"dropout": 0}).initialize()
    batch = batch_of(X, y, 100)
    losses = [net.train_step(batch)["loss"].item() for _ in range(15)]
    assert losses[-1] < losses[0] / 2


class AtEveryHook(Callback):
    """Steps and copies, in each hook of a callback."""

    busy = False

    def __init__(self, batch, X):
        self.batch, self.X = batch, X

    def __deepcopy__(self, memo):
        return Callback()

    def __reduce__(self):
        return Callback, ()

    def check(self, net, **kwargs):
        if not self.busy:
            self.busy = True
            check_steps_and_copies(net, self.batch, self.X)
            self.busy = False

    on_train_begin = on_epoch_begin = on_batch_begin = check
    on_epoch_end = on_train_end = check


def test_net_steps_and_copies_during_a_fit(X, y, quick):
    settings = quick | {"max_epochs": 1, "batch_size": 60}
    net = LeNet5Classifier(
        **settings, lr_schedule="one_cycle", callbacks=[AtEveryHook(batch_of(X, y), X)]
    ).fit(X[:100], y[:100])
    assert net.n_iter_ == 1
    assert np.isfinite(net.predict_proba(X)).all()


def test_net_copied_in_a_fit_is_the_net_of_that_epoch(X, y, quick):
    class Copy(Callback):
        def on_epoch_end(self, net, dataset_train=None, dataset_valid=None, **kwargs):
            if net.history[-1, "epoch"] == 1:
                self.bytes = pickle.dumps(net)

    callback = Copy()
    quick = quick | {"lr_schedule": None}
    net = LeNet5Classifier(**quick).set_params(callbacks=[callback])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Copy, "__reduce__", lambda self: (Callback, ()), raising=False)
        net.fit(X, y)
    copied = pickle.load(io.BytesIO(callback.bytes))
    once = LeNet5Classifier(**quick | {"max_epochs": 1}).fit(X, y)

    assert np.array_equal(copied.predict_proba(X), once.predict_proba(X))
    assert copied.n_iter_ == 1
    assert not [name for name in vars(copied) if "training" in name]


def test_run_single_epoch_may_be_overridden(X, y, quick):
    class Own(LeNet5Classifier):
        passes = ()

        def run_single_epoch(self, iterator, training, prefix, step_fn, **fit_params):
            Own.passes += ((prefix, training, len(iterator)),)
            super().run_single_epoch(iterator, training, prefix, step_fn, **fit_params)

    net = Own(**quick | {"max_epochs": 1}).fit(X, y)
    assert Own.passes == (("train", True, 6), ("valid", False, 1))
    assert net.history_[0, "train_loss"] > 0
