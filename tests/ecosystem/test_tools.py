"""Tools that take any classifier: a network is to them what an ``MLPClassifier`` is."""

import warnings

import joblib
import numpy as np
import pytest
from sklearn.base import clone
from sklearn.model_selection import cross_val_score
from sklearn.neural_network import MLPClassifier

from fmnist_sklearn import load_model, save_model


def imbalanced_learn(estimator, X, y):
    from imblearn.ensemble import BalancedBaggingClassifier
    from imblearn.over_sampling import SMOTE
    from imblearn.pipeline import make_pipeline

    pipeline = make_pipeline(SMOTE(random_state=0), clone(estimator)).fit(X, y)
    by_hand = clone(estimator).fit(*SMOTE(random_state=0).fit_resample(X, y))
    assert np.array_equal(pipeline.predict_proba(X), by_hand.predict_proba(X))
    bag = BalancedBaggingClassifier(estimator, n_estimators=2, random_state=0)
    return pipeline.predict(X), bag.fit(X, y).predict_proba(X)


def cleanlab(estimator, X, y):
    from cleanlab.classification import CleanLearning

    learner = CleanLearning(estimator, cv_n_folds=2, seed=0)
    with pytest.raises(ValueError, match="cannot be strings"):
        learner.fit(X, y)
    codes = np.unique(y, return_inverse=True)[1]
    learner.fit(X, codes)
    quality = learner.get_label_issues()["label_quality"].to_numpy()
    return learner.predict(X), learner.predict_proba(X), quality


def mapie_split(estimator, X, y):
    from mapie.classification import SplitConformalClassifier

    net = clone(estimator).fit(X[:100], y[:100])
    conformal = SplitConformalClassifier(net, confidence_level=0.9, prefit=True)
    labels, sets = conformal.conformalize(X[100:], y[100:]).predict_set(X)
    assert np.array_equal(labels, net.predict(X))
    return labels, sets


def mapie_cross(estimator, X, y):
    from mapie.classification import CrossConformalClassifier

    options = {"confidence_level": 0.9, "cv": 2, "random_state": 0}
    conformal = CrossConformalClassifier(estimator, **options)
    return conformal.fit_conformalize(X, y).predict_set(X)


def predict_images(estimator, X, y):
    """Fit, and predict images of shape (n, 28, 28, channels), all the same."""
    fitted = clone(estimator).fit(X, y)
    shape = X.shape[1:]
    return lambda images: fitted.predict_proba(
        images[..., 0].reshape(len(images), *shape)
    )


def lime(estimator, X, y):
    from lime.lime_image import LimeImageExplainer

    image = X[0].reshape(28, 28, 1).repeat(3, axis=2)
    explanation = LimeImageExplainer(random_state=0).explain_instance(
        image, predict_images(estimator, X, y), top_labels=2, num_samples=30
    )
    weights = [dict(explanation.local_exp[label]) for label in explanation.top_labels]
    return [np.array([each[key] for key in sorted(each)]) for each in weights]


def shap(estimator, X, y):
    from shap import Explainer
    from shap.maskers import Image

    masker = Image(np.zeros((28, 28, 1)), (28, 28, 1))
    predict = predict_images(estimator, X, y)
    image = X[:1].reshape(1, 28, 28, 1).astype(float)
    return [Explainer(predict, masker)(image, max_evals=40, silent=True).values]


def scikit_activeml(estimator, X, y):
    from skactiveml.classifier import SklearnClassifier
    from skactiveml.pool import UncertaintySampling

    y = y.astype(object)
    missing = {"missing_label": None, "random_state": 0}
    net = SklearnClassifier(estimator, classes=np.unique(y), **missing)
    y[100:] = None
    chosen = UncertaintySampling(**missing).query(X, y, net, batch_size=3)
    assert chosen.min() >= 100
    return chosen, net.fit(X, y).predict_proba(X)


