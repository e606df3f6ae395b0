"""The two public classes as their users meet them, on the bundled sample."""

import copy

import joblib
import numpy as np
import pytest
from sklearn.base import clone
from sklearn.metrics import classification_report
from sklearn.model_selection import GridSearchCV, cross_validate
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, MinMaxScaler

from fmnist_sklearn import CLASS_NAMES, LeNet5Classifier
from fmnist_sklearn.benchmark import benchmark_scoring, benchmark_table

from . import NAMES

# Parameter counts (the published tables)


def test_numbers_of_parameters(lenet5, mini_vgg, quick):
    wide = LeNet5Classifier(**quick, module__hidden_units=(128, 64)).initialize()
    assert lenet5.n_parameters_ == 61_750
    assert mini_vgg.n_parameters_ == 2_167_786
    assert wide.n_parameters_ == 62_850


# The main ways of use


def test_classification_report(X, y, X_test, y_test):
    net = LeNet5Classifier(lr=0.01, max_epochs=15, random_state=0).fit(X, y)
    report = classification_report(
        y_test, net.predict(X_test), target_names=CLASS_NAMES, output_dict=True
    )
    assert set(CLASS_NAMES) < set(report)
    assert report["accuracy"] == pytest.approx(net.score(X_test, y_test))
    assert report["accuracy"] > 0.55  # 240 images; chance is 0.1


def test_rows_images_and_4_d_input_are_the_same(X, y, quick, kind):
    settings = quick | {"max_epochs": 1}
    n = 60
    layouts = [X[:n], X[:n].reshape(n, 28, 28), X[:n].reshape(n, 1, 28, 28)]
    nets = [kind(**settings).fit(layout, y[:n]) for layout in layouts]

    expected = nets[0].predict_proba(X[n:])
    for net in nets:
        assert net.image_shape_ == (1, 28, 28)
        assert net.n_features_in_ == 784
        for layout in (
            X[n:],
            X[n:].reshape(-1, 28, 28),
            X[n:].reshape(-1, 1, 28, 28),
        ):
            assert np.array_equal(net.predict_proba(layout), expected)


def test_pipeline(X, y, quick):
    pipeline = make_pipeline(
        FunctionTransformer(lambda X: X / 255), LeNet5Classifier(**quick)
    )
    pipeline.fit(X, NAMES[y])
    assert pipeline.score(X, NAMES[y]) > 0.15
    pipeline.set_params(lenet5classifier__lr=0.02)
    assert pipeline[-1].lr == 0.02
    assert make_pipeline(MinMaxScaler(), clone(pipeline[-1])).fit(X, y).predict(
        X
    ).shape == (240,)


def test_grid_search(X, y, quick):
    grid = {"lr": [0.01, 0.001], "batch_size": [16, 64]}
    search = GridSearchCV(LeNet5Classifier(**quick), grid, cv=2, error_score="raise")
    search.fit(X, NAMES[y])

    assert set(search.best_params_) == {"lr", "batch_size"}
    assert len(search.cv_results_["mean_test_score"]) == 4
    assert search.best_estimator_.lr == search.best_params_["lr"]
    assert set(search.predict(X)) <= set(CLASS_NAMES)
    table = benchmark_table(search)
    assert len(table) == 4
    assert {"accuracy", "training_time_s", "lr", "batch_size"} <= set(table.columns)


def test_grid_search_over_double_underscore_names(X, y, quick):
    grid = {"module__hidden_units": [(20,), (30, 10)], "augment": [{"shift": 1}]}
    search = GridSearchCV(LeNet5Classifier(**quick), grid, cv=2, error_score="raise")
    search.fit(X[:120], y[:120])
    head = search.best_estimator_.module_.head
    assert head.f5.out_features == search.best_params_["module__hidden_units"][0]


def test_cross_validate_into_benchmark_table(X, y, quick):
    net = LeNet5Classifier(**quick)
    results = cross_validate(net, X, y, cv=2, scoring=benchmark_scoring())
    table = benchmark_table({"LeNet5": results})

    assert table["epochs"].tolist() == [2]
    assert table["n_parameters"].tolist() == [61_750]
    assert 0 <= table["accuracy"][0] <= 1
    assert table["training_time_s"][0] > 0


def test_joblib_round_trip(lenet5, mini_vgg, X, kind, tmp_path, same_predictions):
    net = lenet5 if kind is LeNet5Classifier else mini_vgg
    joblib.dump(net, tmp_path / "net.joblib")
    loaded = joblib.load(tmp_path / "net.joblib")
    assert same_predictions(net, loaded, X)


def test_seeds(X, y, quick, kind, same_predictions):
    X, y = X[:80], y[:80]
    settings = quick | {"max_epochs": 1}
    first, again = kind(**settings).fit(X, y), kind(**settings).fit(X, y)
    other = kind(**settings | {"random_state": 1}).fit(X, y)

    assert same_predictions(first, again, X)
    assert not same_predictions(first, other, X)
    assert same_predictions(first, clone(first).fit(X, y), X)
    assert same_predictions(first, copy.deepcopy(first).fit(X, y), X)
