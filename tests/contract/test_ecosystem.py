"""The classifiers inside scikit-learn's machinery, and what they take from others."""

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import scipy.sparse
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
from sklearn.exceptions import (
    DataConversionWarning,
    FitFailedWarning,
    NotFittedError,
)
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score
from sklearn.model_selection import GridSearchCV, StratifiedKFold, cross_validate
from sklearn.multiclass import OneVsRestClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer
from skorch.callbacks import BatchScoring, Callback

from fmnist_sklearn import FitCache, LeNet5Classifier, MiniVGGClassifier
from fmnist_sklearn.training import extra_callbacks

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
    """Weights, some of them 0, that a fit cannot overlook."""
    return np.where(np.arange(len(y)) % 3 == 0, 0.0, 1.0 + (y == 6))


# Metadata routing


@pytest.fixture
def routing():
    with sklearn.config_context(enable_metadata_routing=True):
        yield


def weighted(net):
    return net.set_fit_request(sample_weight=True).set_score_request(sample_weight=True)


def test_weights_reach_the_net_through_a_pipeline(X, y, quick, weights, routing):
    net = LeNet5Classifier(**quick)
    pipeline = make_pipeline(FunctionTransformer(), weighted(clone(net)))
    pipeline.fit(X, y, sample_weight=weights)
    net.fit(X, y, sample_weight=weights)

    assert np.array_equal(pipeline.predict_proba(X), net.predict_proba(X))
    assert pipeline.score(X, y, sample_weight=weights) == net.score(
        X, y, sample_weight=weights
    )
    unweighted = LeNet5Classifier(**quick).fit(X, y)
    assert not np.array_equal(pipeline.predict_proba(X), unweighted.predict_proba(X))


def scores_by_hand(net, X, y, weights):
    return [
        clone(net)
        .fit(X[train], y[train], sample_weight=weights[train])
        .score(X[test], y[test], sample_weight=weights[test])
        for train, test in FOLDS.split(X, y)
    ]


@pytest.mark.parametrize("in_pipeline", [False, True])
def test_weights_reach_the_net_in_cross_validate(
    X, y, quick, weights, routing, in_pipeline
):
    net = weighted(LeNet5Classifier(**quick))
    estimator = make_pipeline(FunctionTransformer(), net) if in_pipeline else net
    results = cross_validate(
        estimator, X, y, cv=FOLDS, params={"sample_weight": weights}
    )
    assert results["test_score"].tolist() == scores_by_hand(net, X, y, weights)


@pytest.mark.parametrize("in_pipeline", [False, True])
def test_weights_reach_the_net_in_a_grid_search(
    X, y, quick, weights, routing, in_pipeline
):
    net = weighted(LeNet5Classifier(**quick))
    estimator, prefix = net, ""
    if in_pipeline:
        estimator, prefix = Pipeline([("clf", net)]), "clf__"
    search = GridSearchCV(estimator, {f"{prefix}lr": [0.01, 0.02]}, cv=FOLDS)
    search.fit(X, y, sample_weight=weights)

    scores = search.cv_results_["mean_test_score"]
    for lr, score in zip([0.01, 0.02], scores, strict=True):
        expected = scores_by_hand(clone(net).set_params(lr=lr), X, y, weights)
        assert score == pytest.approx(np.mean(expected))
    lr = search.best_params_[f"{prefix}lr"]
    refitted = clone(net).set_params(lr=lr).fit(X, y, sample_weight=weights)
    assert np.array_equal(search.predict_proba(X), refitted.predict_proba(X))


def test_weights_that_nobody_asked_for_are_refused(X, y, quick, weights, routing):
    search = GridSearchCV(LeNet5Classifier(**quick), {"lr": [0.01]}, cv=FOLDS)
    with pytest.raises(
        ValueError, match=r"sample_weight.* are passed but are not expl"
    ):
        search.fit(X, y, sample_weight=weights)


