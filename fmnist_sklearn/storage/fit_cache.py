"""Fits kept in a folder, each found again by a key of all that went into it."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from .container import read_container, write_container
from .files import clear_temporaries, file_lock

_KIND = "fit"
_FOLDER = "fmnist_sklearn"  # inside the folder given, as joblib.Memory has "joblib"
_DEFAULT_MAX_BYTES = 4_000_000_000
_LONGEST_WAIT_S = 3600.0


class CachedFit(NamedTuple):
    """An entry of a ``FitCache``."""

    path: Path
    n_bytes: int
    last_used: datetime  # written, or read for a fit


@dataclass(frozen=True)
class FitCache:
    """The folder that the parameter ``memory`` of an estimator names.

    Entries are files with a checksum and without a pickle. Several processes, on
    several machines too, may use a folder at once.

    Parameters
    ----------
    path : str or path-like
        Where to keep the fits; they lie in a folder ``fmnist_sklearn`` inside it, which
        is made when the first is written.
    max_bytes : int, default=4_000_000_000
        Size of all entries together; where a new one exceeds it, those not used for
        longest are dropped.

    Examples
    --------
    >>> import tempfile
    >>> from fmnist_sklearn import FitCache, LeNet5Classifier, load_fashion_mnist_sample
    >>> X, y = load_fashion_mnist_sample(return_X_y=True)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     net = LeNet5Classifier(
    ...         max_epochs=1, patience=None, random_state=0, memory=folder
    ...     )
    ...     first = net.fit(X[:300], y[:300]).fit_time_
    ...     second = net.fit(X[:300], y[:300]).fit_time_  # the same: it was read
    ...     cache = FitCache(folder)
    ...     print(len(cache.entries()), first == second, cache.clear())
    1 True 1
    """

    path: str | os.PathLike[str]
    max_bytes: int = _DEFAULT_MAX_BYTES

    def __post_init__(self) -> None:
        """Check the size."""
        if not self.max_bytes > 0:
            raise ValueError(f"max_bytes must be above 0, got {self.max_bytes!r}")

    # For users ------------------------------------------------------------------

    def entries(self) -> list[CachedFit]:
        """List the fits in the folder, the one not used for longest first.

        Returns
        -------
        list of CachedFit
            Named tuples of ``path``, ``n_bytes`` and ``last_used``, a local time.
        """
        found = []
        for path in self._files(f"*.{_KIND}"):
            with suppress(OSError):  # dropped by another process meanwhile
                status = path.stat()
                used = datetime.fromtimestamp(status.st_mtime)
                found.append(CachedFit(path, status.st_size, used))
        return sorted(found, key=lambda entry: entry.last_used)

    def clear(self) -> int:
        """Delete all fits, and what locks and broken-off writes left.

        Fits that are being trained meanwhile are kept when they are done.

        Returns
        -------
        int
            How many fits there were.
        """
        entries = self.entries()
        locks = self._files(f"*.{_KIND}.lock")
        for path in (*(entry.path for entry in entries), *locks):
            _remove(path)
        clear_temporaries(self._folder)
        return len(entries)

    def trim(self, max_bytes: int | None = None) -> int:
        """Delete those fits not used for longest, until the others take less room.

        Every fit that is added does so.

        Parameters
        ----------
        max_bytes : int, default=None
            Size that may be left; None is that of the constructor.

        Returns
        -------
        int
            How many were deleted.
        """
        allowed = self.max_bytes if max_bytes is None else max_bytes
        entries = self.entries()
        n_bytes = sum(entry.n_bytes for entry in entries)
        n_deleted = 0
        for entry in entries:
            if n_bytes <= allowed:
                break
            _remove(entry.path)
            n_bytes -= entry.n_bytes
            n_deleted += 1
        return n_deleted

    # For estimators -------------------------------------------------------------

    def read(self, key: str) -> tuple[dict[str, np.ndarray], dict[str, Any]] | None:
        """Return the arrays and the JSON of a fit, or None if there is none to read.

        Parameters
        ----------
        key : str
            Of ``fit_key``.

        Raises
        ------
        ValueError
            If the entry is damaged, or that of another fit.
        """
        path = self._path(key)
        try:
            arrays, meta, *_ = read_container(path, kind=_KIND)
        except OSError:
            return None
        if meta.pop("key", None) != key:
            raise ValueError(f"{path} holds a fit of another key.")
        with suppress(OSError):  # a folder that may only be read
            os.utime(path)
        return arrays, meta

    def write(
        self, key: str, arrays: Mapping[str, np.ndarray], meta: Mapping[str, Any]
    ) -> None:
        """Keep the arrays and the JSON of a fit, and drop the oldest if need be.

        Parameters
        ----------
        key : str
            Of ``fit_key``.
        arrays, meta : mapping
            As for ``write_container``.

        Raises
        ------
        OSError
            If the folder cannot be written to.
        TypeError
            For what the file cannot hold.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        write_container(self._path(key), arrays, {**meta, "key": key}, kind=_KIND)
        self.trim()

    @contextmanager
    def alone_with(self, key: str) -> Iterator[None]:
        """Wait until no other process or thread is at a fit, and keep others waiting.

        The lock of a process that was killed is free, and one that was stopped is not
        waited for for ever. Where the folder takes no locks, as when it may only be
        read, nobody waits.
        """
        path = self._path(key)
        with ExitStack() as stack:
            with suppress(OSError, NotImplementedError):
                stack.enter_context(file_lock(path, timeout=_LONGEST_WAIT_S))
                # Before the release. Whoever waits for it finds the fit done, and so
                # does who comes later and makes a new one.
                stack.callback(_remove, path.with_name(f"{path.name}.lock"))
            yield

    @property
    def _folder(self) -> Path:
        return Path(self.path).expanduser() / _FOLDER

    def _path(self, key: str) -> Path:
        return self._folder / f"{key}.{_KIND}"

    def _files(self, pattern: str) -> list[Path]:
        return list(self._folder.glob(pattern))


def _remove(path: Path) -> None:
    """Delete a file, if it is there and not in use."""
    with suppress(OSError):
        path.unlink()


def fit_key(description: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> str:
    """Return the key of a fit: a hash of all that went into it.

    Parameters
    ----------
    description : mapping
        What JSON can hold; the order of the keys does not matter at the top.
    arrays : mapping of str to ndarray
        Of numbers.

    Returns
    -------
    str
        64 hexadecimal digits.
    """
    names = sorted(arrays)
    layout = [(name, arrays[name].dtype.str, arrays[name].shape) for name in names]
    text = json.dumps([sorted(description.items()), layout])
    digest = hashlib.sha256(text.encode())
    for name in names:
        digest.update(arrays[name].reshape(-1).view(np.uint8).data)
    return digest.hexdigest()
