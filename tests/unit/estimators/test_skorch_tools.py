"""skorch's tools over (net, X, y) work as skorch documents, at the defaults."""

import contextlib
import io

import numpy as np
import pytest
import torch
from sklearn.metrics import log_loss
from sklearn.model_selection import GridSearchCV
from skorch.callbacks import Callback, Freezer, ParamMapper, ProgressBar, Unfreezer
from skorch.helper import SliceDataset
from skorch.scoring import loss_scoring
from skorch.utils import to_numpy

from fmnist_sklearn import LeNet5Classifier

NAMES = np.array([f"class {digit}" for digit in range(10)])
FEW = {"max_epochs": 2, "random_state": 0}
ONE = {"max_epochs": 1, "random_state": 0}


@pytest.fixture(scope="module")
def net(X, y):
    """A net fitted at the defaults, on labels that are words."""
    return LeNet5Classifier(**FEW).fit(X, NAMES[y])


def test_loss_scoring(net, X, y):
    losses = loss_scoring(net, X, NAMES[y])
    expected = log_loss(NAMES[y], net.predict_proba(X))
    assert np.mean(losses) == pytest.approx(expected, rel=1e-4)
    search = GridSearchCV(
        LeNet5Classifier(**ONE),
        {"lr": [0.001, 0.01]},
        cv=2,
        scoring=lambda net, X, y: -float(np.mean(loss_scoring(net, X, y))),
        error_score="raise",
    ).fit(X, y)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()


def test_get_dataset_has_the_targets(net, X, y):
    dataset = net.get_dataset(X, NAMES[y])
    assert [int(dataset[i][1]) for i in range(20)] == y[:20].tolist()
    assert np.array_equal(to_numpy(torch.stack(list(SliceDataset(dataset, 1)))), y)
    assert net.get_dataset(dataset) is dataset
    with pytest.raises(ValueError, match="not among the classes"):
        net.get_dataset(X, y)
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        net.get_dataset(X, NAMES[y][:5])


def test_validation_step_over_a_dataset(net, X, y):
    total = 0.0
    for batch in net.get_iterator(net.get_dataset(X, NAMES[y])):
        total += net.validation_step(batch)["loss"].item() * len(batch[1])
    expected = log_loss(NAMES[y], net.predict_proba(X))
    assert total / len(X) == pytest.approx(expected, rel=1e-4)


def test_get_split_datasets_splits_as_fit_does(X, y):
    seen = []

    class Look(Callback):
        def on_epoch_begin(self, net, dataset_train=None, dataset_valid=None, **kwargs):
            seen.append((dataset_train.indices, dataset_valid.indices))

    again = LeNet5Classifier(**ONE, callbacks=[Look()]).fit(X, NAMES[y])
    parts = again.get_split_datasets(X, NAMES[y])
    for part, expected in zip(parts, seen[0], strict=True):
        assert np.array_equal(part.indices, expected)
    again.set_params(validation_fraction=0)
    assert again.get_split_datasets(X, NAMES[y])[1] is None


@pytest.mark.parametrize(
    "params",
    [
        {},
        {"batch_size": 64},
        {"batch_size": -1},
        {"iterator_train__drop_last": True},
        {"iterator_valid__batch_size": 5},
        {"validation_fraction": 0},
    ],
)
@pytest.mark.parametrize("batches_per_epoch", ["auto", "count"])
def test_progress_bar_counts_the_batches(X, y, params, batches_per_epoch):
    counts = []

    class Bar(ProgressBar):
        def on_epoch_end(self, net, **kwargs):
            counts.append((self.pbar_.total, self.pbar_.n))
            super().on_epoch_end(net, **kwargs)

    bar = Bar(batches_per_epoch=batches_per_epoch)
    with contextlib.redirect_stderr(io.StringIO()):
        LeNet5Classifier(**FEW, callbacks=[bar], **params).fit(X, y)
    assert len(counts) == 2
    assert all(total == n for total, n in counts)
    assert bar.batches_per_epoch == batches_per_epoch


@pytest.mark.parametrize(
    "callback",
    [
        Freezer("c1.*"),
        Unfreezer("c1.*", at=2),
        Freezer(["*.norm.*", "head.f5.*"]),
        ParamMapper("head.*", fn=torch.nn.init.normal_),
    ],
)
def test_param_mapper_changes_parameters(X, y, callback):
    net = LeNet5Classifier(**FEW, callbacks=[("map", callback)]).fit(X, y)
    assert np.isfinite(net.predict_proba(X)).all()
    if isinstance(callback, Freezer):
        frozen = [n for n, p in net.module_.named_parameters() if not p.requires_grad]
        assert frozen
        initial = LeNet5Classifier(**FEW).initialize().module_.state_dict()
        for name in frozen:
            assert torch.equal(net.module_.state_dict()[name], initial[name])
