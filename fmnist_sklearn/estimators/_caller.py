"""Warnings that point at the user's own line, however deep in a fit they arise."""

from __future__ import annotations

import sys
import warnings
from types import FrameType
from weakref import WeakSet

from joblib import Parallel

# What lies between a fit and the line that asked for it, a search's too.
_BETWEEN = {__name__.partition(".")[0], "contextlib", "joblib", "sklearn"}
# Where the way outwards ends, in processes and threads that others started.
_WORKERS = {"concurrent", "distributed", "multiprocessing", "threading"}

_told_in: WeakSet[Parallel] = WeakSet()


def warn_user(
    message: str, category: type[Warning] = UserWarning, *, once: bool = False
) -> None:
    """Warn, as from the line that called the package or the search around it.

    Parameters
    ----------
    message : str
        What to say.
    category : type of Warning, default=UserWarning
        Its class.
    once : bool, default=False
        Whether one warning is enough for all fits of a search or a cross-validation.
        The fits of a search in other processes and threads then say nothing; the last
        one, of the best candidate, is made where the search is.
    """
    frame, level = sys._getframe(), 1
    of_search, run = False, None
    while frame.f_back and _package(frame) in _BETWEEN:
        names = frame.f_locals
        of_search |= bool(names.get("candidate_progress"))
        # Each call of a search or a cross-validation makes a Parallel of its own.
        for name in ("parallel", "self"):
            run = names[name] if isinstance(names.get(name), Parallel) else run
        frame, level = frame.f_back, level + 1
    if once:
        if of_search and _package(frame) in _WORKERS:
            return
        if run is not None:
            if run in _told_in:
                return
            _told_in.add(run)
    warnings.warn(message, category, stacklevel=level)


def _package(frame: FrameType) -> str:
    return frame.f_globals.get("__name__", "").partition(".")[0]
