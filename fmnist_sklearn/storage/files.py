"""Atomic writes, hashes and locks: what every file we write needs."""

from __future__ import annotations

import errno
import hashlib
import os
import socket
import stat
import sys
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any
from uuid import uuid4

from filelock import FileLock, Timeout

if sys.platform != "win32":
    import fcntl

# What the files that are not yet whole are called. A writer keeps a lock on its own, so
# that one without a lock belongs to nobody who lives.
_TEMPORARY = ".fmnist_sklearn-", ".tmp"

_LOCK_TIMEOUT = 600.0  # seconds
_SILENT_WAIT = 5.0  # seconds to wait for a lock before a word on it

_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


@contextmanager
def atomic_write(
    path: str | os.PathLike[str], mode: str = "wb", encoding: str | None = None
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
    OSError
        If `path` is there and not a regular file, such as a device, or the file cannot
        be written; it names `path`.
    """
    if mode not in ("wb", "w"):
        raise ValueError(f"mode must be 'wb' or 'w', got {mode!r}.")
    permissions = _permissions(path)
    target = Path(os.path.realpath(path))
    try:
        with _temporary_beside(target) as temporary:
            with open(temporary, mode, encoding=encoding) as file:
                if permissions is not None:
                    temporary.chmod(permissions)
                yield file
                file.flush()
                # Without this, a power cut could leave the new name on an empty file.
                os.fsync(file.fileno())
            os.replace(temporary, target)
    except OSError as error:
        # A full disk, say, is told without a name, and others with that of a file
        # that nobody asked for.
        name = error.filename
        if name is None or Path(name).name.startswith(_TEMPORARY[0]):
            error.filename, error.filename2 = os.fspath(path), None
        raise


def check_writable(path: str | os.PathLike[str]) -> None:
    """Find out whether `atomic_write` could write a file, and leave it as it is.

    Parameters
    ----------
    path : str or path-like
        The file, there or not.

    Raises
    ------
    OSError
        As `atomic_write` does; it names `path`.
    """
    with suppress(_Tried), atomic_write(path):
        raise _Tried


class _Tried(Exception):
    """Ends a write that was only a trial."""


@contextmanager
def _temporary_beside(target: Path) -> Iterator[Path]:
    """Create an empty file, held against `clear_temporaries`, and remove it."""
    clear_temporaries(target.parent)
    start, end = _TEMPORARY
    held = False
    while not held:
        temporary = target.with_name(f"{start}{os.getpid()}-{uuid4().hex}{end}")
        # The permissions are those that the umask gives, where the tempfile module
        # would make it readable by its owner only.
        descriptor = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
        if sys.platform != "win32":
            with suppress(OSError):  # some network drives have no locks
                fcntl.flock(descriptor, fcntl.LOCK_SH)
        # Another writer may have cleared it away before it was held.
        held = os.fstat(descriptor).st_nlink > 0
        if sys.platform == "win32" or not held:
            os.close(descriptor)
    try:
        yield temporary
    finally:
        temporary.unlink(missing_ok=True)
        if sys.platform != "win32":
            os.close(descriptor)


def _permissions(path: str | os.PathLike[str]) -> int | None:
    """Return those of the file that will be replaced; None where there is none."""
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError:
        return None
    check_regular(path, mode)
    return stat.S_IMODE(mode)


def check_regular(path: str | os.PathLike[str], mode: int) -> None:
    """Refuse what is neither a file nor a link to one.

    Parameters
    ----------
    path : str or path-like
        For the message.
    mode : int
        ``st_mode`` of its status.

    Raises
    ------
    OSError
        ``IsADirectoryError`` for a folder.
    """
    if stat.S_ISREG(mode):
        return
    kind = _KINDS.get(stat.S_IFMT(mode), "no file")
    number = errno.EISDIR if stat.S_ISDIR(mode) else errno.EINVAL
    raise OSError(number, f"is {kind}, expected a regular file", os.fspath(path))


@contextmanager
def open_regular(path: str | os.PathLike[str]) -> Iterator[IO[bytes]]:
    """Open a file to read, if it is one; a FIFO or device would never end.

    Parameters
    ----------
    path : str or path-like
        The file, or a link to it.

    Yields
    ------
    file : file object
        Open for reading bytes.

    Raises
    ------
    OSError
        If it is not a regular file, or cannot be read.
    """
    check_regular(path, os.stat(path).st_mode)
    with open(path, "rb") as file:
        check_regular(path, os.fstat(file.fileno()).st_mode)
        yield file


def clear_temporaries(folder: str | os.PathLike[str]) -> None:
    """Remove what writers left in a folder when they were killed.

    Parameters
    ----------
    folder : str or path-like
        Files in the making, which their writers hold, stay.
    """
    start, end = _TEMPORARY
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith(start) and entry.name.endswith(end):
                with suppress(OSError):
                    _remove_unless_held(entry.path)


def _remove_unless_held(path: str) -> None:
    if sys.platform == "win32":  # which keeps open files from being removed
        os.unlink(path)
        return
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.unlink(path)
    finally:
        os.close(descriptor)


def sha256(content: bytes) -> str:
    """Return the SHA-256 of `content` as 64 hexadecimal digits."""
    return hashlib.sha256(content).hexdigest()


@contextmanager
def file_lock(
    path: str | os.PathLike[str], *, timeout: float = _LOCK_TIMEOUT
) -> Iterator[None]:
    """Exclude all other processes and threads from work on `path`.

    Parameters
    ----------
    path : str or path-like
        The file or folder to guard. The lock is a file beside it, ``<path>.lock``;
        the folder that holds it is created if missing.
    timeout : float, default=600.0
        Seconds to wait for the lock.

    Raises
    ------
    TimeoutError
        If another process has held it for so long; it says which.

    Warns
    -----
    UserWarning
        After five seconds of waiting; it says for whom.
    """
    lock_path = Path(f"{os.fspath(path)}.lock")
    lock_path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(lock_path)
    try:
        lock.acquire(timeout=min(timeout, _SILENT_WAIT))
    except Timeout:
        _wait_longer(lock, lock_path, timeout - _SILENT_WAIT)
    try:
        with suppress(OSError):  # a courtesy to those who wait
            holder = f"process {os.getpid()} on {socket.gethostname()}"
            lock_path.write_text(f"{holder}, since {time.ctime()}", encoding="utf-8")
        yield
    finally:
        lock.release()


def _wait_longer(lock: Any, lock_path: Path, timeout: float) -> None:
    waited_for = f"{lock_path} is held by {_holder(lock_path)}"
    try:
        if timeout > 0:
            warnings.warn(f"{waited_for}; waiting for it.", stacklevel=4)
        lock.acquire(timeout=max(timeout, 0))
    except Timeout:
        raise TimeoutError(
            errno.ETIMEDOUT,
            f"held by {_holder(lock_path)}, which does not let go; if it hangs or is "
            "stopped, end it and try again",
            str(lock_path),
        ) from None


def _holder(lock_path: Path) -> str:
    """Read who has a lock, as far as that is known."""
    with suppress(OSError, ValueError), open_regular(lock_path) as file:
        text = file.read(200).decode()
        if text.isprintable() and text:
            return text
    return "another process"