def test_validation_rows_go_through_the_pipeline(X, y, quick, routing):
    """``transform_input`` has them transformed as the training rows are."""
    net = LeNet5Classifier(**quick).set_fit_request(X_val=True, y_val=True)
    pipeline = Pipeline(
        [("invert", FunctionTransformer(invert)), ("net", net)],
        transform_input=["X_val"],
    )
    pipeline.fit(X[:140], y[:140], X_val=X[140:], y_val=y[140:])
    alone = LeNet5Classifier(**quick).fit(
        255 - X[:140], y[:140], X_val=255 - X[140:], y_val=y[140:]
    )
    assert pipeline[-1].history_[:, "valid_loss"] == alone.history_[:, "valid_loss"]


def invert(X):
    return 255 - X


def test_classes_are_routed_to_partial_fit(routing):
    net = LeNet5Classifier().set_partial_fit_request(classes=True, sample_weight=False)
    requests = net.get_metadata_routing().partial_fit.requests
    assert requests == {"classes": True, "sample_weight": False}


# Meta-estimators


def check_classifier(model, X, y, minimum=0.5):
    """Check a fitted meta-estimator of three classes: chance is a third."""
    probabilities = model.predict_proba(X)
    assert probabilities.shape == (len(X), 3)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-6)
    assert model.classes_.tolist() == sorted(set(y))
    assert accuracy_score(y, model.predict(X)) > minimum


@pytest.mark.parametrize("weights", [False, True])
@pytest.mark.parametrize("method", ["sigmoid", "isotonic"])
def test_calibration(three, quick, method, weights):
    X, y = three
    kwargs = {"sample_weight": 1.0 + np.arange(len(y)) % 2} if weights else {}
    model = CalibratedClassifierCV(LeNet5Classifier(**quick), method=method, cv=2)
    check_classifier(model.fit(X, y, **kwargs), X, y)


def test_calibration_of_a_fitted_net(three, quick):
    X, y = three
    net = LeNet5Classifier(**quick).fit(X, y)
    model = CalibratedClassifierCV(FrozenEstimator(net), method="sigmoid")
    check_classifier(model.fit(X, y), X, y)


@pytest.mark.parametrize("weights", [False, True])
def test_bagging(three, quick, weights):
    X, y = three
    kwargs = {"sample_weight": 1.0 + np.arange(len(y)) % 2} if weights else {}
    model = BaggingClassifier(LeNet5Classifier(**quick), n_estimators=3, random_state=0)
    check_classifier(model.fit(X, y, **kwargs), X, y)
    first, second, _ = model.estimators_
    assert first.random_state != second.random_state
    assert not np.array_equal(first.predict_proba(X), second.predict_proba(X))


def test_bagging_of_columns(three, quick):
    """What is left of an image is read as a smaller one, and still trains."""
    X, y = three
    model = BaggingClassifier(
        LeNet5Classifier(**quick), n_estimators=2, max_features=0.5, random_state=0
    )
    model.fit(X, y)
    assert model.estimators_[0].n_features_in_ == 392
    assert model.predict(X).shape == y.shape


def test_boosting(three, quick):
    X, y = three
    model = AdaBoostClassifier(
        LeNet5Classifier(**quick), n_estimators=3, random_state=0
    )
    check_classifier(model.fit(X, y), X, y)
    assert len(model.estimators_) >= 1


def test_voting(three, quick):
    X, y = three
    members = [
        ("lenet5", LeNet5Classifier(**quick)),
        ("mini_vgg", MiniVGGClassifier(**quick | {"max_epochs": 1, "lr": 0.001})),
        ("logistic", make_pipeline(FunctionTransformer(unit), LogisticRegression())),
    ]
    model = VotingClassifier(members, voting="soft").fit(X, y)
    check_classifier(model, X, y)
    mean = np.mean([member.predict_proba(X) for member in model.estimators_], axis=0)
    np.testing.assert_allclose(model.predict_proba(X), mean, atol=1e-6)


def unit(X):
    return X / 255


def test_voting_with_weights(three, quick):
    X, y = three
    weights = (np.arange(len(y)) % 2).astype(float)
    members = [("one", LeNet5Classifier(**quick)), ("two", LogisticRegression())]
    model = VotingClassifier(members, voting="soft")
    model.fit(X, y, sample_weight=weights)
    alone = LeNet5Classifier(**quick).fit(X[1::2], y[1::2])
    assert np.array_equal(
        model.named_estimators_["one"].predict_proba(X), alone.predict_proba(X)
    )


