"""The MLflow flavour, as far as MLflow itself is not needed: see tests/ecosystem."""

import sys

import numpy as np
import pytest

from fmnist_sklearn import mlflow, save_model


def test_missing_mlflow_names_the_extra(lenet5, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "mlflow", None)
    message = r'needs mlflow \(.*\); install it with: pip install "fmnist-sklearn\[mlfl'
    for call in (mlflow.save_model, mlflow.log_model):
        with pytest.raises(ImportError, match=message):
            call(lenet5, tmp_path / "model")
    with pytest.raises(ImportError, match=message):
        mlflow.load_model(tmp_path)


def test_pyfunc_predicts_by_the_named_method(lenet5, X, tmp_path):
    save_model(lenet5, tmp_path / "net")
    model = mlflow._load_pyfunc(str(tmp_path / "net"))
    for params in (None, {}, {"predict_method": "predict"}):
        assert np.array_equal(model.predict(X, params), lenet5.predict(X))
    got = model.predict(X, {"predict_method": "predict_proba"})
    assert np.array_equal(got, lenet5.predict_proba(X))
    with pytest.raises(ValueError, match=r"must be one of predict, .*, got 'fit'"):
        model.predict(X, {"predict_method": "fit"})
