"""A flavour of MLflow models that holds a model file, and so no pickle."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from torch import nn

from . import persistence
from ._version import __version__
from .estimators import ImageClassifier

_FILE = "data/model.safetensors"  # in the folder of a model
_METHODS = ("predict", "predict_proba", "predict_log_proba", "decision_function")


def _import_mlflow() -> Any:
    try:
        import mlflow
    except ImportError as error:
        raise ImportError(
            f"fmnist_sklearn.mlflow needs mlflow ({error}); install it with: "
            'pip install "fmnist-sklearn[mlflow]"'
        ) from error
    return mlflow


def save_model(
    estimator: ImageClassifier,
    path: str | os.PathLike[str],
    mlflow_model: Any = None,
    *,
    signature: Any = None,
    input_example: Any = None,
    **kwargs: Any,
) -> None:
    """Write a fitted classifier as an MLflow model, a folder without a pickle in it.

    The folder holds the file of :func:`fmnist_sklearn.save_model`. `load_model` and
    ``mlflow.pyfunc.load_model`` read it, also where
    ``MLFLOW_ALLOW_PICKLE_DESERIALIZATION`` is false.

    Parameters
    ----------
    estimator : ImageClassifier, LeNet5Classifier or MiniVGGClassifier
        A fitted one. A network of your own is not loaded by ``mlflow.pyfunc``, which
        cannot be handed its class.
    path : str or path-like
        The folder to write, new or empty.
    mlflow_model : mlflow.models.Model, optional
        What the flavour is added to; ``Model.log`` passes it.
    signature : mlflow.models.ModelSignature, optional
        By default that of `input_example` and its predictions, with the parameter
        ``predict_method``; without an example any images are accepted.
    input_example : array-like, optional
        A few images of any layout that the classifier takes; the folder holds them.
    **kwargs : dict
        Arguments of ``mlflow.pyfunc.save_model``, such as ``metadata``, ``conda_env``,
        ``pip_requirements`` or a list of ``extra_pip_requirements``. Required by
        default are the present versions of this package and of PyTorch.

    Raises
    ------
    ImportError
        If mlflow is missing; the extra ``mlflow`` has it.
    TypeError, ValueError, sklearn.exceptions.NotFittedError
        As in :func:`fmnist_sklearn.save_model`.
    mlflow.exceptions.MlflowException
        If the folder is not empty, or for arguments that MLflow refuses.

    Warns
    -----
    UserWarning
        For parameters that are left out, as in :func:`fmnist_sklearn.save_model`.
    """
    mlflow = _import_mlflow()
    model = mlflow.models.Model() if mlflow_model is None else mlflow_model
    if not (kwargs.get("conda_env") or kwargs.get("pip_requirements")):
        extra = kwargs.pop("extra_pip_requirements", None) or []
        # Without the kind of build ("+cu130"), which an index need not have.
        pin = f"torch=={torch.__version__}".partition("+")[0]
        kwargs["pip_requirements"] = [f"fmnist-sklearn=={__version__}", pin, *extra]
    with TemporaryDirectory() as folder:
        file = Path(folder, Path(_FILE).name)
        persistence.save_model(estimator, file)
        if signature is None:
            example = input_example
            predicted = None if example is None else estimator.predict(example)
            params = {"predict_method": "predict"}
            signature = mlflow.models.infer_signature(example, predicted, params)
        model.add_flavor("fmnist_sklearn", data=_FILE, version=__version__)
        mlflow.pyfunc.save_model(
            path,
            loader_module=__name__,
            data_path=file,
            mlflow_model=model,
            signature=signature,
            input_example=input_example,
            **kwargs,
        )


def log_model(estimator: ImageClassifier, name: str, **kwargs: Any) -> Any:
    """Log a fitted classifier as a model of the active run, or of a new one.

    Parameters
    ----------
    estimator : ImageClassifier, LeNet5Classifier or MiniVGGClassifier
        A fitted one.
    name : str
        Name of the logged model.
    **kwargs : dict
        Arguments of ``mlflow.models.Model.log``, such as ``registered_model_name``,
        and of `save_model`.

    Returns
    -------
    mlflow.models.model.ModelInfo
        With ``model_uri``, which `load_model` and ``mlflow.pyfunc.load_model`` take.
    """
    log = _import_mlflow().models.Model.log
    return log(None, sys.modules[__name__], name=name, estimator=estimator, **kwargs)


def load_model(
    model_uri: str,
    *,
    device: str | torch.device | None = None,
    module: type[nn.Module] | None = None,
) -> ImageClassifier:
    """Load a classifier that `save_model` or `log_model` wrote.

    Parameters
    ----------
    model_uri : str
        A folder, or a URI such as "models:/shoes/1" or that of a ``ModelInfo``.
    device, module
        As in :func:`fmnist_sklearn.load_model`.

    Returns
    -------
    ImageClassifier, LeNet5Classifier or MiniVGGClassifier
        Fitted.

    Raises
    ------
    ImportError
        If mlflow is missing.
    OSError, ValueError
        As in :func:`fmnist_sklearn.load_model`.
    mlflow.exceptions.MlflowException
        If there is no such model.
    """
    folder = _import_mlflow().artifacts.download_artifacts(str(model_uri))
    return persistence.load_model(Path(folder, _FILE), device=device, module=module)


class _Predictor:
    """What ``mlflow.pyfunc`` calls; ``get_raw_model`` of its models returns it."""

    def __init__(self, estimator: ImageClassifier) -> None:
        self.estimator = estimator

    def predict(self, data: Any, params: dict[str, Any] | None = None) -> np.ndarray:
        """Return labels, or what the parameter ``predict_method`` names."""
        method = (params or {}).get("predict_method", "predict")
        if method not in _METHODS:  # `fit`, say, is not for a server's clients
            expected = f"predict_method must be one of {', '.join(_METHODS)}"
            raise ValueError(f"{expected}, got {method!r}")
        return getattr(self.estimator, method)(data)


def _load_pyfunc(path: str) -> _Predictor:
    """Load what ``mlflow.pyfunc`` calls, from the model file."""
    return _Predictor(persistence.load_model(path))
