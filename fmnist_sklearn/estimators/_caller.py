"""Warnings that point at the user's own line, however deep in a fit they arise."""

from __future__ import annotations

import sys
import warnings

_PACKAGE = __name__.partition(".")[0]
_AROUND_FIT = (_PACKAGE, "contextlib", "sklearn.callback")  # which wraps fit


def warn_user(message: str, category: type[Warning] = UserWarning) -> None:
    """Warn, as from the line that called the package."""
    frame, level = sys._getframe(), 1
    while frame.f_back and frame.f_globals["__name__"].startswith(_AROUND_FIT):
        frame, level = frame.f_back, level + 1
    warnings.warn(message, category, stacklevel=level)
