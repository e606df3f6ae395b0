"""Models inside Pipelines and searches, warnings at the user's line, diagrams."""

import warnings

import numpy as np
import pytest
from sklearn.dummy import DummyClassifier as Dummy
from sklearn.ensemble import AdaBoostClassifier, BaggingClassifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.feature_selection import SelectFromModel
from sklearn.model_selection import (
    FixedThresholdClassifier,
    GridSearchCV,
    cross_validate,
)
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.semi_supervised import SelfTrainingClassifier
from sklearn.tree import DecisionTreeClassifier
from sklearn.utils import estimator_html_repr

from fmnist_sklearn import LeNet5Classifier
from fmnist_sklearn._sklearn import fitted_model, last_step

X = np.arange(24.0).reshape(12, 2)
y = np.arange(12) % 2


def test_last_step_of_pipelines_in_pipelines():
    dummy = Dummy()
    assert last_step(dummy) is dummy
    assert last_step(make_pipeline("passthrough", make_pipeline(dummy))) is dummy
    # A candidate of a search may replace a step.
    inner = Pipeline([("clf", Dummy())])
    pipeline = Pipeline([("scale", "passthrough"), ("model", inner)])
    tree = DecisionTreeClassifier()
    assert last_step(pipeline, {"model": tree}) is tree
    assert last_step(pipeline, {"model__clf": tree}) is tree
    assert last_step(pipeline, {"clf": tree}) is inner.steps[0][1]


@pytest.mark.parametrize(
    "estimator",
    [
        Dummy(),
        make_pipeline("passthrough", Dummy()),
        GridSearchCV(make_pipeline(Dummy()), {}, cv=2),
        make_pipeline(GridSearchCV(Dummy(), {}, cv=2)),
        FixedThresholdClassifier(make_pipeline(Dummy())),
        SelfTrainingClassifier(GridSearchCV(Dummy(), {}, cv=2)),
    ],
)
@pytest.mark.filterwarnings("ignore:y contains no unlabeled samples")
def test_fitted_model_in_any_wrapper(estimator):
    model = fitted_model(estimator.fit(X, y))
    assert type(model) is Dummy
    assert model.n_classes_ == 2


def test_fitted_model_of_ensembles_and_selectors():
    """An ensemble is itself; a selector is the estimator that it fitted."""
    for ensemble in (AdaBoostClassifier, BaggingClassifier):
        fitted = ensemble(DecisionTreeClassifier(), n_estimators=2).fit(X, y)
        assert fitted_model(fitted) is fitted
    selector = SelectFromModel(DecisionTreeClassifier()).fit(X, y)
    assert fitted_model(selector) is selector.estimator_


def test_warning_is_at_the_line_of_the_user(X, y):
    X, y = X[:120], y[:120]
    cut_short = LeNet5Classifier(
        lr=0.01, batch_size=32, max_epochs=2, patience=2, random_state=0
    )
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        cut_short.fit(X, y)
        cross_validate(cut_short, X, y, cv=2)
        GridSearchCV(cut_short, {"lr": [0.01]}, cv=2).fit(X, y)
    assert len(caught) == 6
    assert all(each.category is ConvergenceWarning for each in caught)
    assert all(each.filename == __file__ for each in caught)
    assert "still falling after 2 epochs" in str(caught[0].message)


def test_diagram_in_a_notebook(lenet5):
    assert "Not fitted" in estimator_html_repr(LeNet5Classifier())
    assert "LeNet5Classifier" in estimator_html_repr(lenet5)
