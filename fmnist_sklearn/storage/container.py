"""Arrays and JSON in one checked file.

The file is in the safetensors format, so that reading it runs no code from it. Its
header holds the kind of content, the version of this layout, the JSON, and a SHA-256
over all of the file. The same content gives the same bytes.
"""

from __future__ import annotations

import gc
import hashlib
import json
import math
import os
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from .files import atomic_write, open_regular

_FORMAT = "fmnist_sklearn"
_VERSION = 2
_HEADER_KEYS = ("format", "version", "sha256", "kind", "meta")
_UNSIGNED = "0" * 64  # in the place of the SHA-256 while that is computed

# Parsed, JSON takes up to thirty times the memory of its text.
_MAX_HEADER = 4 * 2**20  # bytes
_MAX_MESSAGE = 400  # characters


class Container(NamedTuple):
    """What a file held, and what is known of it."""

    arrays: dict[str, np.ndarray]  # writable, sorted by name
    meta: dict[str, Any]
    version: int  # of the layout
    sha256: str
    size: int  # bytes


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
        What JSON can hold, at most 4 MiB of it; tuples come back as lists and keys as
        strings.
    kind : str
        What the file is, for instance ``"model"``; asked for again when reading.

    Raises
    ------
    TypeError
        If an array has another dtype, or `meta` holds what JSON cannot.
    ValueError
        If `meta` holds NaN or an infinite number, or is too large.
    OSError
        If the file cannot be written.
    """
    native = {name: _as_native(name, array) for name, array in arrays.items()}
    packed = save(native)
    start = 8 + int.from_bytes(packed[:8], "little")
    header = {
        "format": _FORMAT,
        "version": str(_VERSION),
        "sha256": _UNSIGNED,
        "kind": kind,
        "meta": json.dumps(dict(meta), allow_nan=False, separators=(",", ":")),
    }
    # The library lays the arrays out, but would shuffle our strings.
    layout = {"__metadata__": header, **json.loads(packed[8:start])}
    text = json.dumps(layout, separators=(",", ":")).encode()
    if len(text) > _MAX_HEADER:
        raise ValueError(
            f"{path} would need {len(text):,} bytes for what is not in arrays, which "
            f"may take {_MAX_HEADER:,}"
        )
    text += b" " * (-len(text) % 8)
    content = len(text).to_bytes(8, "little") + text + packed[start:]
    digest = hashlib.sha256(content).hexdigest()
    with atomic_write(path) as file:
        file.write(content.replace(_UNSIGNED.encode(), digest.encode(), 1))


def read_container(
    path: str | os.PathLike[str], *, kind: str
) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Read what `write_container` wrote, and check that it is unchanged.

    Parameters
    ----------
    path, kind
        As for `open_container`.

    Returns
    -------
    arrays : dict of str to ndarray
        Writable arrays that own their memory, sorted by name.
    meta : dict
        The JSON.

    Raises
    ------
    OSError, ValueError
        As `open_container`.
    """
    container = open_container(path, kind=kind)
    return container.arrays, container.meta


def open_container(path: str | os.PathLike[str], *, kind: str) -> Container:
    """Read what `write_container` wrote, with what is known of the file.

    Parameters
    ----------
    path : str or path-like
        The file to read.
    kind : str
        The kind it was written with.

    Returns
    -------
    container : Container
        Its content, unchanged since it was written.

    Raises
    ------
    OSError
        If the file cannot be read, or is not a regular file; ``FileNotFoundError``
        where there is none.
    ValueError
        If it is no such file, truncated, damaged, of another kind, or written by a
        newer version of this package.
    """
    with open_regular(path) as file:
        content = file.read()
    header = _read_header(content)
    if header is None:
        raise ValueError(
            f"{path} is not a file written by fmnist_sklearn, or is truncated or "
            "damaged in its header."
        )
    # A newer version may lay out and check everything else in another way.
    version = int(header["version"])
    if version > _VERSION:
        raise ValueError(
            f"{path} has container version {version}, and this version of "
            f"fmnist_sklearn reads up to {_VERSION}: upgrade fmnist_sklearn."
        )
    try:
        arrays = load(content)
    # KeyError: a dtype that safetensors knows and numpy does not.
    except (SafetensorError, KeyError, ValueError, OverflowError) as error:
        raise ValueError(
            f"{path} is truncated or damaged: {bounded(error)}."
        ) from error
    digest = _digest(content, header) if version > 1 else _digest_1(header, arrays)
    if digest != header["sha256"]:
        raise ValueError(f"{path} is damaged: its checksum does not match.")
    if header["kind"] != kind:
        raise ValueError(
            f"{path} holds a {bounded(header['kind'])!r}, expected a {kind!r}."
        )
    try:
        meta = parse_json(header["meta"], strict=version > 1)
    except ValueError as error:
        raise ValueError(f"{path} holds no sound JSON: {bounded(error)}") from None
    if not isinstance(meta, dict):
        raise ValueError(f"{path} holds a {type(meta).__name__}, expected an object.")
    # safetensors returns views of its own buffers.
    owned = {name: arrays[name].copy() for name in sorted(arrays)}
    return Container(owned, meta, version, digest, len(content))


