"""Fits in a folder, each found by a key: a hash of all that its result depends on."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from safetensors import safe_open

from .container import read_container, write_container
from .files import file_lock

_FOLDER = "fmnist_sklearn"  # inside the folder given, as joblib.Memory has "joblib"
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
        Where to store the fits; they lie in a folder ``fmnist_sklearn`` inside it,
        which is created when the first is written.
    max_bytes : int, default=4_000_000_000
        Size of all entries together; where a new one exceeds it, those not used for
        longest are deleted.

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
    max_bytes: int = 4_000_000_000

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
        for path in self._folder.glob("*.fit"):
            with suppress(OSError):  # deleted by another process meanwhile
                status = path.lstat()
                used = datetime.fromtimestamp(status.st_mtime)
                found.append(CachedFit(path, status.st_size, used))
        return sorted(found, key=lambda entry: entry.last_used)

    def describe(self, entry: CachedFit) -> dict[str, Any]:
        """Describe a fit, without reading its arrays.

        Parameters
        ----------
        entry : CachedFit
            One of ``entries()``.

        Returns
        -------
        dict
            "model", the class; "params", those that are not its defaults, as texts;
            "accuracy", on the validation part; "n_rows", of training and validation;
            "n_epochs"; "fit_time", in seconds. Empty for an entry that is deleted,
            damaged or of an earlier version.
        """
        # safetensors raises errors of its own, without a common class.
        with suppress(Exception), safe_open(entry.path, "numpy") as file:
            return json.loads(file.metadata()["meta"])["about"]
        return {}

    def delete(self, entries: Iterable[CachedFit]) -> int:
        """Delete some fits.

        Parameters
        ----------
        entries : iterable of CachedFit
            Some of ``entries()``.

        Returns
        -------
        int
            The number of fits that were deleted.
        """
        return sum(_remove(entry.path) for entry in entries)

    def clear(self) -> int:
        """Delete all fits, and what locks left.

        Fits that are being trained meanwhile are stored when they are finished.

        Returns
        -------
        int
            The number of fits that were deleted.
        """
        n_deleted = self.trim(-1)
        for path in self._folder.glob("*.fit.lock"):
            _remove(path)
        return n_deleted

    def trim(self, max_bytes: int | None = None) -> int:
        """Delete the fits not used for longest, until the others take less space.

        Every fit that is written calls this.

        Parameters
        ----------
        max_bytes : int, default=None
            Size that the others may have; None is that of the constructor.

        Returns
        -------
        int
            The number of fits that were deleted.
        """
        allowed = self.max_bytes if max_bytes is None else max_bytes
        entries = self.entries()
        n_bytes = sum(entry.n_bytes for entry in entries)
        n_deleted = 0
        for path, size, _ in entries:
            if n_bytes <= allowed:
                break
            n_deleted += _remove(path)
            if not os.path.lexists(path):  # another process may have deleted it
                n_bytes -= size
        return n_deleted

    # For estimators -------------------------------------------------------------

    def read(self, key: str) -> tuple[dict[str, np.ndarray], dict[str, Any]] | None:
        """Return the arrays and the JSON of a fit, or None if it cannot be read.

        Parameters
        ----------
        key : str
            Of ``fit_key``.

        Raises
        ------
        ValueError
            If the entry is damaged, or is that of another key.
        """
        path = self._path(key)
        try:
            arrays, meta, *_ = read_container(path, kind="fit")
        except OSError:
            return None
        if meta.pop("key", None) != key:
            raise ValueError(f"{path} holds the fit of another key")
        meta.pop("about", None)
        # A folder may be read-only, and Windows only follows links.
        with suppress(OSError, NotImplementedError):
            os.utime(path, follow_symlinks=False)
        return arrays, meta

    def write(
        self,
        key: str,
        arrays: Mapping[str, np.ndarray],
        meta: Mapping[str, Any],
        about: Mapping[str, Any] | None = None,
    ) -> None:
        """Store the arrays and the JSON of a fit; delete the oldest if necessary.

        A link of that name is replaced; the file that it points to stays as it is.

        Parameters
        ----------
        key : str
            Of ``fit_key``.
        arrays, meta : mapping
            As for ``write_container``.
        about : mapping, default=None
            What ``describe`` returns.

        Raises
        ------
        OSError
            If the folder cannot be written to.
        TypeError
            For what the file cannot hold.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        path = self._path(key)
        if path.is_symlink():
            path.unlink()
        meta = {**meta, "key": key, "about": dict(about or {})}
        write_container(path, arrays, meta, kind="fit")
        self.trim()

    @contextmanager
    def alone_with(self, key: str) -> Iterator[None]:
        """Lock a fit against all other processes and threads.

        The lock of a killed process is free, and that of a suspended one is waited for
        at most an hour. Where the folder takes no locks, such as one that is read-only,
        processes do not wait for each other.
        """
        path = self._path(key)
        with ExitStack() as stack:
            with suppress(OSError, NotImplementedError):
                stack.enter_context(file_lock(path, timeout=_LONGEST_WAIT_S))
                # Removed before it is released: processes that wait for it, or create
                # another one later, find the fit done.
                stack.callback(_remove, path.with_name(f"{path.name}.lock"))
            yield

    @property
    def _folder(self) -> Path:
        return Path(self.path).expanduser() / _FOLDER

    def _path(self, key: str) -> Path:
        return self._folder / f"{key}.fit"


def _remove(path: Path) -> bool:
    """Delete a file, if it is there and not in use; return whether it was deleted."""
    with suppress(OSError):
        path.unlink()
        return True
    return False


def fit_key(description: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> str:
    """Return the key of a fit: a hash of all that its result depends on.

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
