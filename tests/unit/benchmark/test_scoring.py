import math
import pickle
import warnings

import numpy as np
import pytest
from sklearn import config_context
from sklearn.cluster import KMeans
from sklearn.datasets import load_iris
from sklearn.dummy import DummyClassifier
from sklearn.linear_model import (
    LogisticRegression,
    Ridge,
    RidgeClassifier,
)
from sklearn.metrics import (
    accuracy_score,
    check_scoring,
    f1_score,
    get_scorer,
    make_scorer,
)
from sklearn.model_selection import GridSearchCV, cross_validate
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from fmnist_sklearn import LeNet5Classifier
from fmnist_sklearn.benchmark import benchmark_scoring, benchmark_table

from ..toys import Net

X, y = load_iris(return_X_y=True)
WEIGHT = np.where(y == 0, 8.0, 1.0)


def score(name, estimator):
    return benchmark_scoring()[name](estimator, X, y)


def test_benchmark_scoring_reads_the_fit():
    net = Net(width=2).fit(X, y)
    assert score("training_time_s", net) == 200
    assert score("epochs", net) == 7
    assert score("n_parameters", net) == 20
    assert score("accuracy", net) == pytest.approx(1 / 3)
    for n_iter, expected in [([3, 5, 4], 5), (None, math.nan), ([], math.nan)]:
        net.n_iter_ = None if n_iter is None else np.array(n_iter)
        assert score("epochs", net) == pytest.approx(expected, nan_ok=True)


@pytest.mark.parametrize(
    ("estimator", "epochs", "n_parameters"),
    [
        (LogisticRegression(max_iter=1), 1, 15),
        (RidgeClassifier(fit_intercept=False), math.nan, 12),
        (MLPClassifier((5,), max_iter=3), 3, 4 * 5 + 5 + 5 * 3 + 3),
        (SVC(kernel="linear"), None, 15),  # n_iter_ depends on the version
        (SVC(), None, math.nan),
        (DummyClassifier(), math.nan, math.nan),
    ],
)
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_benchmark_scoring_of_any_estimator(estimator, epochs, n_parameters):
    estimator.fit(X, y)
    found = score("n_parameters", estimator)
    assert found == pytest.approx(n_parameters, nan_ok=True)
    if epochs is not None:
        assert score("epochs", estimator) == pytest.approx(epochs, nan_ok=True)
    assert math.isnan(score("training_time_s", estimator))


def test_benchmark_scoring_inside_pipelines_and_searches():
    search = GridSearchCV(make_pipeline(StandardScaler(), Net()), {"net__width": [3]})
    pipeline = make_pipeline("passthrough", search).fit(X, y)
    assert score("n_parameters", pipeline) == 30
    assert score("epochs", pipeline) == 7
    # The time of the search is not that of its best estimator.
    assert math.isnan(score("training_time_s", pipeline))
    assert score("training_time_s", search.best_estimator_) == 300


def test_benchmark_scoring_does_not_warn_of_unknown_values_or_weights():
    search = GridSearchCV(
        Net(), {"width": [1]}, scoring=benchmark_scoring(), refit="accuracy", cv=3
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        result = cross_validate(DummyClassifier(), X, y, scoring=benchmark_scoring())
        search.fit(X, y, sample_weight=WEIGHT)
    assert np.isnan(result["test_epochs"]).all()
    assert search.cv_results_["mean_test_epochs"].tolist() == [7]


def test_benchmark_scoring_is_pickled_for_other_processes():
    for scorer in pickle.loads(pickle.dumps(benchmark_scoring())).values():
        assert scorer(Net().fit(X, y), X, y) > 0


def test_benchmark_scoring_under_metadata_routing():
    with config_context(enable_metadata_routing=True):
        scoring = benchmark_scoring()
        scoring["accuracy"].set_score_request(sample_weight=True)
        net = Net().set_fit_request(sample_weight=True)
        result = cross_validate(
            net, X, y, scoring=scoring, cv=3, params={"sample_weight": WEIGHT}
        )
        # The request above was one caller's.
        request = benchmark_scoring()["accuracy"].get_metadata_routing()
        assert request.score.requests.get("sample_weight") is None
    assert result["test_accuracy"] == pytest.approx(0.8, abs=0.01)
    assert result["test_n_parameters"].tolist() == [10, 10, 10]


# Which scores are the accuracy


@pytest.mark.parametrize(
    ("estimator", "expected"),
    [
        (LeNet5Classifier(), True),
        (make_pipeline("passthrough", make_pipeline("passthrough", Net())), True),
        (GridSearchCV(make_pipeline(Net()), {}), True),
        (make_pipeline("passthrough", Ridge()), False),
        (KMeans(2), False),
    ],
)
def test_benchmark_table_of_a_search_by_the_default_score(estimator, expected):
    # What is read of a search with the default scoring, without the fits.
    search = GridSearchCV(estimator, {})
    search.scorer_ = check_scoring(estimator)
    search.cv_results_ = {"params": [{}], "mean_test_score": [0.5]}
    search.n_splits_ = 2
    if expected:
        assert benchmark_table(search)["accuracy"].tolist() == [0.5]
    else:
        with pytest.raises(ValueError, match=r"the search must hold .*\.score"):
            benchmark_table(search)


@pytest.mark.parametrize(
    ("scoring", "expected"),
    [
        (get_scorer("accuracy"), True),
        (make_scorer(accuracy_score), True),
        ({"score": "accuracy", "f1": "f1_macro"}, True),
        ("balanced_accuracy", False),
        (make_scorer(f1_score, average="macro"), False),
        (make_scorer(accuracy_score, normalize=False), False),
        (make_scorer(accuracy_score, greater_is_better=False), False),
        (lambda estimator, X, y: 0.5, False),  # of an unknown meaning
        ({"score": "f1_macro", "time": benchmark_scoring()["training_time_s"]}, False),
        ({"accuracy": "f1_macro", "time": "f1_micro"}, False),
        (["accuracy", "f1_macro"], True),
        # The name is trusted.
        (lambda estimator, X, y: {"accuracy": 0.5}, True),
    ],
)
def test_benchmark_table_of_a_search_by_a_scorer(scoring, expected):
    search = GridSearchCV(Net(), {}, scoring=scoring, cv=2, refit=False).fit(X, y)
    if expected:
        assert benchmark_table(search)["accuracy"].notna().all()
    else:
        match = "the search must .*(accuracy|f1_|lambda).*scoring='accuracy"
        with pytest.raises(ValueError, match=match):
            benchmark_table(search)
