"""Tools that take any classifier: a network is to them what an ``MLPClassifier`` is."""

import warnings

import joblib
import numpy as np
import pytest
from sklearn.base import clone
from sklearn.model_selection import cross_val_score
from sklearn.neural_network import MLPClassifier

from fmnist_sklearn import load_model, save_model

NAMES = "imbalanced-learn cleanlab mapie lime shap scikit-activeml skore skops dask ray"
pytestmark = pytest.mark.ecosystem(*NAMES.split())


def imbalanced_learn(net, X, y):
    from imblearn.ensemble import BalancedBaggingClassifier
    from imblearn.over_sampling import SMOTE
    from imblearn.pipeline import make_pipeline

    pipeline = make_pipeline(SMOTE(random_state=0), clone(net)).fit(X, y)
    net.fit(*SMOTE(random_state=0).fit_resample(X, y))
    assert np.array_equal(pipeline.predict_proba(X), net.predict_proba(X))
    bag = BalancedBaggingClassifier(net, n_estimators=2, random_state=0)
    return [bag.fit(X, y).predict_proba(X)]


def cleanlab(net, X, y):
    from cleanlab.classification import CleanLearning

    learner = CleanLearning(net, cv_n_folds=2, seed=0)
    with pytest.raises(ValueError, match="cannot be strings"):
        learner.fit(X, y)
    learner.fit(X, np.unique(y, return_inverse=True)[1])
    issues = learner.get_label_issues()
    return learner.predict_proba(X), issues["label_quality"].to_numpy()


def mapie(net, X, y):
    from mapie.classification import CrossConformalClassifier, SplitConformalClassifier

    options = {"confidence_level": 0.9, "random_state": 0}
    cross = CrossConformalClassifier(clone(net), cv=2, **options)
    split = SplitConformalClassifier(net.fit(X[:99], y[:99]), prefit=True, **options)
    if X.ndim > 2:
        with pytest.raises(ValueError, match="Invalid mismatch"):
            split.conformalize(X[99:], y[99:])
    rows = X.reshape(len(X), -1)
    labels, sets = split.conformalize(rows[99:], y[99:]).predict_set(rows)
    assert np.array_equal(labels, net.predict(X))
    return sets, *cross.fit_conformalize(X, y).predict_set(X)


def lime_and_shap(net, X, y):
    """Both change images of shape (height, width, channels), three of them for lime."""
    from lime.lime_image import LimeImageExplainer
    from shap import Explainer
    from shap.maskers import Image

    net.fit(X, y)
    image = X[0].reshape(28, 28, 1)

    def predict(images):
        return net.predict_proba(images[..., 0].reshape(-1, *X.shape[1:]))

    lime = LimeImageExplainer(random_state=0).explain_instance(
        image.repeat(3, axis=2), predict, top_labels=1, num_samples=30
    )
    weights = dict(lime.local_exp[lime.top_labels[0]])
    explainer = Explainer(predict, Image(np.zeros((28, 28, 1)), image.shape))
    shap = explainer(image[None].astype(float), max_evals=40, silent=True)
    return np.array([weights[key] for key in sorted(weights)]), shap.values


def scikit_activeml(net, X, y):
    from skactiveml.classifier import SklearnClassifier
    from skactiveml.pool import UncertaintySampling

    missing = {"missing_label": None, "random_state": 0}
    learner = SklearnClassifier(net, classes=np.unique(y), **missing)
    y = np.where(np.arange(len(y)) < 100, y, None)
    chosen = UncertaintySampling(**missing).query(X, y, learner, batch_size=3)
    assert chosen.min() >= 100
    return chosen, learner.fit(X, y).predict_proba(X)


def skore(net, X, y):
    from skore import ComparisonReport, CrossValidationReport, EstimatorReport

    parts = {"X_train": X[:160], "y_train": y[:160], "X_test": X[160:]}
    report = EstimatorReport(net, **parts, y_test=y[160:])
    accuracy = report.metrics.accuracy()
    assert accuracy == report.estimator_.score(X[160:], y[160:])
    report.metrics.confusion_matrix().plot()
    folds = [CrossValidationReport(net, X=X, y=y, splitter=2) for _ in range(2)]
    assert folds[0].metrics.summarize().frame().shape[1] == 2  # mean and deviation
    both = ComparisonReport(folds).metrics.accuracy()
    return np.array([accuracy, report.metrics.log_loss()]), both.to_numpy()


def skops(net, X, y):
    from skops import io
    from skops.card import Card

    assert type(net.fit(X, y)).__name__ in Card(net).render()
    if not isinstance(net, MLPClassifier):
        with pytest.raises(RuntimeError, match="Cannot directly construct TensorBase"):
            io.dumps(net)
        save_model(net, "net")
        assert np.array_equal(load_model("net").predict(X), net.predict(X))
    return []


TOOLS = [
    imbalanced_learn,
    cleanlab,
    mapie,
    lime_and_shap,
    scikit_activeml,
    skore,
    skops,
]


@pytest.mark.parametrize("tool", TOOLS)
def test_tool_works_as_with_mlp_classifier(case, tool, tmp_path, monkeypatch):
    """Results are the same on rows and images; of MLPClassifier, their shapes are."""
    monkeypatch.chdir(tmp_path)
    warnings.simplefilter("ignore")
    new, _, X, y = case
    rows = X.reshape(len(X), -1)
    if tool is imbalanced_learn and X.ndim > 2:
        with pytest.raises(ValueError, match="dim 4, while dim <= 2"):
            tool(clone(new), X, y)
        return
    is_rows = X.ndim == 2
    other = MLPClassifier(max_iter=2, random_state=0) if is_rows else clone(new)
    for got, expected in zip(tool(clone(new), X, y), tool(other, rows, y), strict=True):
        assert (got.dtype, got.shape) == (expected.dtype, expected.shape)
        assert is_rows or np.array_equal(got, expected)


@pytest.fixture(scope="module")
def dask():
    import distributed

    options = {"n_workers": 2, "threads_per_worker": 1, "dashboard_address": None}
    with distributed.LocalCluster(**options) as cluster, distributed.Client(cluster):
        yield


@pytest.fixture(scope="module")
def ray():
    import ray
    from ray.util.joblib import register_ray

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_AUTH_MODE", "disabled")
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
        register_ray()
        yield
        ray.shutdown()


@pytest.mark.parametrize("backend", ["dask", "ray"])
def test_joblib_backends(case, backend, request):
    new, _, X, y = case
    request.getfixturevalue(backend)
    with joblib.parallel_config(backend):
        scores = cross_val_score(new, X, y, cv=2)
    assert np.array_equal(scores, cross_val_score(new, X, y, cv=2))
