import numpy as np
import pytest
from sklearn.base import BaseEstimator

from fmnist_sklearn import LeNet5Classifier
from fmnist_sklearn.benchmark.fits import (
    Folds,
    Holdout,
    Trial,
    choose_validation,
    mean_history,
    table_row,
)
from fmnist_sklearn.models import MODELS


@pytest.fixture
def trial(quick):
    estimator = LeNet5Classifier(**quick)
    return Trial("LeNet5 (lr=0.01)", MODELS["LeNet5"], 0.01, 32, estimator)


def test_holdout_or_folds():
    assert isinstance(choose_validation("holdout", 3), Holdout)
    folds = choose_validation(4, 3)
    assert (folds.n_fits, folds.seed, folds.in_words) == (4, 3, "4 folds")
    assert choose_validation(np.int64(4), 3) == folds


def test_a_row_of_holdout_has_the_standard_error(trial, make_fit, few_images):
    row = table_row(trial, [make_fit(0.8, 0.9)], few_images, Holdout())
    assert row == {
        "model": "LeNet5 (lr=0.01)",
        "validation_accuracy": 0.8,
        "validation_accuracy_se": pytest.approx((0.8 * 0.2 / 120) ** 0.5),
        "test_accuracy": 0.9,
        "test_accuracy_se": pytest.approx((0.9 * 0.1 / 200) ** 0.5),
        "training_time_s": 2.0,
        "epochs": 2,
        "best_epoch": 2,
        "n_parameters": 61750,
        "lr": 0.01,
        "batch_size": 32,
    }


def test_a_row_of_folds_has_means_and_deviations(trial, make_fit, few_images):
    fits = [make_fit(0.7, 0.5), make_fit(0.9, 0.6, training_time_s=4.0, epochs=5)]
    row = table_row(trial, fits, few_images, Folds(2, seed=0))
    assert row == {
        "model": "LeNet5 (lr=0.01)",
        "validation_accuracy": pytest.approx(0.8),
        "validation_accuracy_std": pytest.approx(0.1),
        "test_accuracy": pytest.approx(0.55),
        "test_accuracy_std": pytest.approx(0.05),
        "training_time_s": 3.0,
        "training_time_std": 1.0,
        "epochs": 3.5,
        "best_epoch": 2.0,
        "n_parameters": 61750,
        "lr": 0.01,
        "batch_size": 32,
    }


def test_holdout_fits_when_asked(trial, few_images):
    unasked = BaseEstimator()  # which has no fit
    trained = Holdout().train([trial.estimator, unasked], few_images, n_jobs=None)
    (fit,) = next(trained)
    assert fit.epochs == len(fit.history) == 2
    with pytest.raises(AttributeError, match="fit"):
        next(trained)


def test_a_fit_tells_the_accuracy_of_the_epoch_that_it_kept(quick, few_images):
    rough = {"max_epochs": 6, "lr": 0.05, "ema_decay": None}
    worsening = LeNet5Classifier(**quick | rough)
    [(fit,)] = Holdout().train([worsening], few_images, n_jobs=None)
    accuracies = [row["valid_acc"] for row in fit.history]
    assert fit.best_epoch < fit.epochs
    assert fit.validation_accuracy == accuracies[fit.best_epoch - 1] != accuracies[-1]


def test_folds_leave_the_estimator_as_it_was_and_depend_on_the_seed(trial, few_images):
    def accuracies(seed):
        trained = Folds(2, seed).train([trial.estimator], few_images, n_jobs=None)
        return [fit.validation_accuracy for fit in next(trained)]

    assert accuracies(0) == accuracies(0) != accuracies(1)
    assert not hasattr(trial.estimator, "classes_")


def test_curves_of_folds_are_averaged_as_far_as_all_trained(make_fit):
    long, short = make_fit(0.5), make_fit(0.7)
    short.history.pop()
    (epoch,) = mean_history([long, short])
    assert epoch["epoch"] == 1
    assert epoch["valid_acc"] == pytest.approx(0.6)
