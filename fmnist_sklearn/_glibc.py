"""The C library, where it is glibc, and what it does with freed memory."""

from __future__ import annotations

import ctypes
from functools import cache
from typing import Any


@cache
def find_glibc() -> Any:
    """Return the C library of the process, None where it is not glibc."""
    try:
        library = ctypes.CDLL(None)
        library.gnu_get_libc_version  # noqa: B018 - not there in others
    except (AttributeError, OSError, TypeError):  # the last on Windows
        return None
    return library


def trim_memory() -> None:
    """Give freed memory back to the system, that of all threads."""
    glibc = find_glibc()
    if glibc is not None:
        glibc.malloc_trim(0)
