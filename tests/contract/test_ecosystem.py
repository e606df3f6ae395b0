"""The classifiers inside scikit-learn's machinery: routing, ensembles, searches."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
import warnings
from collections import Counter
from functools import partialmethod
from pathlib import Path

import numpy as np
import pytest
import sklearn
import torch
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import (
    AdaBoostClassifier,
    BaggingClassifier,
    StackingClassifier,
    VotingClassifier,
)
from sklearn.exceptions import FitFailedWarning, NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.model_selection import GridSearchCV, StratifiedKFold, cross_validate
from sklearn.multiclass import OneVsRestClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer
from skorch.callbacks import BatchScoring, Callback

from fmnist_sklearn import FitCache, LeNet5Classifier, MiniVGGClassifier
from fmnist_sklearn.training.loop import extra_callbacks

from . import NAMES

PATHS = [path for path in sys.path if path]
FOLDS = StratifiedKFold(2)


@pytest.fixture(scope="module")
def three(X, y):
    """The rows of three classes, with names for labels."""
    rows = np.flatnonzero(y < 3)
    return X[rows], NAMES[y[rows]]


@pytest.fixture
def weights(y):
    """Weights, some of them 0, that change a fit."""
    return np.where(np.arange(len(y)) % 3 == 0, 0.0, 1.0 + (y == 6))


# Metadata routing


@pytest.fixture
def routing():
    with sklearn.config_context(enable_metadata_routing=True):
        yield


def weighted(net):
    return net.set_fit_request(sample_weight=True).set_score_request(sample_weight=True)


def test_sample_weight_through_a_pipeline(X, y, quick, lenet5, weights, routing):
    net = LeNet5Classifier(**quick)
    pipeline = make_pipeline(FunctionTransformer(), weighted(clone(net)))
    pipeline.fit(X, y, sample_weight=weights)
    net.fit(X, y, sample_weight=weights)

    assert np.array_equal(pipeline.predict_proba(X), net.predict_proba(X))
    assert pipeline.score(X, y, sample_weight=weights) == net.score(
        X, y, sample_weight=weights
    )
    assert not np.array_equal(net.predict_proba(X), lenet5.predict_proba(X))


def scores_by_hand(net, X, y, weights):
    return [
        clone(net)
        .fit(X[train], y[train], sample_weight=weights[train])
        .score(X[test], y[test], sample_weight=weights[test])
        for train, test in FOLDS.split(X, y)
    ]


@pytest.mark.parametrize(
    "in_pipeline",
    [False, pytest.param(True, marks=pytest.mark.needs("scikit-learn>=1.8"))],
)
def test_sample_weight_in_searches(X, y, quick, weights, routing, in_pipeline):
    net = weighted(LeNet5Classifier(**quick | {"max_epochs": 1}))
    estimator = Pipeline([("net", net)]) if in_pipeline else net
    name = "net__lr" if in_pipeline else "lr"
    by_hand = scores_by_hand(net, X, y, weights)
    given = {"sample_weight": weights}
    results = cross_validate(estimator, X, y, cv=FOLDS, params=given)
    assert results["test_score"].tolist() == by_hand

    search = GridSearchCV(estimator, {name: [0.01, 0.02]}, cv=FOLDS).fit(X, y, **given)
    means = search.cv_results_["mean_test_score"]
    other = scores_by_hand(clone(net).set_params(lr=0.02), X, y, weights)
    assert means == pytest.approx([np.mean(by_hand), np.mean(other)])
    best = clone(net).set_params(lr=search.best_params_[name]).fit(X, y, **given)
    assert np.array_equal(search.predict_proba(X), best.predict_proba(X))


def test_X_val_goes_through_the_pipeline(X, y, quick, routing):
    """``transform_input`` has them transformed as the training rows are."""
    net = LeNet5Classifier(**quick).set_fit_request(X_val=True, y_val=True)
    steps = [("invert", FunctionTransformer(np.invert)), ("net", net)]
    pipeline = Pipeline(steps, transform_input=["X_val"])
    pipeline.fit(X[:140], y[:140], X_val=X[140:], y_val=y[140:])
    alone = LeNet5Classifier(**quick).fit(
        ~X[:140], y[:140], X_val=~X[140:], y_val=y[140:]
    )
    assert pipeline[-1].history_[:, "valid_loss"] == alone.history_[:, "valid_loss"]


# Meta-estimators


def members(net):
    """Return the net, and another model of unscaled rows."""
    scale = FunctionTransformer(lambda X: X / 255)
    return [("net", net), ("logistic", make_pipeline(scale, LogisticRegression()))]


STACKING = {"final_estimator": LogisticRegression(), "cv": 2}
METAS = {
    "sigmoid": lambda net: CalibratedClassifierCV(net, cv=2),
    "isotonic": lambda net: CalibratedClassifierCV(net, method="isotonic", cv=2),
    "temperature": lambda net: CalibratedClassifierCV(net, method="temperature", cv=2),
    "bagging": lambda net: BaggingClassifier(net, n_estimators=3, random_state=0),
    "boosting": lambda net: AdaBoostClassifier(net, n_estimators=3, random_state=0),
    "voting": lambda net: VotingClassifier(members(net), voting="soft"),
    "stacking": lambda net: StackingClassifier(members(net), **STACKING),
    "stacking on rows": lambda net: StackingClassifier(
        members(net), **STACKING, passthrough=True
    ),
    "one versus rest": OneVsRestClassifier,
}
WITH_WEIGHTS = {"isotonic", "bagging", "boosting"}


@pytest.mark.parametrize("name", METAS)
def test_meta_estimators(three, quick, name):
    X, y = three
    if name == "temperature":
        pytest.importorskip("sklearn", "1.8")
    weights = {"sample_weight": 1.0 + np.arange(len(y)) % 2}
    model = METAS[name](LeNet5Classifier(**quick))
    model.fit(X, y, **(weights if name in WITH_WEIGHTS else {}))
    probabilities = model.predict_proba(X)
    assert probabilities.shape == (len(X), 3)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # such as of sums that are not 1
        log_loss(y, probabilities)
    assert model.classes_.tolist() == sorted(set(y))
    assert model.score(X, y) > 0.5  # chance is a third


# Searches


@pytest.mark.filterwarnings("ignore:One or more of the test scores are non-finite")
def test_grid_search_records_an_lr_that_diverges(X, y, quick):
    search = GridSearchCV(
        LeNet5Classifier(**quick, optimizer=torch.optim.SGD),
        {"lr": [0.01, 1e30]},
        cv=FOLDS,
        error_score=np.nan,
    )
    with pytest.warns(FitFailedWarning, match="2 fits failed.*\n(.*\n)*.*smaller lr"):
        search.fit(X, y)
    assert np.isnan(search.cv_results_["mean_test_score"]).tolist() == [False, True]
    assert search.best_params_ == {"lr": 0.01}


# scikit-learn's callbacks


@pytest.fixture
def callback():
    return pytest.importorskip("sklearn.callback", reason="scikit-learn 1.9")


@pytest.mark.parametrize("cls", [LeNet5Classifier, MiniVGGClassifier])
def test_scoring_monitor(X, y, quick, cls, callback):
    monitor = callback.ScoringMonitor(scoring="accuracy")
    small = {} if cls is LeNet5Classifier else {"module__widths": (8, "M")}
    net = cls(**quick, **small).set_callbacks(monitor).fit(X[:80], y[:80])
    log = monitor.get_logs()
    epochs = [row for row in log.data if row["task_name"] == "epoch"]

    assert log.estimator_name == cls.__name__
    assert [row["task_id"] for row in epochs] == [0, 1]
    (fit,) = (row for row in log.data if row["task_name"] == "fit")
    assert fit["accuracy"] == net.score(X[:80], y[:80])
    plain = cls(**quick, **small).fit(X[:80], y[:80])
    assert np.array_equal(net.predict_proba(X), plain.predict_proba(X))


def test_scoring_monitor_sees_the_epoch_s_weights(X, y, quick, callback):
    monitor = callback.ScoringMonitor(scoring="neg_log_loss")
    net = LeNet5Classifier(**quick | {"lr": 0.05, "max_epochs": 4}, patience=None)
    net.set_callbacks(monitor).fit(X[:140], y[:140], X_val=X[140:], y_val=y[140:])
    log = monitor.get_logs().data
    *rows, fit = (row["neg_log_loss"] for row in sorted(log, key=is_of_the_fit))
    assert len(set(rows)) == len(rows) == 4
    assert fit == pytest.approx(rows[net.best_epoch_ - 1])


def is_of_the_fit(row):
    return row["task_name"] == "fit"


@pytest.mark.parametrize("weights", [None, np.arange(240) % 2])
def test_progress_bar(X, y, quick, callback, capsys, weights):
    net = LeNet5Classifier(**quick).set_callbacks(callback.ProgressBar())
    net.fit(X, y, sample_weight=weights)
    shown = capsys.readouterr().out
    assert "LeNet5Classifier - fit" in shown
    assert "100%" in shown


@pytest.mark.parametrize("n_jobs", [None, 2])
def test_scoring_monitor_and_progress_bar_in_a_grid_search(
    X, y, quick, callback, capsys, n_jobs, two_processes
):
    monitor = callback.ScoringMonitor(scoring="accuracy")
    net = LeNet5Classifier(**quick).set_callbacks(monitor)
    search = GridSearchCV(net, {"lr": [0.01, 0.001]}, cv=FOLDS, n_jobs=n_jobs)
    search.set_callbacks(callback.ProgressBar(max_propagation_depth=None)).fit(X, y)
    epochs = [row for row in monitor.get_logs().data if row["task_name"] == "epoch"]
    assert len(epochs) == 2 * (2 * 2 + 1)  # epochs x (candidates x folds + refit)
    assert all(0 <= row["accuracy"] <= 1 for row in epochs)
    shown = capsys.readouterr().out
    assert "GridSearchCV - fit" in shown
    assert "LeNet5Classifier" in shown
    assert not hasattr(search.best_estimator_, "_parent_callback_ctx")


def non_daemons():
    """Return the threads that keep the process from ending."""
    return [each for each in threading.enumerate() if not each.daemon]


class RaiseInHook:
    """Counts the calls of each hook, and raises in one of them."""

    def __init__(self, hook, number):
        self.place, self.counts = (hook, number), Counter()

    def called(self, hook, estimator, context):
        self.counts[hook] += 1
        if (hook, self.counts[hook]) == self.place:
            raise ZeroDivisionError(f"in {hook}")

    setup = partialmethod(called, "setup")
    on_fit_task_begin = partialmethod(called, "on_fit_task_begin")
    on_fit_task_end = partialmethod(called, "on_fit_task_end")
    teardown = partialmethod(called, "teardown")


@pytest.mark.parametrize(
    ("hook", "number", "is_fitted"),
    [
        *(("setup", 1, False), ("teardown", 1, True)),
        # Of the fit and of the first epoch
        *(("on_fit_task_begin", 1, False), ("on_fit_task_begin", 2, False)),
        *(("on_fit_task_end", 3, True), ("on_fit_task_end", 1, False)),
    ],
)
def test_set_callbacks_and_a_hook_that_raises(
    X, y, quick, callback, hook, number, is_fitted
):
    threads, (X, y) = non_daemons(), (X[:80], y[:80])
    raising, after = RaiseInHook(hook, number), RaiseInHook(None, None)
    net = LeNet5Classifier(**quick | {"max_epochs": 2}, patience=None)
    net.set_callbacks(callback.ProgressBar(), raising, after)
    with pytest.raises(ZeroDivisionError, match=f"in {hook}"):
        net.fit(X, y)
    assert non_daemons() == threads
    assert raising.counts["setup"] == raising.counts["teardown"] == 1
    assert after.counts["setup"] == after.counts["teardown"]
    assert net.__sklearn_is_fitted__() is is_fitted
    assert net.fit(X, y).n_iter_ == 2


# skorch's callbacks


def test_batch_scoring_and_fit_loop_are_refused(X, y, quick, lenet5):
    net = LeNet5Classifier(**quick, callbacks=[BatchScoring("accuracy")])
    with pytest.raises(TypeError, match=r"'BatchScoring' is a BatchScoring.*EpochScor"):
        net.fit(X, y)
    with pytest.raises(NotFittedError, match="not fitted yet"):
        net.predict(X)
    with pytest.raises(NotImplementedError, match="no fit_loop; call fit"):
        lenet5.fit_loop(X, y)


# Ctrl-C


ENDLESS = """
from sklearn.model_selection import GridSearchCV

