"""On a CUDA device: the cases that other tests simulate, and captured steps."""

import pickle
from contextlib import nullcontext
from typing import Any

import numpy as np
import pytest
import torch
from joblib import Parallel, delayed, parallel_config
from skorch.callbacks import Callback

from fmnist_sklearn import LeNet5Classifier, MiniVGGClassifier, load_model, save_model
from fmnist_sklearn.training import cuda_graph, device
from fmnist_sklearn.training.cuda_graph import Updates

from ..unit.toys import Listens, Raises

pytestmark = [pytest.mark.cuda, pytest.mark.needs("torch>=2.11")]


@pytest.fixture(autouse=True)
def _short_fits_are_captured(monkeypatch):
    monkeypatch.setattr(cuda_graph, "FEWEST_STEPS", 1)


@pytest.fixture
def float32():
    """Compute in float32 as it is written."""
    cudnn: Any = torch.backends.cudnn
    before, cudnn.allow_tf32 = cudnn.allow_tf32, False
    yield
    cudnn.allow_tf32 = before


def test_fit_is_on_the_gpu_and_repeats_its_bits(X, y, quick, kind, same_predictions):
    nets = [kind(**quick | {"max_epochs": 1}).fit(X, y) for _ in range(2)]
    for net in nets:
        assert (net.device_.type, net.steps_) == ("cuda", "captured")
        assert {p.device.type for p in net.module_.parameters()} == {"cuda"}
    assert same_predictions(*nets, X)


@pytest.mark.parametrize("way", ["pickle", "file"])
def test_pickle_and_model_file_open_on_the_cpu(
    X, y, quick, kind, way, tmp_path, monkeypatch
):
    net = kind(**quick | {"max_epochs": 1}).fit(X, y)
    expected = net.predict_proba(X)
    pickled = pickle.dumps(net)
    save_model(net, tmp_path / "net")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    opened = pickle.loads(pickled) if way == "pickle" else load_model(tmp_path / "net")
    assert opened.device_ == torch.device("cpu")
    np.testing.assert_allclose(opened.predict_proba(X), expected, atol=1e-2)


# Captured steps -----------------------------------------------------------------

SETTINGS = {
    "as by default": {},
    "one cycle": {
        "lr_schedule": "one_cycle",
        "lr_schedule__cycle_momentum": False,
        "optimizer": torch.optim.AdamW,
        "optimizer__weight_decay": 0.01,
    },
    "SGD": {
        "optimizer": torch.optim.SGD,
        "optimizer__momentum": 0.9,
        "optimizer__nesterov": True,
        "iterator_train__drop_last": True,
    },
    "augmented": {"augment": {"flip": 0.5, "shift": 1, "erase": 3}},
    "weighted": {"class_weight": {0: 2.0}},
    "mixed": {"augment": {"rotate": 4, "mixup": 0.4}},
}


@pytest.mark.parametrize("setting", SETTINGS)
def test_fit_captured_has_the_eager_losses(X, y, quick, kind, float32, setting):
    """Over 50 steps and more, dropout included.

    The rate is one that float32 holds, since a long training magnifies its rounding.
    """
    compare_losses(kind, X, y, quick | SETTINGS[setting])


def test_fit_captured_with_a_cycle_of_the_momentum(X, y, quick, float32):
    """It is rounded in other places; MiniVGG magnifies this beyond 1e-4."""
    compare_losses(LeNet5Classifier, X, y, quick | {"lr_schedule": "one_cycle"})


def test_fit_captured_with_a_teacher(X, y, quick, kind, float32):
    teacher = MiniVGGClassifier(**quick).fit(X, y)
    for augment in (None, {"shift": 1}, {"mixup": 0.4}):
        settings = quick | {"teacher": teacher, "augment": augment}
        compare_losses(kind, X, y, settings)


def compare_losses(kind, X, y, settings):
    settings = {"batch_size": 7, "precision": "float32", "lr": 2**-10} | {
        k: v for k, v in settings.items() if k not in ("batch_size", "lr")
    }
    eager = kind(**settings, callbacks=[Listens()]).fit(X, y)
    captured = kind(**settings).fit(X, y)
    assert (eager.steps_, captured.steps_) == ("eager", "captured")
    assert eager.module_.training == captured.module_.training
    for name in ("train_loss", "valid_loss"):
        np.testing.assert_allclose(
            captured.history_[:, name], eager.history_[:, name], atol=1e-4, rtol=0
        )


