"""Arrays and JSON in one checked file.

The file is in the safetensors format, so that reading it runs no code from it. Its
header holds the kind of content, the version of this layout, the JSON, and a SHA-256
over all of these and the arrays.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from .files import atomic_write

_FORMAT = "fmnist_sklearn"
_VERSION = 1
_HEADER_KEYS = ("format", "version", "kind", "meta", "sha256")


def write_container(
    path: str | os.PathLike[str],
    arrays: Mapping[str, np.ndarray],
    meta: Mapping[str, Any],
    *,
    kind: str,
) -> None:
    """Write arrays and JSON to one file, atomically.

    Parameters
    ----------
    path : str or path-like
        The file to write; one that exists is replaced.
    arrays : mapping of str to ndarray
        Arrays of bool, integers or floats of at most 64 bits, of any shape and layout.
    meta : mapping
        What ``json`` can write. NaN and infinite floats are kept (as Python's own
        ``NaN`` and ``Infinity``); tuples come back as lists and keys as strings.
    kind : str
        What the file is, for instance ``"model"``; asked for again when reading.

    Raises
    ------
    TypeError
        If an array has another dtype, or `meta` holds what JSON cannot.
    """
    native = {name: _as_native(name, array) for name, array in arrays.items()}
    header = {
        "format": _FORMAT,
        "version": str(_VERSION),
        "kind": kind,
        "meta": json.dumps(dict(meta)),
    }
    header["sha256"] = _digest(header, native)
    with atomic_write(path) as file:
        file.write(save(native, metadata=header))


def read_container(
    path: str | os.PathLike[str], *, kind: str
) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Read what `write_container` wrote, and check that it is unchanged.

    Parameters
    ----------
    path : str or path-like
        The file to read.
    kind : str
        The kind it was written with.

    Returns
    -------
    arrays : dict of str to ndarray
        Writable arrays that own their memory, sorted by name.
    meta : dict
        The JSON.

    Raises
    ------
    OSError
        If the file cannot be read; ``FileNotFoundError`` where there is none.
    ValueError
        If it is no such file, truncated, damaged, of another kind, or written by a
        newer version of this package.
    """
    content = Path(path).read_bytes()
    header = _read_header(content)
    if header is None:
        raise ValueError(
            f"{path} is not a file written by fmnist_sklearn, or is truncated or "
            "damaged in its header."
        )
    # A newer version may lay out and check everything else in another way.
    if int(header["version"]) > _VERSION:
        raise ValueError(
            f"{path} has container version {header['version']}, and this version of "
            f"fmnist_sklearn reads up to {_VERSION}: upgrade fmnist_sklearn."
        )
    if header["kind"] != kind:
        raise ValueError(f"{path} holds a {header['kind']!r}, expected a {kind!r}.")
    try:
        arrays = load(content)
    # KeyError: a dtype that safetensors knows and numpy does not.
    except (SafetensorError, KeyError) as error:
        raise ValueError(f"{path} is truncated or damaged: {error}.") from error
    if _digest(header, arrays) != header["sha256"]:
        raise ValueError(f"{path} is damaged: its checksum does not match.")
    # safetensors returns views of its own buffers.
    owned = {name: arrays[name].copy() for name in sorted(arrays)}
    return owned, json.loads(header["meta"])


def _as_native(name: str, array: np.ndarray) -> np.ndarray:
    """Return a C-contiguous array in this machine's byte order."""
    array = np.asarray(array)
    if array.dtype.kind not in "biuf" or array.dtype.itemsize > 8:
        raise TypeError(
            f"Array {name!r} has dtype {array.dtype}, expected bool, integers or "
            "floats of at most 64 bits."
        )
    # Not np.ascontiguousarray, which makes 0-d arrays 1-d.
    return np.asarray(array, dtype=array.dtype.newbyteorder("="), order="C")


def _read_header(content: bytes) -> dict[str, str] | None:
    """Return our strings from the header, or None if they are not all there.

    A safetensors file begins with 8 bytes of length and a header of JSON.
    """
    length = int.from_bytes(content[:8], "little")
    try:
        strings = json.loads(content[8 : 8 + length])["__metadata__"]
        header = {key: strings[key] for key in _HEADER_KEYS}
        int(header["version"])
    # UnicodeDecodeError and JSONDecodeError are ValueErrors.
    except (ValueError, KeyError, TypeError):
        return None
    return header if header["format"] == _FORMAT else None


def _digest(header: Mapping[str, str], arrays: Mapping[str, np.ndarray]) -> str:
    """Return the SHA-256 over everything that `read_container` gives back."""
    return digest([header[key] for key in _HEADER_KEYS if key != "sha256"], arrays)


def digest(fields: Any, arrays: Mapping[str, np.ndarray]) -> str:
    """Return the SHA-256 of JSON and arrays as 64 hexadecimal digits.

    Parameters
    ----------
    fields : list
        What ``json`` can write.
    arrays : mapping of str to ndarray
        Of numbers; names, dtypes and shapes count too.
    """
    names = sorted(arrays)
    layout = [(name, arrays[name].dtype.str, arrays[name].shape) for name in names]
    result = hashlib.sha256(json.dumps([fields, layout]).encode())
    for name in names:
        result.update(arrays[name].reshape(-1).view(np.uint8).data)
    return result.hexdigest()
