import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.figure import Figure
from scipy.stats import loguniform
from sklearn.datasets import load_iris
from sklearn.exceptions import NotFittedError
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import (
    GridSearchCV,
    HalvingGridSearchCV,
    RandomizedSearchCV,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC
from sklearn.tree import DecisionTreeClassifier

from fmnist_sklearn import SearchHeatmapDisplay, benchmark_scoring

IRIS = load_iris(return_X_y=True)


@pytest.fixture(autouse=True)
def _agg():
    mpl.use("agg")


@pytest.fixture
def ax():
    return Figure().subplots()


def grid(params, estimator=None, **kwargs):
    return GridSearchCV(estimator or SVC(), params, cv=2, **kwargs).fit(*IRIS)


def ticks(axis):
    return [label.get_text() for label in axis.get_ticklabels()]


def test_a_cell_for_each_pair(ax):
    search = grid({"C": [10, 0.1, 1], "gamma": [0.01, 1]})
    display = SearchHeatmapDisplay.from_search(search, ax=ax)
    assert display.ax_ is ax
    assert display.figure_ is ax.figure
    assert (display.x, display.y) == ("gamma", "C")
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("gamma", "C")
    # By size, each in a place of its own, whatever lies between them.
    assert ticks(ax.xaxis) == ["0.01", "1"]
    assert ticks(ax.yaxis) == ["0.1", "1", "10"]
    for i, params in enumerate(search.cv_results_["params"]):
        place = (
            display.y_values.index(params["C"]),
            display.x_values.index(params["gamma"]),
        )
        score = search.cv_results_["mean_test_score"][i]
        assert display.scores[place] == score
        text = display.text_[place]
        assert text.get_text() == f"{score:.4f}"
        assert text.get_position() == place[::-1]


def test_the_axes_can_be_chosen(ax):
    search = grid({"C": [1, 10], "gamma": [0.01, 0.1, 1]})
    both = SearchHeatmapDisplay.from_search(search, x="C", y="gamma", ax=ax)
    one = SearchHeatmapDisplay.from_search(search, x="C", ax=ax)
    other = SearchHeatmapDisplay.from_search(search, y="gamma", ax=ax)
    for display in (both, one, other):
        assert display.scores.shape == (3, 2)
        assert np.array_equal(display.scores, both.scores)


def test_means_over_the_other_parameters(ax):
    search = grid({"C": [1, 10], "gamma": [0.1, 1], "kernel": ["rbf", "poly"]})
    with pytest.raises(ValueError, match=r"x and y must name two of .*'kernel'"):
        SearchHeatmapDisplay.from_search(search, ax=ax)
    display = SearchHeatmapDisplay.from_search(search, x="kernel", y="C", ax=ax)
    assert display.x_values == ["rbf", "poly"]
    expected = search.cv_results_["mean_test_score"].reshape(2, 2, 2).mean(axis=1)
    np.testing.assert_allclose(display.scores, expected)


@pytest.mark.parametrize(
    ("x", "y"),
    [("C", "C"), ("lr", "C"), ("kernel", "C"), (None, "lr"), ("C", "lr"), ("lr", None)],
)
def test_axes_that_are_no_two_parameters_that_vary(ax, x, y):
    search = grid({"C": [1, 10], "gamma": [0.1, 1], "kernel": ["rbf"]})
    with pytest.raises(ValueError, match="must name one of the parameters that vary"):
        SearchHeatmapDisplay.from_search(search, x=x, y=y, ax=ax)


def test_one_parameter_is_too_few(ax):
    with pytest.raises(ValueError, match="x and y must name two"):
        SearchHeatmapDisplay.from_search(grid({"C": [1, 10]}), ax=ax)


def test_names_in_a_pipeline(ax):
    pipeline = make_pipeline(StandardScaler(), SVC())
    search = grid({"svc__C": [1, 10], "svc__gamma": [0.1, 1]}, pipeline)
    display = SearchHeatmapDisplay.from_search(
        search.cv_results_, x="C", y="svc__gamma", ax=ax
    )
    assert (display.x, display.y) == ("C", "gamma")


def test_benchmark_scores_give_the_accuracy(ax):
    search = grid(
        {"C": [0.1, 1], "fit_intercept": [True, False]},
        LogisticRegression(max_iter=1000),
        scoring=benchmark_scoring(),
        refit="accuracy",
    )
    display = SearchHeatmapDisplay.from_search(search, ax=ax)
    assert display.score_name == "accuracy"
    assert ticks(ax.xaxis) == ["True", "False"]
    accuracies = search.cv_results_["mean_test_accuracy"]
    assert np.array_equal(display.scores.ravel(), accuracies)
    with pytest.raises(ValueError, match=r"must have a single score.*mean_test_recall"):
        SearchHeatmapDisplay.from_search(
            {"params": search.cv_results_["params"], "mean_test_recall": accuracies}
        )


def test_pairs_that_were_not_tried_stay_empty(ax):
    search = RandomizedSearchCV(
        SVC(), {"C": loguniform(0.1, 10), "gamma": [0.1, 1]}, n_iter=4, random_state=0
    ).fit(*IRIS)
    display = SearchHeatmapDisplay.from_search(search, y="C", ax=ax)
    assert display.scores.shape == (4, 2)
    empty = np.isnan(display.scores)
    assert empty.sum() == 4
    assert all(text is None for text in display.text_[empty])
    assert list(display.y_values) == sorted(display.y_values)


@pytest.mark.parametrize("resource", ["n_samples", "max_leaf_nodes"])
def test_of_a_halving_search_the_last_trials_count(ax, resource):
    limits = {} if resource == "n_samples" else {"max_resources": 18}
    search = HalvingGridSearchCV(
        DecisionTreeClassifier(random_state=0),
        {"max_depth": [1, 2, 3], "criterion": ["gini", "entropy"]},
        resource=resource,
        random_state=0,
        min_resources=60 if resource == "n_samples" else 2,
        factor=2,
        cv=2,
        **limits,
    ).fit(*IRIS)
    results = search.cv_results_
    assert results["iter"].max() > 0
    display = SearchHeatmapDisplay.from_search(search, ax=ax)
    assert display.scores.shape == (2, 3)
    best = search.best_params_
    place = (
        display.y_values.index(best["criterion"]),
        display.x_values.index(best["max_depth"]),
    )
    assert display.scores[place] == search.best_score_


def test_how_it_looks(ax):
    search = grid({"C": [1, 10], "gamma": [0.1, 1]})
    display = SearchHeatmapDisplay.from_search(
        search, ax=ax, annotate=False, cmap="magma", colorbar=False, im_kw={"vmin": 0}
    )
    assert all(text is None for text in display.text_.ravel())
    assert display.im_.get_cmap().name == "magma"
    assert display.im_.norm.vmin == 0
    assert display.figure_.axes == [ax]
    again = display.plot(Figure().subplots())
    assert again is display
    assert len(display.figure_.axes) == 2
    assert {text.get_color() for text in display.text_.ravel()} <= {"white", "black"}


def test_a_search_that_is_not_fitted():
    with pytest.raises(NotFittedError):
        SearchHeatmapDisplay.from_search(GridSearchCV(SVC(), {"C": [1, 2]}))