@pytest.mark.parametrize("passthrough", [False, True])
def test_stacking(three, quick, passthrough):
    X, y = three
    members = [
        ("lenet5", LeNet5Classifier(**quick)),
        ("logistic", make_pipeline(FunctionTransformer(unit), LogisticRegression())),
    ]
    model = StackingClassifier(
        members, final_estimator=LogisticRegression(), cv=2, passthrough=passthrough
    )
    check_classifier(model.fit(X, y), X, y)


def test_a_net_as_the_final_estimator_of_a_stack(three, quick):
    """It reads the six probabilities as a tiny image, and trains."""
    X, y = three
    X = X / 255
    members = [("one", LogisticRegression()), ("two", LogisticRegression(C=0.01))]
    final = LeNet5Classifier(**quick | {"max_epochs": 20}, dropout=0)
    model = StackingClassifier(members, final_estimator=final, cv=2)
    check_classifier(model.fit(X, y), X, y)


def test_one_versus_rest(three, quick):
    X, y = three
    model = OneVsRestClassifier(LeNet5Classifier(**quick)).fit(X, y)
    check_classifier(model, X, y)
    assert len(model.estimators_) == 3
    assert all(net.classes_.tolist() == [0, 1] for net in model.estimators_)


# Searches


@pytest.mark.filterwarnings("ignore:One or more of the test scores are non-finite")
def test_a_search_records_an_lr_that_diverges(X, y, quick):
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


def test_scoring_monitor(X, y, quick, kind, callback):
    monitor = callback.ScoringMonitor(scoring="accuracy")
    net = kind(**quick).set_callbacks(monitor).fit(X[:80], y[:80])
    log = monitor.get_logs()
    epochs = [row for row in log.data if row["task_name"] == "epoch"]

    assert log.estimator_name == kind.__name__
    assert [row["task_id"] for row in epochs] == [0, 1]
    (fit,) = (row for row in log.data if row["task_name"] == "fit")
    assert fit["accuracy"] == net.score(X[:80], y[:80])
    plain = kind(**quick).fit(X[:80], y[:80])
    assert np.array_equal(net.predict_proba(X), plain.predict_proba(X))


def test_scoring_monitor_sees_the_epoch_s_weights(X, y, quick, callback):
    monitor = callback.ScoringMonitor(scoring="neg_log_loss")
    net = LeNet5Classifier(**quick | {"lr": 0.05, "max_epochs": 4}, patience=None)
    net.set_callbacks(monitor).fit(X[:140], y[:140], X_val=X[140:], y_val=y[140:])
    rows = {
        row["task_id"]: row["neg_log_loss"]
        for row in monitor.get_logs().data
        if row["task_name"] == "epoch"
    }
    (fit,) = (row for row in monitor.get_logs().data if row["task_name"] == "fit")
    assert len(set(rows.values())) == 4
    assert fit["neg_log_loss"] == pytest.approx(rows[net.best_epoch_ - 1])


@pytest.mark.parametrize("n_jobs", [None, 2])
def test_scoring_monitor_in_a_grid_search(X, y, quick, callback, n_jobs, two_processes):
    monitor = callback.ScoringMonitor(scoring="accuracy")
    net = LeNet5Classifier(**quick).set_callbacks(monitor)
    search = GridSearchCV(net, {"lr": [0.01, 0.001]}, cv=FOLDS, n_jobs=n_jobs)
    search.fit(X, y)
    epochs = [row for row in monitor.get_logs().data if row["task_name"] == "epoch"]
    assert len(epochs) == 2 * (2 * 2 + 1)  # epochs x (candidates x folds + refit)
    assert all(0 <= row["accuracy"] <= 1 for row in epochs)


@pytest.mark.parametrize("weights", [None, np.arange(240) % 2])
def test_progress_bar(X, y, quick, callback, capsys, weights):
    net = LeNet5Classifier(**quick).set_callbacks(callback.ProgressBar())
    net.fit(X, y, sample_weight=weights)
    shown = capsys.readouterr().out
    assert "LeNet5Classifier - fit" in shown
    assert "100%" in shown