def bounded(error: object) -> str:
    """Tell an error, or what a file says, in a few lines that are safe to print.

    Parameters
    ----------
    error : object
        What ``str`` makes of it may be of any length, and hold any characters.
    """
    text = str(error)
    if len(text) > _MAX_MESSAGE:
        half = _MAX_MESSAGE // 2
        text = f"{text[:half]} [...] {text[-half:]}"
    return "".join(c if c.isprintable() or c == "\n" else repr(c)[1:-1] for c in text)


def parse_json(text: str | bytes, *, strict: bool = True) -> Any:
    """Parse JSON of a file that nobody vouches for.

    Parameters
    ----------
    text : str or bytes
        The JSON.
    strict : bool, default=True
        Whether to refuse NaN, infinite and overflowing numbers.

    Raises
    ------
    ValueError
        If it is not JSON, names a key twice, or is nested too deeply.
    """

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) != len(pairs):
            raise ValueError("it has a key twice")
        return found

    def constant(name: str) -> float:
        if strict:
            raise ValueError(f"it has {name}, which JSON does not know")
        return float(name)

    def number(digits: str) -> float:
        if strict and not math.isfinite(float(digits)):
            raise ValueError("it has a number that is too large")
        return float(digits)

    # A million lists would have the garbage collector go through all there is, again
    # and again; there can be no garbage yet.
    collects = gc.isenabled()
    gc.disable()
    try:
        if isinstance(text, bytes):  # of UTF-16 and others, json would load the codecs
            text = text.decode("utf-8")
        return json.loads(
            text, object_pairs_hook=unique, parse_constant=constant, parse_float=number
        )
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    finally:
        if collects:
            gc.enable()


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
    if not 0 < length <= min(_MAX_HEADER + 8, len(content) - 8):
        return None
    try:
        # The first version had its numbers checked by the library alone.
        header = parse_json(content[8 : 8 + length])["__metadata__"]
    # UnicodeDecodeError and JSONDecodeError are ValueErrors.
    except (ValueError, KeyError, TypeError):
        return None
    if not (
        isinstance(header, dict)
        and header.keys() == set(_HEADER_KEYS)
        and all(isinstance(value, str) for value in header.values())
        and header["format"] == _FORMAT
        and re.fullmatch("[1-9][0-9]{0,5}", header["version"])
        and re.fullmatch("[0-9a-f]{64}", header["sha256"])
    ):
        return None
    return header


def _digest(content: bytes, header: Mapping[str, str]) -> str:
    """Return the SHA-256 over the file as it was before it held one."""
    at = content.find(header["sha256"].encode())
    if at < 0:  # written with escapes
        return ""
    digest = hashlib.sha256(content[:at])
    digest.update(_UNSIGNED.encode())
    digest.update(memoryview(content)[at + len(_UNSIGNED) :])
    return digest.hexdigest()


def _digest_1(header: Mapping[str, str], arrays: Mapping[str, np.ndarray]) -> str:
    """Return the SHA-256 of the first version: over all that is given back."""
    fields = [header[key] for key in ("format", "version", "kind", "meta")]
    return digest_of(fields, arrays)


def digest_of(fields: list[Any], arrays: Mapping[str, np.ndarray]) -> str:
    """Return the SHA-256 of JSON and arrays as 64 hexadecimal digits.

    Parameters
    ----------
    fields : list
        What ``json`` can write.
    arrays : mapping of str to ndarray
        Of numbers; their names, dtypes and shapes count too.
    """
    names = sorted(arrays)
    layout = [(name, arrays[name].dtype.str, arrays[name].shape) for name in names]
    digest = hashlib.sha256(json.dumps([fields, layout]).encode())
    for name in names:
        digest.update(arrays[name].reshape(-1).view(np.uint8).data)
    return digest.hexdigest()
