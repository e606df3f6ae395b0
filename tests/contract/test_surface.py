"""Small things that scikit-learn's own classifiers have, and false alarms that ours
must not set off."""

import copy
import pickle
import warnings

import numpy as np
import pytest
import torch
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import BaggingClassifier, VotingClassifier
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import get_scorer, log_loss, roc_auc_score
from sklearn.model_selection import TunedThresholdClassifierCV, cross_val_predict

from fmnist_sklearn import LeNet5Classifier, MiniVGGClassifier

FEW = {"max_epochs": 2, "random_state": 0}


def test_decision_function_is_what_the_softmax_is_taken_of(lenet5, X):
    scores = lenet5.decision_function(X)
    assert scores.shape == (240, 10)
    exponents = np.exp(scores - scores.max(1, keepdims=True))
    np.testing.assert_allclose(
        exponents / exponents.sum(1, keepdims=True), lenet5.predict_proba(X), 1e-4
    )
    assert np.array_equal(scores.argmax(1), lenet5.predict(X))


@pytest.fixture(scope="module")
def binary(X, y):
    """A net of two classes."""
    return LeNet5Classifier(**FEW | {"lr": 0.01}).fit(X, np.where(y > 4, "yes", "no"))


def test_decision_function_of_two_classes(binary, X, y):
    scores, probabilities = binary.decision_function(X), binary.predict_proba(X)
    assert scores.shape == (240,)
    np.testing.assert_allclose(1 / (1 + np.exp(-scores)), probabilities[:, 1], 1e-4)
    assert np.array_equal(np.where(scores > 0, "yes", "no"), binary.predict(X))
    truth = y > 4
    assert get_scorer("roc_auc")(binary, X, np.where(truth, "yes", "no")) == (
        pytest.approx(roc_auc_score(truth, probabilities[:, 1]))
    )


@pytest.mark.parametrize("method", ["sigmoid", "isotonic", "temperature"])
def test_calibration(lenet5, X, X_test, y_test, method):
    if method == "temperature":
        pytest.importorskip("sklearn", "1.8")
    calibrated = CalibratedClassifierCV(FrozenEstimator(lenet5), method=method)
    probabilities = calibrated.fit(X_test, y_test).predict_proba(X)
    np.testing.assert_allclose(probabilities.sum(1), 1)


def test_thresholds(binary, X, y):
    tuned = TunedThresholdClassifierCV(
        FrozenEstimator(binary), cv="prefit", refit=False, response_method="auto"
    ).fit(X, np.where(y > 4, "yes", "no"))
    assert set(tuned.predict(X)) <= {"yes", "no"}


def test_cross_val_predict_of_decision_function(X, y):
    scores = cross_val_predict(
        LeNet5Classifier(**FEW), X, y, cv=2, method="decision_function"
    )
    assert scores.shape == (240, 10)


def test_curves_and_counts(lenet5, quick, X, y):
    assert lenet5.loss_curve_ == lenet5.history_[:, "train_loss"]
    assert lenet5.validation_scores_ == lenet5.history_[:, "valid_acc"]
    assert lenet5.best_loss_ == min(lenet5.loss_curve_)
    assert lenet5.n_classes_ == 10
    whole = LeNet5Classifier(**quick | {"validation_fraction": 0}).fit(X, y)
    assert whole.validation_scores_ is None
    for name in ("loss_curve_", "validation_scores_", "best_loss_", "n_classes_"):
        assert not hasattr(LeNet5Classifier(), name)


def test_embedding(lenet5, mini_vgg, X):
    for net, n_units in ((lenet5, 84), (mini_vgg, 512)):
        embedded = net.embed(X)
        assert embedded.shape == (240, n_units)
        assert embedded.dtype == np.float32
        out = net.module_.head.out
        logits = embedded @ out.weight.detach().numpy().T + out.bias.detach().numpy()
        np.testing.assert_allclose(logits, net.decision_function(X), atol=1e-3)
    flipped = copy.deepcopy(lenet5).set_params(predict_flip=True)
    assert np.array_equal(flipped.embed(X), lenet5.embed(X))
    with pytest.raises(NotFittedError):
        LeNet5Classifier().embed(X)
    with pytest.raises(NotFittedError):
        LeNet5Classifier().decision_function(X)
    no_hidden = LeNet5Classifier(**FEW, module__hidden_units=()).initialize()
    assert no_hidden.embed(X).shape == (240, 400)


@pytest.mark.parametrize(
    "ensemble",
    [
        lambda net: BaggingClassifier(net, n_estimators=3, random_state=0),
        lambda net: VotingClassifier([("a", net), ("b", net)], voting="soft"),
        lambda net: CalibratedClassifierCV(net, cv=2),
        lambda net: net,
    ],
)
def test_averaged_probabilities_sum_to_one_for_the_metrics(X, y, ensemble):
    fitted = ensemble(LeNet5Classifier(**FEW, patience=None)).fit(X, y)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        log_loss(y, fitted.predict_proba(X))


@pytest.mark.parametrize("cls", [LeNet5Classifier, MiniVGGClassifier])
def test_schedules_of_skorch_set_off_no_alarm(X, y, cls):
    from skorch.callbacks import LRScheduler

    small = {} if cls is LeNet5Classifier else {"module__hidden_units": 8}
    scheduler = LRScheduler("StepLR", step_size=1)
    net = cls(**FEW, callbacks=[scheduler], warm_start=True, patience=None, **small)
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*lr_scheduler.*")
        net.fit(X, y).fit(X, y)
        pickle.loads(pickle.dumps(net.set_params(callbacks=None))).fit(X, y)


def test_a_step_of_one_s_own_is_taken(X, y):
    class Counting(torch.optim.Adam):
        n_steps = 0

        def step(self, closure=None):
            self.n_steps += 1
            return super().step(closure)

    net = LeNet5Classifier(**FEW, optimizer=Counting).fit(X, y)
    assert net.optimizer_.n_steps == 2 * net.history_[0, "train_batch_count"]


def test_beside_scikit_learn_s_own():
    """The names are MLPClassifier's and LogisticRegression's."""
    assert hasattr(LogisticRegression, "decision_function")
    assert hasattr(LeNet5Classifier, "decision_function")
