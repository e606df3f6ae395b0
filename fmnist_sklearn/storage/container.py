"""Arrays and JSON in one checked file.

The file is in the safetensors format, so that reading it runs no code from it. Its
header holds the kind of content, the version of this layout, the JSON, and a SHA-256
over all of the file. The same content gives the same bytes.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from typing import Annotated, Any, Literal, NamedTuple

import msgspec
import numpy as np
from msgspec import Meta, Struct
from safetensors.numpy import load, save

from .files import atomic_write, open_regular

VERSION = 2
_UNSIGNED = "0" * 64  # in the place of the SHA-256 while that is computed

# How pickles begin, those of joblib too, which may be compressed.
_PICKLES = (b"\x80\x03", b"\x80\x04", b"\x80\x05", b"x^", b"x\x9c", b"\x1f\x8b")

_MAX_MESSAGE = 400  # characters


class _Header(Struct, forbid_unknown_fields=True):
    """Our strings in the header of a safetensors file, in this order."""

    format: Literal["fmnist_sklearn"]
    version: Annotated[str, Meta(pattern="^[1-9][0-9]{0,5}$")]
    sha256: Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]
    kind: str
    meta: str  # JSON


class _Layout(Struct):
    """The header of a safetensors file: what safetensors reads itself is skipped."""

    metadata: _Header = msgspec.field(name="__metadata__")


class Container(NamedTuple):
    """The content of a file, its checksum and its size."""

    arrays: dict[str, np.ndarray]  # writable, sorted by name
    meta: dict[str, Any]
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
        Of any shape and layout, and of a dtype that safetensors has.
    meta : mapping
        What JSON can hold; tuples are read as lists and keys as strings.
    kind : str
        What the file is, for instance ``"model"``; checked when it is read.

    Raises
    ------
    TypeError
        If `meta` holds what JSON cannot.
    ValueError
        If `meta` holds NaN or an infinite number.
    OSError
        If the file cannot be written.
    """
    # Arrays in another order of memory, such as channels last, are laid out again.
    packed = save({name: np.asarray(a, order="C") for name, a in arrays.items()})
    start = 8 + int.from_bytes(packed[:8], "little")
    text = json.dumps(dict(meta), allow_nan=False, separators=(",", ":"))
    header = _Header("fmnist_sklearn", str(VERSION), _UNSIGNED, kind, text)
    # The library lays the arrays out, but does not keep the order of strings.
    layout = {
        "__metadata__": msgspec.to_builtins(header),
        **json.loads(packed[8:start]),
    }
    packed_header = json.dumps(layout, separators=(",", ":")).encode()
    packed_header += b" " * (-len(packed_header) % 8)  # arrays are aligned
    content = len(packed_header).to_bytes(8, "little") + packed_header + packed[start:]
    digest = hashlib.sha256(content).hexdigest()
    with atomic_write(path) as file:
        file.write(content.replace(_UNSIGNED.encode(), digest.encode(), 1))


def read_container(path: str | os.PathLike[str], *, kind: str) -> Container:
    """Read what `write_container` wrote, and check that it is unchanged.

    Parameters
    ----------
    path : str or path-like
        The file to read.
    kind : str
        The kind it was written with.

    Returns
    -------
    container : Container
        Writable arrays that own their memory, the JSON, and what identifies the file.

    Raises
    ------
    OSError
        If the file cannot be read, or is not a regular file; ``FileNotFoundError``
        where it is missing.
    ValueError
        If it is another kind of file, truncated, damaged, or written by a newer
        version of this package.
    """
    with open_regular(path) as file:
        content = file.read()
    try:
        # 8 bytes of the header's length, then JSON
        length = int.from_bytes(content[:8], "little")
        header = msgspec.json.decode(content[8 : 8 + length], type=_Layout).metadata
    except (msgspec.DecodeError, UnicodeDecodeError):
        if content.startswith(_PICKLES):
            raise ValueError(
                f"{path} is a pickle, which can run any code: open it with joblib.load "
                "if you trust its source, and save the network with save_model."
            ) from None
        raise ValueError(
            f"{path} is not a file written by fmnist_sklearn, or is truncated or "
            "damaged in its header."
        ) from None
    # A newer version may lay out and check everything else in another way.
    if int(header.version) > VERSION:
        raise ValueError(
            f"{path} has container version {header.version}, and this version of "
            f"fmnist_sklearn reads up to {VERSION}: upgrade fmnist_sklearn."
        )
    digest = header.sha256.encode()
    unsigned = content.replace(digest, _UNSIGNED.encode(), 1)
    if hashlib.sha256(unsigned).hexdigest() != header.sha256:
        raise ValueError(
            f"{path} is truncated or damaged: its checksum does not match."
        )
    if header.kind != kind:
        raise ValueError(
            f"{path} holds a {bounded(header.kind)!r}, expected a {kind!r}."
        )
    # A file may have a sound checksum, and a layout or JSON that is not.
    try:
        arrays, meta = load(content), json.loads(header.meta)
    except Exception as error:
        raise ValueError(f"{path} is damaged: {bounded(error)}.") from None
    # safetensors returns views of its own buffers.
    owned = {name: arrays[name].copy() for name in sorted(arrays)}
    return Container(owned, meta, header.sha256, len(content))


def bounded(error: object) -> str:
    """Shorten an error, or a text from a file, to a few lines that are safe to print.

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


def describe_error(path: object, error: BaseException) -> str:
    """Return the message of an error about a file, with the file's name.

    Parameters
    ----------
    path : str or path-like
        The file, which not every message names; "" if there is none.
    error : Exception
        Of an ``OSError`` only the text is shown, not its number.
    """
    text = str(error)
    if isinstance(error, OSError) and error.strerror:
        text = error.strerror
    return text if text.startswith(str(path)) else f"{path}: {bounded(text)}"
