"""The parameter ``memory``: a fit that was done before is read back, not repeated."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Mapping
from hashlib import sha256
from itertools import chain
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

import joblib
import msgspec
import numpy as np
import torch
from torch import Tensor

from .._sklearn import warn_user
from .._version import __version__
from ..storage import FitCache, bounded, fit_key
from ..training.batches import resolve_subset
from ..training.loop import Training
from .state import (
    State,
    UnstorableError,
    changed_params,
    encode,
    encode_labels,
    get_state,
    import_path,
    set_state,
)

# What does not change the weights, or goes into the key by its effect.
_NOT_IN_KEY = {
    "memory",
    "module",
    "teacher",
    "verbose",
    "warm_start",  # with which no fit is cached
    "predict_flip",
    "device",
    "precision",
    "random_state",
}


def fit_with_cache(net: Any, training: Training) -> bool:
    """Read the result of an equal fit from ``memory``, or train and store the result.

    Without ``memory``, train.

    Parameters
    ----------
    net : ImageClassifier
        With its parts built.
    training : Training
        A run of it that has not begun.

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
    cache = as_cache(net.memory)
    if cache is None:
        training.run()
        return False
    try:
        key = _key_of(net, training)
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
            _store(net, cache, key, training)
    return False


def as_cache(memory: Any) -> FitCache | None:
    """Return what a parameter ``memory`` stands for, None for no cache."""
    if isinstance(memory, joblib.Memory):
        memory = memory.location
    return FitCache(memory) if isinstance(memory, str | os.PathLike) else memory


# The key --------------------------------------------------------------------------


