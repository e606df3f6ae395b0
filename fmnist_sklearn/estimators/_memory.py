"""The parameter ``memory``: a fit that was done before is read back, not repeated."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import joblib
import numpy as np
import torch
from torch import Tensor

from .._version import __version__
from ..storage import FitCache, UnstorableError, encode, fit_key
from ..training import Training, resolve_subset
from ._caller import warn_user
from ._continuing import renew_optimizer
from ._plain import architecture_of, from_plain, to_plain
from ._predictions import PredictionsMixin

_PACKAGE = __name__.partition(".")[0]

# What does not change the weights, or goes into the key as what it came to.
_NOT_IN_KEY = {
    "memory",
    "teacher",
    "verbose",
    "warm_start",  # a fit that goes on is not kept at all
    "predict_flip",
    "device",
    "precision",
    "random_state",
}
# What a subclass may have its own of: the training asks for none of these. Those of
# scikit-learn's routing each class gets by itself.
_NOT_OF_TRAINING = {
    *vars(PredictionsMixin),
    "score",
    "_parameter_constraints",
    *(f"set_{name}_request" for name in ("fit", "partial_fit", "score")),
}


@contextmanager
def kept_in_memory(net: Any, training: Training, *, fresh: bool) -> Iterator[bool]:
    """Read from ``memory`` what an equal fit has left, or keep what this one leaves.

    Parameters
    ----------
    net : ImageClassifier
        With its parts built.
    training : Training
        A run of it that has not begun.
    fresh : bool
        Whether the weights are new ones.

    Yields
    ------
    is_known : bool
        Whether the outcome was read, and is in place. If not, the training is to be run
        in the ``with`` block. Nobody else runs an equal one meanwhile.

    Warns
    -----
    UserWarning
        If ``memory`` cannot be used for this fit, with the parameter that is in the
        way; if what it holds is damaged; if the fit cannot be written to it.
    """
    cache = _cache_of(net.memory)
    if cache is None:
        yield False
        return
    try:
        key = _key_of(net, training, fresh)
    except UnstorableError as error:
        warn_user(f"memory is not used for this fit: {error}")
        yield False
        return
    if _read_back(net, cache, key):
        yield True
        return
    with cache.alone_with(key):
        # Another process may have trained it while this one waited.
        is_known = _read_back(net, cache, key, warn=False)
        yield is_known
        if not (is_known or training.was_stopped):
            _keep(net, cache, key)


def _cache_of(memory: Any) -> FitCache | None:
    if isinstance(memory, FitCache):
        return memory
    location = memory.location if isinstance(memory, joblib.Memory) else memory
    return None if location is None else FitCache(location)


# The key --------------------------------------------------------------------------


def _key_of(net: Any, training: Training, fresh: bool) -> str:
    """Return the key of a fit: of whatever its outcome depends on.

    Raises
    ------
    UnstorableError
        If it depends on what no key can tell, which the message names.
    """
    if net._is_partial_fit:
        raise UnstorableError("partial_fit goes on from what it finds")
    if not fresh:
        raise UnstorableError("with warm_start=True it goes on from the last one")
    if net.random_state is None:
        raise UnstorableError(
            "random_state=None makes every fit another one; pass a number"
        )
    changed = _changed_by_hand(net)
    if changed:
        raise UnstorableError(
            f"{type(net).__name__} has its own {', '.join(changed)}, whose code may "
            "change without its name"
        )
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
        "classes": _by_value(net.classes_),
        "image_shape": list(net.image_shape_),
        "columns": _by_value(getattr(net, "feature_names_in_", None)),
        "params": _params_by_value(net),
        "teachers": [
            _teacher_by_value(network, f"teacher_{number}/", arrays)
            for number, network in enumerate(networks)
        ],
    }
    return fit_key(description, arrays)


def _teacher_by_value(network: Any, prefix: str, arrays: dict[str, Any]) -> list[Any]:
    """Tell what a network answers by, and put its weights beside the other arrays.

    The answers of teachers that are asked once are among those already.
    """
    changed = _changed_by_hand(network)
    if changed:
        raise UnstorableError(
            f"its teacher {type(network).__name__} has its own {', '.join(changed)}"
        )
    for name, value in network.module_.state_dict().items():
        arrays[prefix + name] = value.numpy(force=True)
    return [
        architecture_of(network.module, network.module_, network.image_shape_),
        network.module.__name__,
        network.precision_,
        bool(network.predict_flip),
    ]


def _changed_by_hand(net: Any) -> list[str]:
    """Name what a subclass, or the estimator itself, has in place of the package's."""
    classes = type(net).__mro__
    ours = next(c for c in classes if c.__module__.startswith(_PACKAGE))
    names = {name for name in vars(net) if not (name[0] == "_" or name[-1] == "_")}
    for cls in classes[: classes.index(ours)]:
        names |= {name for name in vars(cls) if not name.startswith("__")}
    names -= _param_names(net) | _NOT_OF_TRAINING
    return sorted(name for name in names if hasattr(ours, name))


def _param_names(net: Any) -> set[str]:
    """Name all parameters, those too that a subclass's constructor has fixed."""
    return {*net.get_params(), *net._parameter_constraints}


def _params_by_value(net: Any) -> dict[str, Any]:
    params = {}
    for name in sorted(_param_names(net) - _NOT_IN_KEY):
        try:
            params[name] = _by_value(getattr(net, name))
        except UnstorableError as error:
            raise UnstorableError(
                f"{name} holds what cannot be told by its value ({error})"
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
    name = _name_in_torch(value)
    return encode(value) if name is None else {"torch": name}


def _name_in_torch(value: Any) -> str | None:
    """Return the full name of PyTorch's own classes and functions."""
    module, name = (getattr(value, a, None) for a in ("__module__", "__qualname__"))
    if not isinstance(name, str) or str(module).partition(".")[0] != "torch":
        return None
    is_found = getattr(sys.modules.get(str(module)), name, None) is value
    return f"{module}.{name}" if is_found else None


def _arrays_of(train: Any, valid: Any) -> dict[str, np.ndarray]:
    """Return what the rows to train and to validate on consist of."""
    base, rows = resolve_subset(train)
    tensors: dict[str, Tensor | None] = {
        "images": base.images,
        "targets": base.targets,
        "weights": base.weights,
        "answers": base.answers,
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


def _read_back(net: Any, cache: FitCache, key: str, *, warn: bool = True) -> bool:
    """Make a net what an equal fit has left, if there was one; tell whether."""
    seeds = net._seeds
    try:
        entry = cache.read(key)
        if entry is None:
            return False
        from_plain(net, *entry)
    # A file with a sound checksum that is not of an estimator can bring about any.
    except Exception as error:
        if warn:
            warn_user(f"a fit in memory is damaged and is done again: {error}")
        return False
    # Which share the user's RandomState, if that is what random_state is.
    net._seeds = seeds
    renew_optimizer(net)
    return True


def _keep(net: Any, cache: FitCache, key: str) -> None:
    try:
        state = to_plain(net, optimizer=True)
        if state.left_out:
            raise UnstorableError(f"cannot store {', '.join(sorted(state.left_out))}")
        cache.write(key, state.arrays, state.values)
    except (OSError, TypeError, ValueError) as error:
        # Without the name of the file, so that Python shows it once for all fits.
        reason = getattr(error, "strerror", None) or error
        warn_user(f"the fit could not be kept in memory={net.memory!r}: {reason}")