from fmnist_sklearn import LeNet5Classifier, load_fashion_mnist_sample


if __name__ == "__main__":
    X, y = load_fashion_mnist_sample(return_X_y=True)
    net = LeNet5Classifier(patience=None, random_state=0, memory="kept")
    search = GridSearchCV(net, {"max_epochs": [1, 10**6]}, cv=2, n_jobs=2)
    search.fit(X[:200], y[:200])
    print("the search ended as if nothing had happened")
"""


def processes_of_session(session):
    """Return the processes of a session that have not ended (Linux)."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            # After the name: state, parent, group and session.
            state, _, _, sid = stat.read_text().rpartition(")")[2].split()[:4]
            if int(sid) == session and state not in "ZX":
                found.append(stat.parent.name)
    return found


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
def test_grid_search_in_processes_is_ended_by_ctrl_c(tmp_path):
    (tmp_path / "search.py").write_text(ENDLESS)
    process = subprocess.Popen(
        [sys.executable, "search.py"],
        cwd=tmp_path,
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(PATHS)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # As in a terminal, whatever this process was told to ignore.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    try:
        # Both folds of the candidate that ends; the other's are trained by then.
        deadline = time.monotonic() + 120
        while len(FitCache(tmp_path / "kept").entries()) < 2:
            assert process.poll() is None, process.communicate()[1]
            assert time.monotonic() < deadline
            time.sleep(0.05)
        os.killpg(process.pid, signal.SIGINT)
        output, errors = process.communicate(timeout=30)
        if sys.platform == "linux":
            # What only tidies up after the workers ends a moment after them.
            while processes_of_session(process.pid):
                assert time.monotonic() < deadline
                time.sleep(0.05)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    assert process.returncode == -signal.SIGINT
    assert errors.rstrip().endswith("KeyboardInterrupt")
    assert "as if nothing" not in output
    assert len(FitCache(tmp_path / "kept").entries()) == 2


def test_grid_search_in_sequence_is_ended_by_ctrl_c(X, y, quick, tmp_path):
    started = []

    class PressCtrlC(Callback):
        def on_epoch_end(self, net, **kwargs):
            started.append(net.lr)
            if len(started) == 3:
                os.kill(os.getpid(), signal.SIGINT)

    net = LeNet5Classifier(**quick | {"max_epochs": 1, "patience": None})
    search = GridSearchCV(net, {"lr": [0.01, 0.02]}, cv=2)
    with pytest.raises(KeyboardInterrupt), extra_callbacks(PressCtrlC()):
        search.set_params(estimator__memory=tmp_path).fit(X, y)
    assert started == [0.01, 0.01, 0.02]
    assert len(FitCache(tmp_path).entries()) == 2