def test_fit_in_a_thread_is_as_alone(X, y, quick, kind):
    """In bfloat16 too, where autocasting's cache belongs to all threads."""

    def fit(seed):
        net = kind(**quick | {"random_state": seed}).fit(X, y)
        assert net.steps_ == "captured"
        return net.predict_proba(X)

    alone = [fit(seed) for seed in range(4)]
    with parallel_config(backend="threading", n_jobs=4):
        together = Parallel()(delayed(fit)(seed) for seed in range(4))
    assert np.array_equal(alone, together)


def test_callback_may_freeze_weights(X, y, quick):
    class Freeze(Callback):
        def on_epoch_begin(self, net, dataset_train=None, dataset_valid=None, **kwargs):
            if len(net.history_) == 2:
                net.module_.c1.conv.weight.requires_grad_(False)
                self.weight_ = net.module_.c1.conv.weight.detach().clone()

    callback = Freeze()
    net = LeNet5Classifier(**quick | {"ema_decay": None}, callbacks=[callback])
    net.fit(X, y)
    assert net.steps_ == "captured"
    weights = net.callbacks[0].weight_
    assert torch.equal(net.module_.c1.conv.weight, weights) or net.best_epoch_ == 1


def test_fit_is_eager_if_capture_fails(X, y, quick, same_predictions, monkeypatch):
    eager = LeNet5Classifier(**quick, callbacks=[Listens()]).fit(X, y)
    apply = Updates.apply

    def waits(self, number):
        apply(self, number)
        if torch.cuda.is_current_stream_capturing():
            self._table.sum().item()

    with monkeypatch.context() as patch:
        patch.setattr(Updates, "apply", waits)
        with pytest.warns(UserWarning, match="could not be recorded"):
            net = LeNet5Classifier(**quick).fit(X, y)
    assert net.steps_ == "eager"
    assert same_predictions(net, eager, X)
    assert LeNet5Classifier(**quick).fit(X, y).steps_ == "captured"


# What a fit leaves --------------------------------------------------------------


# Parameters, the error, and how many epochs are kept.
ENDS = {
    "as planned": ({}, None, {4}),
    "early": ({"lr": 1e-12, "patience": 1, "ema_decay": None}, None, {2, 3}),
    "by Ctrl-C": ({"callbacks": [Raises(KeyboardInterrupt)]}, KeyboardInterrupt, {2}),
    "by a callback": (
        {"callbacks": [Raises(ZeroDivisionError)]},
        ZeroDivisionError,
        {0},
    ),
    "by NaN": ({"lr": 1e30}, ValueError, {0}),
}


@pytest.mark.parametrize("end", ENDS)
def test_fit_leaves_nothing_however_it_ends(X, y, quick, kind, end):
    params, error, n_epochs = ENDS[end]
    settings = quick | {"max_epochs": 4, "batch_size": 16} | params

    def fit():
        net = kind(**settings)
        with nullcontext() if error is None else pytest.raises(error):
            net.fit(X, y)
        return net.n_iter_ if net.__sklearn_is_fitted__() else 0

    n_failed = len(cuda_graph._unfinished)  # by other tests
    assert fit() in n_epochs
    used = []
    for _ in range(5):
        fit()
        used.append((torch.cuda.memory_allocated(), torch.cuda.memory_reserved()))
    assert used[-1] == used[1]
    assert len(cuda_graph._unfinished) == n_failed
    assert {len(idle) for idle in device._idle_streams.values()} == {device._N_STREAMS}
    assert not cuda_graph._capture_lock.locked()


def test_predict_is_as_in_small_batches(X, y, quick, kind, float32):
    net = kind(**quick | {"max_epochs": 1}).fit(X, y)
    rows = np.tile(X, (20, 1))
    expected = net.predict_proba(rows)
    net.set_params(iterator_valid__batch_size=160)
    np.testing.assert_allclose(net.predict_proba(rows), expected, atol=1e-5)