@pytest.mark.parametrize("n_jobs", [None, 2])
def test_progress_bar_in_a_grid_search(
    X, y, quick, callback, capsys, n_jobs, two_processes
):
    search = GridSearchCV(
        LeNet5Classifier(**quick), {"lr": [0.01, 0.001]}, cv=FOLDS, n_jobs=n_jobs
    ).set_callbacks(callback.ProgressBar(max_propagation_depth=None))
    search.fit(X, y)
    shown = capsys.readouterr().out
    assert "GridSearchCV - fit" in shown
    assert "LeNet5Classifier" in shown
    assert not hasattr(search.best_estimator_, "_parent_callback_ctx")


def test_callbacks_are_let_go_after_a_fit_that_fails(X, y, quick, callback):
    monitor = callback.ScoringMonitor(scoring="accuracy")
    net = LeNet5Classifier(**quick | {"lr": 1e30}, optimizer=torch.optim.SGD)
    net.set_callbacks(monitor, callback.ProgressBar())
    with pytest.raises(ValueError, match="smaller lr"):
        net.fit(X, y)
    net.set_params(lr=0.01).fit(X, y)
    assert net.n_iter_ == 2


def test_callbacks_that_cannot_be_set_up_leave_no_fitted_net(X, y, quick, callback):
    monitor = callback.ScoringMonitor(scoring="nonsense")
    net = LeNet5Classifier(**quick).set_callbacks(callback.ProgressBar(), monitor)
    with pytest.raises(ValueError, match="'nonsense' is not a valid scoring value"):
        net.fit(X, y)
    with pytest.raises(NotFittedError, match="not fitted yet"):
        net.predict(X)


def test_callbacks_are_no_parameters(quick, callback):
    net = LeNet5Classifier(**quick).set_callbacks(callback.ProgressBar())
    assert net.get_params() == LeNet5Classifier(**quick).get_params()


# skorch's callbacks


class FailAtOnce(Callback):
    def on_train_begin(self, net, X=None, y=None, **kwargs):
        raise ZeroDivisionError


class Enough(Callback):
    def on_epoch_end(self, net, **kwargs):
        raise KeyboardInterrupt


def test_a_callback_that_fails_at_once_leaves_no_fitted_net(X, y, quick):
    net = LeNet5Classifier(**quick, callbacks=[FailAtOnce()])
    with pytest.raises(ZeroDivisionError):
        net.fit(X, y)
    with pytest.raises(NotFittedError, match="not fitted yet"):
        net.predict(X)


def test_a_callback_that_fails_at_once_keeps_earlier_weights(X, y, quick):
    net = LeNet5Classifier(**quick, warm_start=True).fit(X, y)
    expected = net.predict_proba(X)
    net.set_params(callbacks=[FailAtOnce()])
    with pytest.raises(ZeroDivisionError):
        net.fit(X, y)
    assert np.array_equal(net.predict_proba(X), expected)


def test_a_callback_s_own_keyboard_interrupt_is_one(X, y, quick):
    """skorch takes it for the wish to stop; ``net.stop_training`` says so here."""
    net = LeNet5Classifier(**quick, callbacks=[Enough()])
    with pytest.raises(KeyboardInterrupt):
        net.fit(X, y)
    assert net.n_iter_ == 1


def test_scores_of_batches_are_refused(X, y, quick):
    net = LeNet5Classifier(**quick, callbacks=[BatchScoring("accuracy")])
    with pytest.raises(TypeError, match=r"'BatchScoring' is a BatchScoring.*EpochScor"):
        net.fit(X, y)
    with pytest.raises(NotFittedError, match="not fitted yet"):
        net.predict(X)


def test_skorch_s_loop_is_refused(X, y, quick, lenet5):
    with pytest.raises(NotImplementedError, match="no fit_loop; call fit"):
        lenet5.fit_loop(X, y)


# Arrays and frames


def fits_alike(X, y, as_X, as_y, quick):
    expected = LeNet5Classifier(**quick).fit(X, y)
    net = LeNet5Classifier(**quick).fit(as_X, as_y)
    probabilities = net.predict_proba(as_X)
    np.testing.assert_allclose(probabilities, expected.predict_proba(X), atol=1e-4)
    assert net.classes_.tolist() == expected.classes_.tolist()
    return net


