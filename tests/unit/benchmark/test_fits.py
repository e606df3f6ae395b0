import numpy as np
import pytest
from sklearn.base import BaseEstimator

from fmnist_sklearn import LeNet5Classifier
from fmnist_sklearn.benchmark.run import (
    Trial,
    evaluate,
    mean_epochs,
    table_row,
    train_trials,
)


def make_trial(estimator):
    return Trial("LeNet5 (lr=0.01)", estimator)


@pytest.fixture
def trial(quick):
    return make_trial(LeNet5Classifier(**quick))


def test_table_row_of_one_fit_and_of_folds(trial, make_fit, few_images):
    same = {"model": "LeNet5 (lr=0.01)", "n_parameters": 61750}
    same |= {"lr": 0.01, "batch_size": 32}
    assert table_row(trial, [make_fit(0.8, 0.9)], few_images) == {
        **same,
        "validation_accuracy": 0.8,
        "validation_accuracy_se": pytest.approx((0.8 * 0.2 / 120) ** 0.5),
        "test_accuracy": 0.9,
        "test_accuracy_se": pytest.approx((0.9 * 0.1 / 200) ** 0.5),
        "training_time_s": 2.0,
        "epochs": 2,
        "best_epoch": 2,
    }
    fits = [make_fit(0.7, 0.5), make_fit(0.9, 0.6, training_time_s=4.0, epochs=5)]
    assert table_row(trial, fits, few_images) == {
        **same,
        "validation_accuracy": pytest.approx(0.8),
        "validation_accuracy_std": pytest.approx(0.1),
        "test_accuracy": pytest.approx(0.55),
        "test_accuracy_std": pytest.approx(0.05),
        "training_time_s": 3.0,
        "training_time_std": 1.0,
        "epochs": 3.5,
        "best_epoch": 2.0,
    }


def test_train_trials_fits_when_the_next_is_requested(trial, few_images):
    trials = [trial, make_trial(BaseEstimator())]  # which has no fit
    trained = train_trials(trials, few_images, "holdout", 0, n_jobs=None)
    (fit,) = next(trained)
    assert fit["epochs"] == len(fit["history"]) == 2
    (failed,) = next(trained)
    assert failed == {"error": "AttributeError: " + failed["error"][16:]}
    assert "no attribute 'fit'" in failed["error"]


def test_train_trials_reports_the_accuracy_of_the_epoch_kept(quick, few_images):
    rough = {"max_epochs": 6, "lr": 0.05, "dropout": 0.5, "ema_decay": None}
    rough |= {"lr_schedule": None, "augment": None}
    worsening = make_trial(LeNet5Classifier(**quick | rough))
    [(fit,)] = train_trials([worsening], few_images, "holdout", 0, n_jobs=None)
    accuracies = [row["valid_acc"] for row in fit["history"]]
    assert fit["best_epoch"] < fit["epochs"]
    kept = accuracies[fit["best_epoch"] - 1]
    assert fit["validation_accuracy"] == kept != accuracies[-1]


def test_evaluate(lenet5, X_test, y_test):
    result = evaluate(lenet5, X_test, y_test)
    assert result["accuracy"] == lenet5.score(X_test, y_test)
    assert np.trace(result["confusion"]) == (lenet5.predict(X_test) == y_test).sum()
    losses = [mistake["loss"] for mistake in result["mistakes"]]
    assert losses == sorted(losses, reverse=True)
    worst = result["mistakes"][0]
    row = lenet5.predict_proba(X_test[[worst["index"]]])[0]
    assert worst["true"] == y_test[worst["index"]]
    assert worst["true"] != worst["predicted"] == row.argmax()
    assert worst["confidence"] == pytest.approx(row.max())
    assert worst["loss"] == pytest.approx(-np.log(row[worst["true"]]))
    # A label that was never trained on is a mistake.
    result = evaluate(lenet5, X_test[:3], [11, 11, 11])
    assert result["accuracy"] == 0
    assert result["labels"] == [*range(10), 11]
    assert len(result["mistakes"]) == 3


def test_mean_epochs_ends_with_the_shortest_history(make_fit):
    long, short = make_fit(0.5)["history"], make_fit(0.7)["history"][:1]
    (epoch,) = mean_epochs([long, short])
    assert epoch["epoch"] == 1
    assert epoch["valid_acc"] == pytest.approx(0.6)
