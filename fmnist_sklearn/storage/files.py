"""Atomic writes, hashes and locks: what every file we write needs."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any
from uuid import uuid4

from filelock import BaseFileLock, FileLock


@contextmanager
def atomic_write(
    path: str | os.PathLike[str], mode: str = "wb", encoding: str | None = None
) -> Iterator[IO[Any]]:
    """Open a file that appears under its name whole, or not at all.

    The content goes to a temporary file in the same folder, which replaces `path`
    when the block ends. Any error, ``KeyboardInterrupt`` included, removes the
    temporary file and leaves what was at `path` as it was.

    Parameters
    ----------
    path : str or path-like
        The file to write. A symbolic link is followed, as ``open`` would.
    mode : {"wb", "w"}, default="wb"
        As for ``open``.
    encoding : str, default=None
        As for ``open``; for ``mode="w"``.

    Yields
    ------
    file : file object
        Open for writing.

    Raises
    ------
    ValueError
        If `mode` is neither "wb" nor "w".
    """
    if mode not in ("wb", "w"):
        raise ValueError(f"mode must be 'wb' or 'w', got {mode!r}.")
    target = Path(path).resolve()
    temporary = target.with_name(f".{uuid4().hex}.tmp")
    try:
        # Mode "x" creates the file with the permissions that the umask gives, where
        # the tempfile module would make it readable by its owner only.
        with open(temporary, mode.replace("w", "x"), encoding=encoding) as file:
            yield file
            file.flush()
            # Without this, a power cut could leave the new name on an empty file.
            os.fsync(file.fileno())
        os.replace(temporary, target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def sha256(content: bytes) -> str:
    """Return the SHA-256 of `content` as 64 hexadecimal digits."""
    return hashlib.sha256(content).hexdigest()


def file_lock(path: str | os.PathLike[str]) -> BaseFileLock:
    """Return a lock, shared by all processes and threads, for work on `path`.

    Parameters
    ----------
    path : str or path-like
        The file or folder to guard. The lock is a file beside it, ``<path>.lock``;
        the folder that holds it is created if missing.

    Returns
    -------
    lock : filelock.BaseFileLock
        To be used in a ``with`` statement, which waits until the lock is free.
    """
    lock_path = Path(f"{os.fspath(path)}.lock")
    lock_path.parent.mkdir(parents=True, exist_ok=True)
    return FileLock(lock_path)
