import numpy as np
import pytest
from sklearn.dummy import DummyClassifier
from sklearn.ensemble import AdaBoostClassifier, BaggingClassifier
from sklearn.feature_selection import SelectFromModel
from sklearn.model_selection import (
    FixedThresholdClassifier,
    GridSearchCV,
    RandomizedSearchCV,
)
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.semi_supervised import SelfTrainingClassifier
from sklearn.tree import DecisionTreeClassifier

from fmnist_sklearn._unwrap import fitted_model, last_step, where_the_model_is

X = np.arange(24.0).reshape(12, 2)
y = np.arange(12) % 2


def test_last_step_of_pipelines_in_pipelines():
    dummy = DummyClassifier()
    assert last_step(dummy) is dummy
    assert last_step(make_pipeline("passthrough", make_pipeline(dummy))) is dummy


def test_last_step_that_a_candidate_puts_in():
    inner = Pipeline([("clf", DummyClassifier())])
    pipeline = Pipeline([("scale", "passthrough"), ("model", inner)])
    tree = DecisionTreeClassifier()
    assert last_step(pipeline, {"model": tree}) is tree
    assert last_step(pipeline, {"model__clf": tree}) is tree
    assert last_step(pipeline, {"clf": tree}) is inner.steps[0][1]
    assert last_step(pipeline, {"est__model__clf": tree}, "est__") is tree


@pytest.mark.parametrize(
    "estimator",
    [
        DummyClassifier(),
        make_pipeline("passthrough", DummyClassifier()),
        GridSearchCV(make_pipeline(DummyClassifier()), {}, cv=2),
        make_pipeline(GridSearchCV(DummyClassifier(), {}, cv=2)),
        FixedThresholdClassifier(make_pipeline(DummyClassifier())),
        SelfTrainingClassifier(GridSearchCV(DummyClassifier(), {}, cv=2)),
    ],
)
@pytest.mark.filterwarnings("ignore:y contains no unlabeled samples")
def test_fitted_model_in_any_wrapper(estimator):
    model = fitted_model(estimator.fit(X, y))
    assert type(model) is DummyClassifier
    assert model.n_classes_ == 2


@pytest.mark.parametrize("ensemble", [AdaBoostClassifier, BaggingClassifier])
def test_an_ensemble_is_itself_and_not_the_pattern_of_its_members(ensemble):
    fitted = ensemble(DecisionTreeClassifier(), n_estimators=2).fit(X, y)
    assert fitted_model(fitted) is fitted


def test_what_selects_features_is_what_it_asked():
    selector = SelectFromModel(DecisionTreeClassifier()).fit(X, y)
    assert fitted_model(selector) is selector.estimator_


@pytest.mark.parametrize(
    ("estimator", "where"),
    [
        (
            make_pipeline("passthrough", DummyClassifier()),
            "its last step, pipeline[-1]",
        ),
        (GridSearchCV(DummyClassifier(), {}, cv=2), "its attribute best_estimator_"),
        (
            GridSearchCV(make_pipeline(DummyClassifier()), {}, cv=2),
            "its attribute best_estimator_[-1]",
        ),
        (
            RandomizedSearchCV(DummyClassifier(), {}, n_iter=1, cv=2, refit=False),
            "its attribute best_estimator_, which a fit with refit=True sets",
        ),
        (FixedThresholdClassifier(DummyClassifier()), "the network that it wraps"),
        (DummyClassifier(), ""),
    ],
)
def test_where_a_message_sends_its_reader(estimator, where):
    assert where_the_model_is(estimator.fit(X, y)) == where
