"""Trained networks in files that hold no pickle: ``save_model``, ``load_model``."""

from __future__ import annotations

import copy
import os
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from sklearn.utils.validation import check_is_fitted
from skorch.history import History
from torch import nn

from .estimators import ImageClassifier
from .models import MODELS
from .modules import Dropout, LeNet5
from .storage import read_container, write_container
from .training import Seeds, build_module

_CLASSES = {model.cls.__name__: model.cls for model in MODELS.values()}
_LABEL_KINDS = "biufUO"
_FITTED = (
    "n_features_in_",
    "image_shape_",
    "best_epoch_",
    "fit_time_",
    "precision_",
    "_is_partial_fit",
)


_SEEDS = ("weights", "split", "order", "dropout")


def save_model(estimator: ImageClassifier, path: str | os.PathLike[str]) -> None:
    """Write a fitted classifier to one file without a pickle in it.

    The file (safetensors, with a checksum) holds the weights, the labels, the history
    and the parameters. The state of the optimizer is left out, so that ``partial_fit``
    and ``warm_start`` go on from the weights with a new optimizer.

    Parameters
    ----------
    estimator : LeNet5Classifier or MiniVGGClassifier
        A fitted one.
    path : str or path-like
        The file to write; one that exists is replaced, as a whole or not at all.

    Raises
    ------
    TypeError
        For another kind of estimator, and for labels other than numbers, booleans
        and strings.
    ValueError
        For parameters set since the fit that ``fit`` would not take.
    sklearn.exceptions.NotFittedError
        Before ``fit``.

    Warns
    -----
    UserWarning
        For parameters that are objects, such as callbacks and functions: the file
        leaves them out, with what belongs to them (``callbacks__...``), and the
        loaded estimator has their defaults.

    See Also
    --------
    load_model : Read the file.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from fmnist_sklearn import LeNet5Classifier, load_fashion_mnist_sample
    >>> from fmnist_sklearn.persistence import load_model, save_model
    >>> X, y = load_fashion_mnist_sample(return_X_y=True)
    >>> net = LeNet5Classifier(max_epochs=1, patience=None).fit(X[:500], y[:500])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save_model(net, Path(folder) / "net.safetensors")
    ...     loaded = load_model(Path(folder) / "net.safetensors")
    >>> bool((loaded.predict(X) == net.predict(X)).all())
    True
    """
    name = type(estimator).__name__
    if type(estimator) is not _CLASSES.get(name):
        raise TypeError(
            f"save_model stores a {' or a '.join(_CLASSES)}, got an object of class "
            f"{name}"
        )
    check_is_fitted(estimator)
    estimator._check_params()
    params, left_out = _encode_items(estimator.get_params())
    # iterator_train__num_workers means nothing without its iterator_train.
    orphans = {key for key in params if key.partition("__")[0] in left_out}
    left_out |= orphans
    params = {key: value for key, value in params.items() if key not in orphans}
    rows = []
    for row in estimator.history_:
        encoded, unstored = _encode_items({**row, "batches": [{}]})
        left_out |= {f"history_[:, {column!r}]" for column in unstored}
        rows.append(encoded)
    module = estimator.module_
    seeds = estimator._seeds
    rng = copy.deepcopy(seeds.rng)
    fitted = {
        key: getattr(estimator, key) for key in _FITTED if hasattr(estimator, key)
    }
    meta = {
        "class": name,
        "params": params,
        "module": _encode(_architecture(module)),
        "frozen": [n for n, p in module.named_parameters() if not p.requires_grad],
        "classes": _encode_labels(estimator.classes_),
        "fitted": _encode(fitted),
        "history": rows,
        # What the next partial_fit would draw from stands in for the generator.
        "random_state": int(rng.randint(np.iinfo(np.int32).max)),
        "seeds": {name: getattr(seeds, name) for name in _SEEDS},
    }
    if hasattr(estimator, "feature_names_in_"):
        meta["feature_names"] = estimator.feature_names_in_.tolist()
    arrays = {key: value.cpu().numpy() for key, value in module.state_dict().items()}
    write_container(path, arrays, meta, kind="model")
    if left_out:
        warnings.warn(
            f"{path} leaves out what only a pickle could hold: "
            f"{', '.join(sorted(left_out))}",
            UserWarning,
            stacklevel=2,
        )


def load_model(path: str | os.PathLike[str]) -> ImageClassifier:
    """Read a classifier that ``save_model`` wrote; nothing in the file is executed.

    Parameters
    ----------
    path : str or path-like
        The file.

    Returns
    -------
    LeNet5Classifier or MiniVGGClassifier
        Fitted, on the device that its parameter ``device`` means on this machine, or
        on the CPU where this machine has no such device.

    Raises
    ------
    OSError
        If the file cannot be read; ``FileNotFoundError`` where there is none.
    ValueError
        If the file is not one of ours, damaged, or holds what this version does not
        know.

    See Also
    --------
    save_model : Write the file, with an example.
    """
    arrays, meta = read_container(path, kind="model")
    try:
        estimator, state = _read_estimator(arrays, meta)
    # A file with a sound checksum that is not from save_model can bring about any.
    except Exception as error:
        raise ValueError(f"{path} holds no model to be loaded: {error}") from error
    estimator.__setstate__(state)
    return estimator.initialize_criterion()


