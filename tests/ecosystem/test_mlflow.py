"""MLflow: our flavour, the tracking of fits and searches, scikit-learn's flavour."""

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from skorch.callbacks import MlflowLogger

from fmnist_sklearn import ImageClassifier
from fmnist_sklearn import mlflow as flavor

from ..unit.toys import Perceptron

pytestmark = pytest.mark.ecosystem("mlflow")


@pytest.fixture(scope="module")
def mlflow(tmp_path_factory):
    """MLflow with a tracking store of its own, which refuses pickles."""
    import mlflow

    folder = tmp_path_factory.mktemp("mlflow")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "false")
        patch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
        patch.chdir(folder)
        mlflow.set_tracking_uri(f"sqlite:///{folder}/mlflow.db")
        yield mlflow
        mlflow.set_tracking_uri(None)


@pytest.mark.parametrize("kind", ["example", "frame", "no example"])
def test_log_model_is_loaded_without_a_pickle(case, mlflow, kind):
    _, net, X, _ = case
    if kind == "frame":
        X = pd.DataFrame(X.reshape(len(X), -1)).add_prefix("pixel")
    example = None if kind == "no example" else X[:2]
    info = flavor.log_model(net, "shoes", input_example=example, metadata={"asked": 1})
    folder = Path(mlflow.artifacts.download_artifacts(info.model_uri))
    files = {path.suffix for path in folder.rglob("*") if path.is_file()}
    assert files <= {"", ".safetensors", ".yaml", ".txt", ".json"}
    pins = (folder / "requirements.txt").read_text()
    assert re.findall("^[a-z-]+", pins, re.M) == ["mlflow", "fmnist-sklearn", "torch"]

    again = flavor.load_model(info.model_uri, device="cpu")
    assert type(again) is type(net)
    assert np.array_equal(again.predict_proba(X), net.predict_proba(X))
    model = mlflow.pyfunc.load_model(info.model_uri)
    assert np.array_equal(model.predict(X), net.predict(X))
    got = model.predict(X, params={"predict_method": "predict_proba"})
    assert np.array_equal(got, net.predict_proba(X))
    assert model.metadata.metadata == {"asked": 1}
    if example is not None:
        assert info.signature.inputs.is_tensor_spec() == (kind == "example")


def test_save_model_with_requirements_and_a_registered_name(lenet5, X, mlflow):
    with pytest.raises(TypeError, match="save_model takes a fitted"):
        flavor.save_model(GridSearchCV(lenet5, {}), "search")
    flavor.save_model(lenet5, "model", extra_pip_requirements=["polars>=1.0"])
    assert "polars>=1.0" in Path("model", "requirements.txt").read_text()
    assert np.array_equal(flavor.load_model("model").predict(X), lenet5.predict(X))
    flavor.log_model(lenet5, "shoes", registered_model_name="shoes")
    assert flavor.load_model("models:/shoes/1").n_iter_ == lenet5.n_iter_


def test_own_network_is_loaded_by_its_class(X, y, quick, mlflow):
    net = ImageClassifier(module=Perceptron, **quick).fit(X, y)
    uri = flavor.log_model(net, "own", input_example=X[:2]).model_uri
    again = flavor.load_model(uri, module=Perceptron)
    assert np.array_equal(again.predict(X), net.predict(X))
    with pytest.raises(ValueError, match=r"pass that class, load_model\(.*module"):
        mlflow.pyfunc.load_model(uri)


def test_single_fit_is_logged_by_a_callback_and_a_search_by_autolog(case, mlflow):
    """Autologging knows scikit-learn's own classes only."""
    new, _, X, y = case
    with mlflow.start_run() as run:
        logger = MlflowLogger(terminate_after_train=False)
        net = clone(new).set_params(callbacks=[logger]).fit(X, y)
    logged = mlflow.MlflowClient().get_metric_history(run.info.run_id, "valid_loss")
    assert [each.value for each in logged] == net.history_[:, "valid_loss"]

    mlflow.sklearn.autolog(log_models=False, silent=True)
    try:
        clone(new).fit(X, y)
        assert mlflow.last_active_run().info.run_id == run.info.run_id
        search = GridSearchCV(new, {"lr": [0.01, 0.02]}, cv=2).fit(X, y)
    finally:
        mlflow.sklearn.autolog(disable=True)
    data = mlflow.last_active_run().data
    assert data.metrics["best_cv_score"] == search.best_score_
    assert data.params["best_lr"] == str(search.best_params_["lr"])


def test_flavor_of_scikit_learn_pickles_a_pipeline(case, mlflow, monkeypatch, tmp_path):
    _, net, X, _ = case
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "true")
    pipeline = make_pipeline(FunctionTransformer(), net)
    options = {"serialization_format": "cloudpickle", "pip_requirements": ["torch"]}
    mlflow.sklearn.save_model(pipeline, "pipeline", **options)
    for load in (mlflow.sklearn.load_model, mlflow.pyfunc.load_model):
        assert np.array_equal(load("pipeline").predict(X), net.predict(X))
