"""Atomic writes and locks: what every file we write needs."""

from __future__ import annotations

import errno
import os
import shutil
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, Literal
from uuid import uuid4

from filelock import FileLock

_LOCK_TIMEOUT_S = 600.0


@contextmanager
def atomic_write(
    path: str | os.PathLike[str], mode: Literal["wb", "w"] = "wb"
) -> Iterator[IO[Any]]:
    """Open a file that appears under its name whole, or not at all.

    The content goes to a temporary file in the same folder, which replaces `path`
    when the block ends. Any error, ``KeyboardInterrupt`` included, removes the
    temporary file and leaves what was at `path` as it was. A killed process leaves its
    file, named ``.fmnist_sklearn-....tmp``, behind.

    Parameters
    ----------
    path : str or path-like
        The file to write. A symbolic link is followed, as ``open`` would. A file that
        exists keeps its permissions.
    mode : {"wb", "w"}, default="wb"
        As for ``open``; texts are in UTF-8.

    Yields
    ------
    file : file object
        Open for writing.

    Raises
    ------
    OSError
        If `path` exists and is not a regular file, such as a device, or the file
        cannot be written; it names `path`.
    """
    with _temporary_file(path, mode) as file:
        yield file
        file.flush()
        # Without this, a power cut could leave the new name on an empty file.
        os.fsync(file.fileno())
        if sys.platform == "win32":  # which renames no open file
            file.close()
        os.replace(file.name, os.path.realpath(path))


def check_writable(path: str | os.PathLike[str]) -> None:
    """Check that `atomic_write` could write a file, before the work for it.

    Parameters
    ----------
    path : str or path-like
        The file; it is not touched.

    Raises
    ------
    OSError
        As `atomic_write` would, except for what only the content can cause.
    """
    with _temporary_file(path, "wb"):
        pass


@contextmanager
def _temporary_file(path: str | os.PathLike[str], mode: str) -> Iterator[IO[Any]]:
    """Open a temporary file with the permissions of `path`, and remove it."""
    with suppress(FileNotFoundError):
        check_regular(path)
    target = Path(os.path.realpath(path))
    temporary = str(target.with_name(f".fmnist_sklearn-{uuid4().hex}.tmp"))
    # The permissions are those that the umask gives, where the tempfile module would
    # make it readable by its owner only.
    encoding = None if "b" in mode else "utf-8"
    try:
        with open(temporary, mode.replace("w", "x"), encoding=encoding) as file:
            # Before there is any content, which others may not be allowed to read.
            with suppress(FileNotFoundError):
                shutil.copymode(path, temporary)
            yield file
    except OSError as error:
        # The system reports a full disk without a name, and other errors with the name
        # of the temporary file.
        name = error.filename
        if name == temporary or (name is None and error.errno is not None):
            raise OSError(error.errno, error.strerror, os.fspath(path)) from error
        raise
    finally:
        Path(temporary).unlink(missing_ok=True)


def check_regular(path: str | os.PathLike[str]) -> None:
    """Raise an error for what is neither a file nor a link to one.

    Parameters
    ----------
    path : str or path-like
        What exists under this name is not opened: a FIFO would block.

    Raises
    ------
    OSError
        ``IsADirectoryError`` for a folder.
    """
    mode = os.stat(path).st_mode
    if not stat.S_ISREG(mode):
        number = errno.EISDIR if stat.S_ISDIR(mode) else errno.EINVAL
        raise OSError(number, "is not a regular file", os.fspath(path))


def open_regular(path: str | os.PathLike[str]) -> IO[bytes]:
    """Open a file to read, if it is one; a FIFO or device would never end.

    Parameters
    ----------
    path : str or path-like
        The file, or a link to it.

    Returns
    -------
    file : file object
        Open for reading bytes.

    Raises
    ------
    OSError
        If it is not a regular file, or cannot be read.
    """
    check_regular(path)
    return open(path, "rb")


def file_lock(
    path: str | os.PathLike[str], *, timeout: float = _LOCK_TIMEOUT_S
) -> FileLock:
    """Exclude all other processes and threads from work on `path` in a ``with`` block.

    Parameters
    ----------
    path : str or path-like
        The file or folder to guard. The lock is a file next to it, ``<path>.lock``;
        the folder that holds it is created if missing. A link of that name is
        replaced.
    timeout : float, default=600
        Seconds to wait for the lock.

    Returns
    -------
    lock : filelock.FileLock
        Entering it raises a ``TimeoutError`` if another process still holds it then.
    """
    lock_path = Path(f"{os.fspath(path)}.lock")
    lock_path.parent.mkdir(parents=True, exist_ok=True)
    with suppress(FileNotFoundError):
        status = lock_path.lstat()
        # Locking truncates the file, also the one that a link points to.
        if stat.S_ISLNK(status.st_mode) or status.st_nlink > 1:
            lock_path.unlink()
    return FileLock(lock_path, timeout=timeout)