@pytest.mark.parametrize(
    "convert",
    [
        np.asfortranarray,
        lambda X: X.astype(np.int64),
        lambda X: X.astype(np.float32),
        lambda X: X.astype(">f8"),
        lambda X: X.astype(object),
        lambda X: np.repeat(X, 2, axis=1)[:, ::2],
    ],
    ids=["fortran", "int64", "float32", "big-endian", "object", "strided"],
)
def test_kinds_of_arrays_to_fit(X, y, quick, convert):
    fits_alike(X, y, convert(X), y, quick)


def test_tensors_to_fit(X, y, quick):
    images, labels = torch.from_numpy(X.copy()), torch.from_numpy(y.copy())
    fits_alike(X, y, images, labels, quick)
    fits_alike(X, y, images.reshape(-1, 28, 28).float(), labels, quick)


def test_memory_maps(X, y, quick, tmp_path):
    for name, array in {"X": X, "y": y}.items():
        np.save(tmp_path / f"{name}.npy", array)
    mapped = np.load(tmp_path / "X.npy", mmap_mode="r")
    labels = np.load(tmp_path / "y.npy", mmap_mode="r")
    assert isinstance(mapped, np.memmap)
    assert not mapped.flags.writeable
    net = fits_alike(X, y, mapped, labels, quick)
    net.partial_fit(mapped, labels)
    assert np.array_equal(mapped, X)


def test_polars_frames(X, y, quick):
    polars = pytest.importorskip("polars")
    columns = [f"pixel{k}" for k in range(784)]
    frame = polars.DataFrame(X, schema=columns)
    net = fits_alike(X, NAMES[y], frame, polars.Series(NAMES[y].tolist()), quick)
    assert net.feature_names_in_.tolist() == columns
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        net.predict(frame)
    with pytest.raises(ValueError, match="feature names should match"):
        net.predict(frame.select(columns[::-1]))


@pytest.mark.parametrize(
    "as_labels",
    [
        pd.Series,
        lambda names: pd.Series(names, index=np.arange(len(names))[::-1] + 7),
        lambda names: pd.Series(names).astype("category"),
        lambda names: pd.Series(names, dtype="string"),
        lambda names: pd.Series(names).to_frame()[0],
        list,
    ],
    ids=["series", "odd index", "categorical", "string", "column", "list"],
)
def test_pandas_frames(X, y, quick, as_labels):
    frame = pd.DataFrame(X, columns=[f"pixel{k}" for k in range(784)])
    frame.index = np.arange(len(frame)) * 3
    net = fits_alike(X, NAMES[y], frame, as_labels(NAMES[y]), quick)
    assert net.feature_names_in_.tolist() == frame.columns.tolist()
    weights = pd.Series(1.0, index=frame.index)
    net.fit(frame, NAMES[y], sample_weight=weights)
    assert net.score(frame, as_labels(NAMES[y])) > 0.15


def test_pandas_nullable_columns(X, y, quick):
    fits_alike(X, y, pd.DataFrame(X).astype("Int64"), y, quick)
    with pytest.raises(ValueError, match="NaN"):
        LeNet5Classifier(**quick).fit(
            pd.DataFrame(X).astype("Int64").replace(0, pd.NA), y
        )


# scikit-learn's own messages


ROWS = np.arange(20 * 784).reshape(20, 784) % 255.0
LABELS = np.arange(20) % 2


def replaced(value):
    rows = ROWS.copy().astype(object if isinstance(value, str) else type(value))
    rows[3, 5] = value
    return rows


