"""Atomic writes and locks: what every file we write needs."""

from __future__ import annotations

import errno
import os
import shutil
import socket
import stat
import sys
import time
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import IO, Any, Literal
from uuid import uuid4

from filelock import FileLock, Timeout

if sys.platform != "win32":
    import fcntl

# How files are named that are not yet whole. A writer keeps a lock on its own: one
# without a lock was left by a process that was killed.
_TEMPORARY = ".fmnist_sklearn-", ".tmp"

_LOCK_TIMEOUT = 600.0  # seconds
_SILENT_WAIT = 5.0  # seconds to wait for a lock before a warning


@contextmanager
def atomic_write(
    path: str | os.PathLike[str], mode: Literal["wb", "w"] = "wb"
) -> Iterator[IO[Any]]:
    """Open a file that appears under its name whole, or not at all.

    The content goes to a temporary file in the same folder, which replaces `path`
    when the block ends. Any error, ``KeyboardInterrupt`` included, removes the
    temporary file and leaves what was at `path` as it was. What a killed process left
    behind is removed by the next write in that folder.

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
    clear_temporaries(target.parent)
    try:
        file = _open_locked(target, mode)
        try:
            # Before there is any content, which others may not be allowed to read.
            with suppress(FileNotFoundError):
                shutil.copymode(path, file.name)
            yield file
        finally:
            with suppress(OSError):  # what a full disk did not take is written again
                file.close()
            Path(file.name).unlink(missing_ok=True)
    except OSError as error:
        # The system reports a full disk without a name, and other errors with the name
        # of the temporary file.
        name = error.filename
        of_ours = name is not None and Path(name).name.startswith(_TEMPORARY[0])
        if of_ours or (name is None and error.errno is not None):
            raise OSError(error.errno, error.strerror, os.fspath(path)) from error
        raise


def _open_locked(target: Path, mode: str) -> IO[Any]:
    """Create a file next to `target`, locked against `clear_temporaries`."""
    start, end = _TEMPORARY
    encoding = None if "b" in mode else "utf-8"
    while True:
        temporary = target.with_name(f"{start}{os.getpid()}-{uuid4().hex}{end}")
        # The permissions are those that the umask gives, where the tempfile module
        # would make it readable by its owner only.
        file = open(  # noqa: SIM115 - closed by the caller
            temporary, mode.replace("w", "x"), encoding=encoding
        )
        if sys.platform != "win32":
            with suppress(OSError):  # some network drives have no locks
                fcntl.flock(file, fcntl.LOCK_SH)
        # Another writer may have cleared it away before it was locked.
        if os.fstat(file.fileno()).st_nlink > 0:
            return file
        file.close()


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


def clear_temporaries(folder: str | os.PathLike[str]) -> None:
    """Remove what writers left in a folder when they were killed.

    Parameters
    ----------
    folder : str or path-like
        Files that are being written stay: their writers keep a lock on them.
    """
    start, end = _TEMPORARY
    for path in Path(folder).glob(f"{start}*{end}"):
        with suppress(OSError), ExitStack() as stack:
            if sys.platform != "win32":  # which keeps open files from being removed
                file = stack.enter_context(open_regular(path))
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.unlink()


@contextmanager
def file_lock(
    path: str | os.PathLike[str], *, timeout: float | None = None
) -> Iterator[None]:
    """Exclude all other processes and threads from work on `path`.

    Parameters
    ----------
    path : str or path-like
        The file or folder to guard. The lock is a file next to it, ``<path>.lock``;
        the folder that holds it is created if missing. A link of that name is
        replaced.
    timeout : float or None, default=None
        Seconds to wait for the lock; None is ten minutes.

    Raises
    ------
    TimeoutError
        If another process still holds it then; the message names the process.

    Warns
    -----
    UserWarning
        After five seconds of waiting; it names the process that is waited for.
    """
    timeout = _LOCK_TIMEOUT if timeout is None else timeout
    lock_path = Path(f"{os.fspath(path)}.lock")
    lock_path.parent.mkdir(parents=True, exist_ok=True)
    with suppress(FileNotFoundError):
        status = lock_path.lstat()
        # Locking truncates the file, also the one that a link points to.
        if stat.S_ISLNK(status.st_mode) or status.st_nlink > 1:
            lock_path.unlink()
    lock = FileLock(lock_path)
    try:
        try:
            lock.acquire(timeout=min(timeout, _SILENT_WAIT))
        except Timeout:
            if timeout > _SILENT_WAIT:
                warnings.warn(
                    f"waiting for {lock_path}, locked by {_holder(lock_path)}",
                    stacklevel=3,
                )
            lock.acquire(timeout=max(timeout - _SILENT_WAIT, 0))
    except Timeout:
        raise TimeoutError(
            errno.ETIMEDOUT,
            f"timed out waiting for the lock held by {_holder(lock_path)}; if it "
            "hangs, kill it and retry",
            str(lock_path),
        ) from None
    try:
        with suppress(OSError):  # for the messages of those that wait
            holder = f"process {os.getpid()} on {socket.gethostname()}"
            lock_path.write_text(f"{holder}, since {time.ctime()}", encoding="utf-8")
        yield
    finally:
        lock.release()


def _holder(lock_path: Path) -> str:
    """Read which process holds a lock, as far as that is known."""
    with suppress(OSError, ValueError):  # a network drive may not show its content
        return lock_path.read_text(encoding="utf-8") or "another process"
    return "another process"
