"""The parameter ``memory``: a fit that was done before is read back, not repeated."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

import joblib
import msgspec
import numpy as np
import torch
from torch import Tensor

from .._version import __version__
from ..storage import FitCache, fit_key
from ..training.batches import resolve_subset
from ..training.loop import Training
from .sklearn_compat import warn_user
from .state import (
    State,
    UnstorableError,
    architecture_of,
    encode,
    encode_labels,
    get_state,
    set_state,
)

# What does not change the weights, or goes into the key by its effect.
_NOT_IN_KEY = {
    "memory",
    "teacher",
    "verbose",
    "warm_start",  # a fit that continues another is not cached at all
    "predict_flip",
    "device",
    "precision",
    "random_state",
}
# What a subclass may define itself: no training depends on it.
_NOT_OF_TRAINING = {
    "predict",
    "predict_proba",
    "predict_log_proba",
    "decision_function",
    "embed",
    "score",
    "_predict_scores",
    "_twin_with_own_network",
    "_parameter_constraints",
    *(f"set_{name}_request" for name in ("fit", "partial_fit", "score")),
}


def fit_with_cache(net: Any, training: Training, *, fresh: bool) -> bool:
    """Read the result of an equal fit from ``memory``, or train and store the result.

    Parameters
    ----------
    net : ImageClassifier
        With its parts built.
    training : Training
        A run of it that has not begun.
    fresh : bool
        Whether the weights are new ones.

    Returns
    -------
    bool
        Whether the result was read.

    Raises
    ------
    ValueError
        For ``random_state=None``, with which no fit could ever be read.

    Warns
    -----
    UserWarning
        If ``memory`` cannot be used for this fit, with the parameter that prevents it;
        if an entry is damaged; if the fit cannot be written.
    """
    memory = net.memory
    if isinstance(memory, joblib.Memory):
        memory = memory.location
    if memory is None:
        training.run()
        return False
    cache = memory if isinstance(memory, FitCache) else FitCache(memory)
    try:
        key = _key_of(net, training, fresh)
    except UnstorableError as error:
        warn_user(f"memory is not used for this fit: {error}")
        training.run()
        return False
    # No other process trains an equal fit meanwhile; one may have finished it while
    # this one waited.
    with cache.alone_with(key):
        if _read_back(net, cache, key):
            training.skip()
            return True
        training.run()
        if not training.was_stopped:
            _store(net, cache, key)
    return False


# The key --------------------------------------------------------------------------


def _key_of(net: Any, training: Training, fresh: bool) -> str:
    """Return the key of a fit: of whatever its result depends on.

    Raises
    ------
    UnstorableError
        If it depends on what has no value to hash, which the message names.
    """
    if net._is_partial_fit:
        raise UnstorableError("partial_fit continues an earlier fit")
    if not fresh:
        raise UnstorableError("with warm_start=True it continues the last one")
    if net.random_state is None:
        raise ValueError(
            f"memory={net.memory!r} keeps fits that can be repeated, and with "
            "random_state=None every fit is another one: pass an integer as "
            "random_state, or memory=None"
        )
    _refuse_user_code(net)
    seeds = net._seeds
    arrays = _arrays_of(training.train, training.valid)
    networks = training.teaching.networks if training.teaching else ()
    description = {
        "package": __version__,
        "torch": str(torch.__version__),
        "class": f"{type(net).__module__}.{type(net).__qualname__}",
        "device": net.device_.type,
        "precision": net.precision_,
        "seeds": [seeds.weights, seeds.split, seeds.order, seeds.dropout],
        "data": msgspec.to_builtins(_data_of(net)),
        "params": _params_by_value(net),
        "teachers": [
            _teacher_by_value(network, f"teacher_{number}/", arrays)
            for number, network in enumerate(networks)
        ],
    }
    return fit_key(description, arrays)


def _data_of(net: Any) -> tuple[Any, ...]:
    """Return what a fit learns from its rows before it trains.

    Images are padded, and rows of weight 0 removed: equal arrays may leave an
    estimator that is not equal.
    """
    names = getattr(net, "feature_names_in_", None)
    names = None if names is None else names.tolist()
    return net.n_features_in_, net.image_shape_, encode_labels(net.classes_), names


def _teacher_by_value(network: Any, prefix: str, arrays: dict[str, Any]) -> list[Any]:
    """Describe a teacher's network, and add its weights to the arrays.

    Soft targets that were computed before the training are among these already.
    """
    _refuse_user_code(network)
    for name, value in network.module_.state_dict().items():
        arrays[prefix + name] = value.numpy(force=True)
    return [
        msgspec.to_builtins(architecture_of(network)),
        list(network.image_shape_),
        network.module.__name__,
        network.precision_,
        bool(network.predict_flip),
    ]


def _refuse_user_code(net: Any) -> None:
    """Raise an error for what a subclass, or the estimator itself, overrides."""
    classes = type(net).__mro__
    ours = next(c for c in classes if c.__module__.startswith("fmnist_sklearn."))
    names = {name for name in vars(net) if not (name[0] == "_" or name[-1] == "_")}
    for cls in classes[: classes.index(ours)]:
        names |= {name for name in vars(cls) if not name.startswith("__")}
    names -= _param_names(net) | _NOT_OF_TRAINING
    changed = sorted(name for name in names if hasattr(ours, name))
    if changed:
        raise UnstorableError(
            f"{type(net).__name__} has its own {', '.join(changed)}, whose code may "
            "change without its name"
        )


def _param_names(net: Any) -> set[str]:
    """Return the names of all parameters, also of those a subclass has fixed."""
    return {*net.get_params(), *net._parameter_constraints}


def _params_by_value(net: Any) -> dict[str, Any]:
    params = {}
    for name in sorted(_param_names(net) - _NOT_IN_KEY):
        try:
            params[name] = _by_value(getattr(net, name))
        except UnstorableError as error:
            raise UnstorableError(
                f"{name} holds what cannot be hashed by its value ({error})"
            ) from error
    return params


def _by_value(value: Any) -> Any:
    """Turn a value into JSON that is equal for equal values only."""
    if isinstance(value, Tensor):
        value = value.numpy(force=True)
    if isinstance(value, np.ndarray):
        return {"array": [value.dtype.str, _by_value(value.tolist())]}
    if isinstance(value, list | tuple):
        return [_by_value(item) for item in value]
    if isinstance(value, Mapping):
        return {"dict": [[_by_value(k), _by_value(v)] for k, v in value.items()]}
    # Classes and functions of PyTorch's own, by their full names.
    module, name = (str(getattr(value, a, "")) for a in ("__module__", "__qualname__"))
    is_found = getattr(sys.modules.get(module), name, None) is value
    if is_found and module.partition(".")[0] == "torch":
        return {"torch": f"{module}.{name}"}
    return encode(value)


def _arrays_of(train: Any, valid: Any) -> dict[str, np.ndarray]:
    """Return what the rows to train and to validate on consist of."""
    base, rows = resolve_subset(train)
    # The names are part of the key: they stay where an attribute gets another name.
    tensors: dict[str, Tensor | None] = {
        "images": base.images,
        "targets": base.targets,
        "weights": base.weights,
        "answers": base.soft_targets,
        "rows": rows,
    }
    if valid is not None:
        valid_base, valid_rows = resolve_subset(valid)
        tensors["valid_weights"] = valid_base.weights
        tensors["valid_rows"] = valid_rows
        if valid_base.images is not base.images:
            tensors["valid_images"] = valid_base.images
            tensors["valid_targets"] = valid_base.targets
    return {
        name: tensor.numpy(force=True)
        for name, tensor in tensors.items()
        if tensor is not None
    }


# The entry ------------------------------------------------------------------------


def _read_back(net: Any, cache: FitCache, key: str) -> bool:
    """Make a net what an equal fit left, and return whether one was found."""
    seeds = net._seeds
    try:
        entry = cache.read(key)
        if entry is None:
            return False
        arrays, values = entry
        state = msgspec.convert(values, State)
        columns = state.fitted.n_features_in_
        found = (columns, state.image_shape, state.classes, state.feature_names)
        if found != _data_of(net):
            raise ValueError("its columns, images or labels are others")
        set_state(net, state, arrays)
    # What a file holds that is not of an estimator can raise any error.
    except Exception as error:
        warn_user(f"a fit in memory is damaged and is trained again: {error}")
        return False
    # These share their generator with random_state where that is a RandomState.
    net._seeds = seeds
    net._renew_optimizer()
    return True


def _store(net: Any, cache: FitCache, key: str) -> None:
    try:
        state, arrays, left_out = get_state(net, optimizer=True)
        if left_out:
            raise UnstorableError(f"cannot store {', '.join(sorted(left_out))}")
        cache.write(key, arrays, msgspec.to_builtins(state))
    except (OSError, TypeError, ValueError) as error:
        # Without the name of the file, so that Python shows it once for all fits.
        reason = getattr(error, "strerror", None) or error
        warn_user(f"the fit could not be written to memory={net.memory!r}: {reason}")
