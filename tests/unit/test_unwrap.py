import numpy as np
import pytest
from sklearn.dummy import DummyClassifier as Dummy
from sklearn.ensemble import AdaBoostClassifier, BaggingClassifier
from sklearn.feature_selection import SelectFromModel
from sklearn.model_selection import FixedThresholdClassifier, GridSearchCV
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.semi_supervised import SelfTrainingClassifier
from sklearn.tree import DecisionTreeClassifier

from fmnist_sklearn._unwrap import fitted_model, last_step

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
