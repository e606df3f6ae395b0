"""Python values as strict JSON, and back: what a file can hold without a pickle."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch


class UnstorableError(TypeError):
    """A value that JSON cannot hold; the message names its class."""


def encode(value: Any) -> Any:
    """Turn a value into JSON. An object with one key names what JSON does not have.

    Parameters
    ----------
    value : object
        None, booleans, numbers and strings, NumPy's among them; lists, tuples and
        mappings of these; devices, and classes of ``torch.optim``.

    Returns
    -------
    encoded : object
        What ``json`` writes with ``allow_nan=False``.

    Raises
    ------
    UnstorableError
        For anything else.

    Examples
    --------
    >>> from fmnist_sklearn.storage import decode, encode
    >>> encode({"shape": (1, 8, 8)})
    {'dict': [['shape', {'tuple': [1, 8, 8]}]]}
    >>> decode(encode({"shape": (1, 8, 8)}))
    {'shape': (1, 8, 8)}
    """
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return {"float": repr(float(value))}
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, torch.device):
        return str(value)
    if isinstance(value, list):
        return [encode(item) for item in value]
    if isinstance(value, tuple):
        return {"tuple": [encode(item) for item in value]}
    if isinstance(value, Mapping):
        return {"dict": [[encode(k), encode(v)] for k, v in value.items()]}
    name = getattr(value, "__name__", None)
    if isinstance(name, str) and value is _find_optimizer(name):
        return {"optimizer": name}
    raise UnstorableError(f"cannot store an object of class {type(value).__name__}")


def encode_items(items: Mapping[str, Any]) -> tuple[dict[str, Any], set[str]]:
    """Encode those values that can be; return the names of the others, too."""
    encoded, left_out = {}, set()
    for name, value in items.items():
        try:
            encoded[name] = encode(value)
        except UnstorableError:
            left_out.add(name)
    return encoded, left_out


def decode(value: Any) -> Any:
    """Turn what `encode` returned back into the value.

    Raises
    ------
    ValueError
        For what `encode` does not return.
    """
    if isinstance(value, list):
        return [decode(item) for item in value]
    if not isinstance(value, dict):
        return value
    if len(value) != 1:
        raise ValueError(f"it has an object of {len(value)} keys, expected 1")
    ((kind, content),) = value.items()
    if kind == "tuple" and isinstance(content, list):
        return tuple(decode(content))
    if kind == "dict" and isinstance(content, list):
        return _decode_mapping(content)
    if kind == "float" and content in ("nan", "inf", "-inf"):
        return float(content)
    optimizer = _find_optimizer(content) if kind == "optimizer" else None
    if optimizer is None:
        raise ValueError(f"it names {content!r} as {kind}, which is not known")
    return optimizer


def decode_items(items: Mapping[str, Any]) -> dict[str, Any]:
    """Decode the values of a mapping."""
    return {name: decode(value) for name, value in items.items()}


def _decode_mapping(pairs: list[Any]) -> dict[Any, Any]:
    decoded = {}
    for pair in pairs:
        if not (isinstance(pair, list) and len(pair) == 2):
            raise ValueError("it has a mapping that is not a list of pairs")
        key = decode(pair[0])
        if not isinstance(key, bool | int | float | str | tuple | None):
            raise ValueError(f"it has a {type(key).__name__} as the key of a mapping")
        decoded[key] = decode(pair[1])
    return decoded


def _find_optimizer(name: Any) -> type[torch.optim.Optimizer] | None:
    """Look a class up among the names of torch.optim; nothing is imported."""
    found = vars(torch.optim).get(name) if isinstance(name, str) else None
    is_optimizer = isinstance(found, type) and issubclass(found, torch.optim.Optimizer)
    return found if is_optimizer else None