UNUSABLE = {
    "one dimension": (ROWS[0], LABELS),
    "no dimension": (3.0, LABELS),
    "no rows": (ROWS[:0], LABELS[:0]),
    "no columns": (ROWS[:, :0], LABELS),
    "five dimensions": (ROWS.reshape(20, 1, 1, 28, 28), LABELS),
    "NaN": (replaced(np.nan), LABELS),
    "infinity": (replaced(np.inf), LABELS),
    "NaN in a frame": (pd.DataFrame(replaced(np.nan)), LABELS),
    "complex": (replaced(1j), LABELS),
    "strings": (ROWS.astype(str), LABELS),
    "a string among objects": (replaced("boot"), LABELS),
    "a ragged list": ([[1.0, 2.0], [3.0]], [0, 1]),
    "sparse": (scipy.sparse.csr_array(ROWS), LABELS),
    "None": (None, LABELS),
    "mismatched lengths": (ROWS[:19], LABELS),
    "no labels": (ROWS, None),
    "continuous labels": (ROWS, np.linspace(0, 1, 20)),
    "NaN labels": (ROWS, np.where(LABELS, np.nan, 1.0)),
    "infinite labels": (ROWS, np.where(LABELS, np.inf, 1.0)),
    "labels in a matrix": (ROWS, np.c_[LABELS, LABELS, LABELS]),
    "labels of two kinds": (ROWS, np.array(["a", 1] * 10, dtype=object)),
}


def error_of(function, *args):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises((ValueError, TypeError)) as caught:
            function(*args)
    return type(caught.value), str(caught.value)


# Where MLPClassifier takes more (several labels a row, sparse rows, numbers in strings)
# or words it in a way of its own, this is what scikit-learn says elsewhere.
OTHERS_SAY = {
    "strings": "dtype='numeric' is not compatible with arrays of bytes/strings",
    "None": "Expected 2D array, got scalar array instead",
    "continuous labels": "Unknown label type: continuous",
    "five dimensions": r"Found array with dim 5",
    "labels in a matrix": r"y should be a 1d array, got an array of shape \(20, 3\)",
    "sparse": "Sparse data was passed for X, but dense data is required",
}


@pytest.mark.parametrize("case", UNUSABLE)
def test_messages_of_fit(quick, case):
    X, y = UNUSABLE[case]
    kind, message = error_of(LeNet5Classifier(**quick).fit, X, y)
    if case in OTHERS_SAY:
        assert re.search(OTHERS_SAY[case], message)
        return
    reference = MLPClassifier(early_stopping=True, max_iter=1)
    other_kind, other_message = error_of(reference.fit, X, y)
    assert kind is other_kind
    assert message == other_message.replace("MLPClassifier", "LeNet5Classifier")


@pytest.mark.parametrize(
    "X",
    [
        ROWS[0],
        ROWS[:, :783],
        ROWS[:0],
        replaced(np.nan),
        replaced(1j),
        ROWS.astype(str),
        pd.DataFrame(ROWS).drop(columns=[3]),
    ],
    ids=["1-D", "columns", "no rows", "NaN", "complex", "strings", "frame"],
)
def test_messages_of_predict(quick, lenet5, X):
    reference = MLPClassifier((2,), max_iter=1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        reference.fit(ROWS, LABELS)
    for method in ("predict", "predict_proba", "predict_log_proba"):
        kind, message = error_of(getattr(lenet5, method), X)
        other_kind, other_message = error_of(getattr(reference, method), X)
        assert kind is other_kind
        assert message == other_message.replace("MLPClassifier", "LeNet5Classifier")


def test_a_column_of_labels_is_taken_with_a_warning(X, y, quick, lenet5):
    net = LeNet5Classifier(**quick)
    with pytest.warns(DataConversionWarning, match="A column-vector y was passed"):
        net.fit(X, y[:, None])
    assert np.array_equal(net.predict_proba(X), lenet5.predict_proba(X))


def test_too_few_rows(quick):
    with pytest.raises(ValueError, match=r"n_samples=1 is too few"):
        LeNet5Classifier(**quick).fit(ROWS[:1], [1])
    with pytest.raises(ValueError, match=r"0 sample\(s\)"):
        LeNet5Classifier(**quick).partial_fit(ROWS[:0], [], classes=[0, 1])
    net = LeNet5Classifier(**quick | {"validation_fraction": 0}).fit(ROWS[:1], [1])
    assert net.predict(ROWS[:2]).tolist() == [1, 1]


# Ctrl-C in another process


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


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
def test_ctrl_c_ends_a_grid_search_in_processes(tmp_path):
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


def test_ctrl_c_ends_a_grid_search_in_sequence(X, y, quick, tmp_path):
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