def _read_estimator(
    arrays: dict[str, np.ndarray], meta: dict[str, Any]
) -> tuple[ImageClassifier, dict[str, Any]]:
    """Make an estimator with the parameters of a file, and its fitted state."""
    if meta["class"] not in _CLASSES:
        raise ValueError(
            f"its class is {meta['class']!r}, expected one of {list(_CLASSES)}"
        )
    estimator = _CLASSES[meta["class"]](**_decode_items(meta["params"]))
    estimator._check_params()
    kwargs = _decode(meta["module"])
    module = _build_module(estimator.module, kwargs, arrays)
    for name in meta["frozen"]:
        module.get_parameter(name).requires_grad_(False)
    classes = _decode_labels(meta["classes"])
    if len(classes) != kwargs["n_classes"]:
        raise ValueError(
            f"it has {len(classes)} labels for {kwargs['n_classes']} classes"
        )
    seeds = Seeds(meta["random_state"])
    seeds.source = estimator.random_state
    for name in _SEEDS:
        setattr(seeds, name, int(meta["seeds"][name]))
    fitted = _decode(meta["fitted"])
    state = {name: fitted[name] for name in _FITTED if name in fitted}
    state |= {
        "_classes": classes,
        "_seeds": seeds,
        "history_": History(_decode_items(row) for row in meta["history"]),
        "module_": module,
        "initialized_": True,
    }
    if "feature_names" in meta:
        state["feature_names_in_"] = np.array(meta["feature_names"], dtype=object)
    return estimator, state


# The network ----------------------------------------------------------------------


def _architecture(module: Any) -> dict[str, Any]:
    """Read a network's arguments off its layers.

    The estimator's parameters may have been set anew since the fit.
    """
    dropout = [layer.p for layer in module.modules() if isinstance(layer, Dropout)]
    kwargs: dict[str, Any] = {
        "image_shape": module.image_shape,
        "n_classes": module.head.out.out_features,
        "dropout": dropout[0] if dropout else 0.0,
    }
    if isinstance(module, LeNet5):
        dense = [layer for layer in module.head if isinstance(layer, nn.Linear)]
        kwargs["hidden_units"] = [layer.out_features for layer in dense[:-1]]
    else:
        kwargs["hidden_units"] = module.head.hidden.out_features
        kwargs["widths"] = [
            "M" if isinstance(layer, nn.MaxPool2d) else layer.out_channels
            for layer in module.features
            if isinstance(layer, nn.MaxPool2d | nn.Conv2d)
        ]
    return kwargs


def _build_module(
    cls: type[nn.Module], kwargs: dict[str, Any], arrays: dict[str, np.ndarray]
) -> nn.Module:
    """Build the network around the arrays, if they are exactly its weights."""
    module = build_module(cls, kwargs)
    tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}
    expected = {(n, t.shape, t.dtype) for n, t in module.state_dict().items()}
    found = {(n, t.shape, t.dtype) for n, t in tensors.items()}
    if expected != found:
        names = sorted({name for name, *_ in expected ^ found})
        raise ValueError(f"its arrays do not fit the network: {', '.join(names)}")
    module.load_state_dict(tensors, assign=True)
    return module.eval()


# Values as JSON -------------------------------------------------------------------


def _encode_items(items: Mapping[str, Any]) -> tuple[dict[str, Any], set[str]]:
    """Encode those values that can be; return the names of the others, too."""
    encoded, left_out = {}, set()
    for name, value in items.items():
        try:
            encoded[name] = _encode(value)
        except TypeError:
            left_out.add(name)
    return encoded, left_out


def _decode_items(items: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _decode(value) for name, value in items.items()}


def _encode(value: Any) -> Any:
    """Turn a value into JSON. An object with one key names what JSON does not have."""
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, torch.device):
        return str(value)
    if isinstance(value, list):
        return [_encode(item) for item in value]
    if isinstance(value, tuple):
        return {"tuple": [_encode(item) for item in value]}
    if isinstance(value, Mapping):
        return {"dict": [[_encode(k), _encode(v)] for k, v in value.items()]}
    name = getattr(value, "__name__", None)
    if isinstance(name, str) and value is _find_optimizer(name):
        return {"optimizer": name}
    raise TypeError(f"cannot store an object of class {type(value).__name__}")


def _decode(value: Any) -> Any:
    if isinstance(value, list):
        return [_decode(item) for item in value]
    if not isinstance(value, dict):
        return value
    ((kind, content),) = value.items()
    if kind == "tuple":
        return tuple(_decode(content))
    if kind == "dict":
        return {_decode(key): _decode(item) for key, item in content}
    optimizer = _find_optimizer(content) if kind == "optimizer" else None
    if optimizer is None:
        raise ValueError(f"it names {content!r} as {kind}, which is not known")
    return optimizer


def _find_optimizer(name: str) -> type[torch.optim.Optimizer] | None:
    """Look a class up among the names of torch.optim; nothing is imported."""
    found = vars(torch.optim).get(name)
    is_optimizer = isinstance(found, type) and issubclass(found, torch.optim.Optimizer)
    return found if is_optimizer else None


def _encode_labels(classes: np.ndarray) -> dict[str, Any]:
    labels = classes.tolist()
    plain = all(isinstance(label, bool | int | float | str) for label in labels)
    if classes.dtype.kind not in _LABEL_KINDS or not plain:
        raise TypeError(
            "save_model stores labels that are numbers, booleans or strings, got "
            f"classes_={classes!r}"
        )
    return {"dtype": classes.dtype.str, "labels": [_encode(label) for label in labels]}


def _decode_labels(stored: dict[str, Any]) -> np.ndarray:
    dtype = np.dtype(stored["dtype"])
    if dtype.kind not in _LABEL_KINDS:
        raise ValueError(f"its labels have dtype {dtype}")
    return np.array(stored["labels"], dtype=dtype)
