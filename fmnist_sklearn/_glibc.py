"""The C library, where it is glibc, and when it returns freed memory to the system."""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

# Parameters of mallopt, from glibc's malloc.h, and the largest block that glibc takes
# from its heap at all.
_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3
_LARGEST_BLOCK = 32 * 2**20

_lock = threading.Lock()
_n_entered = 0


@cache
def find_glibc() -> Any:
    """Return the C library of the process, None where it is not glibc."""
    try:
        library = ctypes.CDLL(None)
        library.gnu_get_libc_version  # noqa: B018 - missing in other libraries
    except (AttributeError, OSError, TypeError):  # the last on Windows
        return None
    return library


def trim_memory() -> None:
    """Return freed memory to the system, that of all threads."""
    glibc = find_glibc()
    if glibc is not None:
        glibc.malloc_trim(0)


@contextmanager
def freed_memory_kept() -> Iterator[None]:
    """Have the C library keep freed memory for the next batch, where it is glibc.

    glibc returns large freed blocks to the system, and each batch would fetch them
    again, page by page, which takes up to a fifth of a training's time and half of a
    prediction's. When the last block of code under this context ends, in any thread,
    glibc keeps 64 MiB, as it does by itself once a large block was freed.
    """
    glibc = find_glibc()
    if glibc is None:
        yield
        return
    global _n_entered
    with _lock:
        _n_entered += 1
        glibc.mallopt(_M_MMAP_THRESHOLD, _LARGEST_BLOCK)
        glibc.mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)
    try:
        yield
    finally:
        with _lock:
            _n_entered -= 1
            if _n_entered == 0:
                glibc.mallopt(_M_TRIM_THRESHOLD, 2 * _LARGEST_BLOCK)
