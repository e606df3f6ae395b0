import math
import pickle
import warnings
from types import SimpleNamespace

import numpy as np
import pytest
from sklearn import config_context
from sklearn.cluster import KMeans
from sklearn.datasets import load_iris
from sklearn.dummy import DummyClassifier
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import (
    LogisticRegression,
    LogisticRegressionCV,
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
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.semi_supervised import SelfTrainingClassifier
from sklearn.svm import SVC

from fmnist_sklearn import LeNet5Classifier
from fmnist_sklearn.benchmark.tables import (
    benchmark_scoring,
    describe_scoring,
    search_scores_accuracy,
)

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


def test_benchmark_scoring_in_other_processes(two_processes):
    for scorer in pickle.loads(pickle.dumps(benchmark_scoring())).values():
        assert scorer(Net().fit(X, y), X, y) > 0
    search = GridSearchCV(
        LogisticRegression(max_iter=1000),
        {"C": [1, 2]},
        scoring=benchmark_scoring(),
        refit="accuracy",
        cv=3,
        n_jobs=2,
    )
    # scikit-learn warns of the training time, which this estimator does not record.
    with pytest.warns(UserWarning, match="non-finite"):
        search.fit(X, y)
    assert search.cv_results_["mean_test_n_parameters"].tolist() == [15, 15]


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


class OwnScore(Net):
    """Scores by a measure of its own."""

    def score(self, X, y):
        return 0.5


def searched(estimator, scoring=None, grid=None):
    grid = grid or {}
    return GridSearchCV(
        estimator, grid, scoring=scoring, cv=2, refit=False, error_score="raise"
    ).fit(X, y)


def share_right(estimator, X, y):
    return (estimator.predict(X) == y).mean()


@pytest.mark.parametrize(
    ("estimator", "expected"),
    [
        (Net(), True),
        (LeNet5Classifier(), True),
        (KNeighborsClassifier(), True),  # its own `score` calls the mixin's
        (HistGradientBoostingClassifier(), True),  # its `scoring` is for something else
        (LogisticRegressionCV(scoring="accuracy"), True),
        (make_pipeline(StandardScaler(), Net()), True),
        (
            make_pipeline(
                "passthrough", make_pipeline("passthrough", DummyClassifier())
            ),
            True,
        ),
        (GridSearchCV(make_pipeline(Net()), {}), True),
        (SelfTrainingClassifier(DummyClassifier()), True),
        (Ridge(), False),
        (OwnScore(), False),
        (make_pipeline(StandardScaler(), OwnScore()), False),
        (make_pipeline("passthrough", Ridge()), False),
        (LogisticRegressionCV(scoring="neg_log_loss"), False),
        (GridSearchCV(Net(), {}, scoring="f1_macro"), False),
        (GridSearchCV(make_pipeline(OwnScore()), {}), False),
        (SelfTrainingClassifier(OwnScore()), False),
        (KMeans(2), False),
    ],
)
def test_search_scores_accuracy_by_default(estimator, expected):
    # What is read of a search with the default scoring, without the fits.
    search = SimpleNamespace(
        estimator=estimator,
        scoring=None,
        scorer_=check_scoring(estimator),
        cv_results_={"params": [{}]},
    )
    assert search_scores_accuracy(search, "score") is expected
    assert describe_scoring(search, "score").endswith(".score")


def test_search_scores_accuracy_if_every_candidate_does():
    pipeline = Pipeline([("net", Net())])
    same = searched(pipeline, grid={"net": [Net(1), DummyClassifier()]})
    mixed = searched(pipeline, grid={"net": [Net(), OwnScore()]})
    assert search_scores_accuracy(same, "score")
    assert not search_scores_accuracy(mixed, "score")


@pytest.mark.parametrize(
    ("scoring", "name", "expected"),
    [
        ("accuracy", "score", True),
        (get_scorer("accuracy"), "score", True),
        (make_scorer(accuracy_score), "score", True),
        ({"score": "accuracy", "f1": "f1_macro"}, "score", True),
        ("balanced_accuracy", "score", False),
        ("f1_macro", "score", False),
        (get_scorer("balanced_accuracy"), "score", False),
        (make_scorer(f1_score, average="macro"), "score", False),
        (make_scorer(accuracy_score, normalize=False), "score", False),
        (make_scorer(accuracy_score, greater_is_better=False), "score", False),
        (share_right, "score", False),  # of an unknown meaning
        (lambda estimator, X, y: {"score": 0.5}, "score", False),
        (
            {"score": "f1_macro", "time": benchmark_scoring()["training_time_s"]},
            "score",
            False,
        ),
        # The name is trusted, unless the scorer is known to be another.
        (["accuracy", "f1_macro"], "accuracy", True),
        ({"accuracy": "accuracy"}, "accuracy", True),
        ({"accuracy": share_right}, "accuracy", True),
        (lambda estimator, X, y: {"accuracy": 0.5}, "accuracy", True),
        ({"accuracy": "balanced_accuracy"}, "accuracy", False),
        ({"accuracy": make_scorer(f1_score, average="micro")}, "accuracy", False),
    ],
)
def test_search_scores_accuracy_by_its_scorer(scoring, name, expected):
    assert search_scores_accuracy(searched(Net(), scoring), name) is expected


def test_search_scores_accuracy_with_a_request_for_weights():
    with config_context(enable_metadata_routing=True):
        scorer = get_scorer("accuracy").set_score_request(sample_weight=True)
        search = searched(Net().set_fit_request(sample_weight=True), scorer)
        assert search_scores_accuracy(search, "score")


def test_describe_scoring():
    assert describe_scoring(searched(Net(), "f1_macro"), "score") == "f1_macro"
    scorer = make_scorer(f1_score, average="macro")
    assert "make_scorer(f1_score" in describe_scoring(searched(Net(), scorer), "score")
    assert describe_scoring(searched(OwnScore()), "score") == "OwnScore.score"