def skore(estimator, X, y):
    from skore import ComparisonReport, CrossValidationReport, EstimatorReport

    parts = {"X_train": X[:160], "y_train": y[:160], "X_test": X[160:]}
    report = EstimatorReport(clone(estimator), **parts, y_test=y[160:])
    scores = [report.metrics.accuracy(), report.metrics.log_loss()]
    assert scores[0] == report.estimator_.score(X[160:], y[160:])
    report.metrics.confusion_matrix().plot()
    folds = [CrossValidationReport(estimator, X=X, y=y, splitter=2) for _ in range(2)]
    both = ComparisonReport(folds).metrics.accuracy()
    assert folds[0].metrics.summarize().frame().shape[1] == 2  # mean and deviation
    return np.array(scores), folds[0].metrics.accuracy().to_numpy(), both.to_numpy()


def skops(estimator, X, y):
    """It stores the steps of a Pipeline and the card, and no tensors."""
    from skops import io
    from skops.card import Card

    fitted = clone(estimator).fit(X, y)
    assert type(fitted).__name__ in Card(fitted).render()
    if not isinstance(fitted, MLPClassifier):
        with pytest.raises(RuntimeError, match="Cannot directly construct TensorBase"):
            io.dumps(fitted)
        save_model(fitted, "net")
        assert np.array_equal(load_model("net").predict(X), fitted.predict(X))
    return [fitted.predict(X)]


TOOLS = {  # with their package, and why images are refused
    imbalanced_learn: ("imbalanced-learn", "dim 4"),
    cleanlab: ("cleanlab", None),
    mapie_split: ("mapie", "Invalid mismatch"),
    mapie_cross: ("mapie", None),
    lime: ("lime", None),
    shap: ("shap", None),
    scikit_activeml: ("scikit-activeml", None),
    skore: ("skore", None),
    skops: ("skops", None),
}


@pytest.mark.parametrize(
    "tool",
    [pytest.param(each, marks=pytest.mark.ecosystem(TOOLS[each][0])) for each in TOOLS],
)
def test_tool_works_as_with_mlp_classifier(case, tool, tmp_path, monkeypatch):
    """The same results on rows and on images; of MLPClassifier the same shapes."""
    monkeypatch.chdir(tmp_path)
    new, _, X, y = case
    warnings.simplefilter("ignore")
    refused, is_rows = TOOLS[tool][1], X.ndim == 2
    if refused and not is_rows:
        with pytest.raises(ValueError, match=refused):
            tool(new, X, y)
        return
    results = tool(clone(new), X, y)
    rows = X.reshape(len(X), -1)
    if is_rows:
        expected = tool(MLPClassifier(max_iter=2, random_state=0), rows, y)
        for got, other in zip(results, expected, strict=True):
            assert got.dtype.kind == other.dtype.kind
            assert got.shape == other.shape
    else:
        for got, other in zip(results, tool(clone(new), rows, y), strict=True):
            assert np.array_equal(got, other)


@pytest.mark.parametrize(
    "backend",
    [pytest.param(x, marks=pytest.mark.ecosystem(x)) for x in ("dask", "ray")],
)
def test_joblib_backends(case, backend, monkeypatch, request):
    new, _, X, y = case
    request.getfixturevalue(f"{backend}_cluster")
    with joblib.parallel_config(backend):
        scores = cross_val_score(new, X, y, cv=2)
    assert np.array_equal(scores, cross_val_score(new, X, y, cv=2))


@pytest.fixture(scope="module")
def dask_cluster():
    import distributed

    options = {"n_workers": 2, "threads_per_worker": 1, "dashboard_address": None}
    with distributed.LocalCluster(**options) as cluster, distributed.Client(cluster):
        yield


@pytest.fixture(scope="module")
def ray_cluster():
    import ray
    from ray.util.joblib import register_ray

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_AUTH_MODE", "disabled")
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
        register_ray()
        yield
        ray.shutdown()