def _key_of(net: Any, training: Training) -> str:
    """Return the key of a fit: of whatever its result depends on.

    Raises
    ------
    UnstorableError
        If it depends on what has no value to hash, which the message names.
    """
    if net._is_partial_fit:
        raise UnstorableError("partial_fit continues an earlier fit")
    if net.warm_start:
        raise UnstorableError("warm_start=True needs the state of the optimizer")
    if net.random_state is None:
        raise ValueError(
            f"memory={net.memory!r} keeps fits that can be repeated, and with "
            "random_state=None every fit is another one: pass an integer as "
            "random_state, or memory=None"
        )
    seeds = net._seeds
    arrays = _arrays_of(training.train, training.valid)
    networks = training.teaching.networks if training.teaching else ()
    description = {
        "package": __version__,
        "torch": str(torch.__version__),
        "class": import_path(type(net)),
        "device": net.device_.type,
        "precision": net.precision_,
        "seeds": [seeds.weights, seeds.split, seeds.order, seeds.dropout],
        "data": msgspec.to_builtins(_data_of(net)),
        "params": _params_by_value(net),
        "network": import_path(net.module),
        "code": _code_of(net),
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
    for name, value in network.module_.state_dict().items():
        arrays[prefix + name] = value.numpy(force=True)
    return [
        _by_value({**network._built_with, "module": None}),
        list(network.image_shape_),
        import_path(network.module),
        _code_of(network),
        network.precision_,
        bool(network.predict_flip),
    ]


def _params_by_value(net: Any) -> dict[str, Any]:
    params = {}
    # Of all parameters, also those that a subclass has fixed.
    names = {*net.get_params(), *net._parameter_constraints, "criterion"}
    for name in sorted(names - _NOT_IN_KEY):
        try:
            params[name] = _by_value(getattr(net, name))
        except UnstorableError as error:
            raise UnstorableError(
                f"{name} holds what cannot be hashed by its value ({error})"
            ) from error
    return params


# The versions of these are in the key, or no fit depends on their code.
_KNOWN_PACKAGES = {
    *("torch", "skorch", "sklearn", __name__.partition(".")[0]),
    *sys.stdlib_module_names,
}


def _code_of(net: Any) -> dict[str, str]:
    """Return the SHA-256 of each file that defines a network, by the module's name.

    These are the files of the estimator's class and of its layers' classes, and those
    that they import from; of installed packages, only the former.

    Raises
    ------
    UnstorableError
        If a class is not in a file, or a file was changed since it was imported.
    """
    parts = (net, *net.module_.modules())
    classes = {cls for part in parts for cls in type(part).__mro__}
    todo, files = [cls.__module__ for cls in classes], dict[str, str]()
    for cls in classes:
        is_known = cls.__module__.partition(".")[0] in _KNOWN_PACKAGES
        has_file = hasattr(sys.modules.get(cls.__module__), "__file__")
        if not _is_found(cls) or not (is_known or has_file):
            raise UnstorableError(
                f"the code of {cls.__qualname__} cannot be identified, because no file "
                f"has it under this name (module {cls.__module__!r}): define it in a "
                "module that is imported; until then the network is trained again"
            )
    while todo:
        name = todo.pop()
        module = sys.modules.get(name)
        path = Path(getattr(module, "__file__", None) or "")
        is_known = name.partition(".")[0] in _KNOWN_PACKAGES
        if is_known or name in files or path.suffix != ".py":
            continue
        source = path.read_bytes()
        files[name] = sha256(source).hexdigest()
        if not {"site-packages", "dist-packages"} & {*path.parts}:
            held = vars(module).values()
            _check_is_as_in_file(held, source, str(path))
            origins = [getattr(v, "__module__", None) for v in held]
            origins += [v.__name__ for v in held if isinstance(v, ModuleType)]
            todo += [origin for origin in origins if isinstance(origin, str)]
    return dict(sorted(files.items()))  # found in another order in each process


def _check_is_as_in_file(values: Iterable[Any], source: bytes, path: str) -> None:
    """Raise an error if functions or methods are not those that a file has now."""
    written: list[Any] = [compile(source, path, "exec", dont_inherit=True)]
    for code in written:  # which grows meanwhile
        written += [value for value in code.co_consts if isinstance(value, CodeType)]
    owners = [vars(v).values() for v in values if isinstance(v, type)]
    for function in chain(values, *owners):
        code = getattr(function, "__code__", None)
        if getattr(code, "co_filename", None) == path and code not in written:
            raise UnstorableError(
                f"{path} no longer holds the code that was imported from it; restart "
                "Python"
            )


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
    if _is_found(value) and value.__module__.partition(".")[0] == "torch":
        return {"torch": import_path(value)}
    return encode(value)


def _is_found(value: Any) -> bool:
    """Whether a class or function is what its module has under its name."""
    module, name = (str(getattr(value, a, "")) for a in ("__module__", "__qualname__"))
    return bool(name) and getattr(sys.modules.get(module), name, None) is value


def _arrays_of(train: Any, valid: Any) -> dict[str, np.ndarray]:
    """Return what the rows to train and to validate on consist of, each array once."""
    found: dict[str, Tensor] = {}
    for part, dataset in {"train": train, "valid": valid}.items():
        if dataset is not None:
            base, rows = resolve_subset(dataset)
            tensors = {**vars(base), "rows": rows}
            for name, tensor in tensors.items():
                if tensor is not None and not any(tensor is t for t in found.values()):
                    found[f"{part}_{name}"] = tensor
    return {name: tensor.numpy(force=True) for name, tensor in found.items()}


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


def _store(net: Any, cache: FitCache, key: str, training: Training) -> None:
    params = changed_params(type(net), net.get_params())
    params.pop("memory")
    about = {
        "model": type(net).__name__,
        "params": {name: bounded(value) for name, value in params.items()},
        "accuracy": net.history_[net.best_epoch_ - 1].get("valid_acc"),
        "n_rows": len(training.train) + len(training.valid or ()),
        "n_epochs": net.n_iter_,
        "fit_time": net.fit_time_,
    }
    try:
        state, arrays, left_out = get_state(net)
        if left_out:
            raise UnstorableError(f"cannot store {', '.join(sorted(left_out))}")
        cache.write(key, arrays, msgspec.to_builtins(state), about)
    except (OSError, TypeError, ValueError) as error:
        # Without the name of the file, so that Python shows it once for all fits.
        reason = getattr(error, "strerror", None) or error
        warn_user(f"the fit could not be written to memory={net.memory!r}: {reason}")
