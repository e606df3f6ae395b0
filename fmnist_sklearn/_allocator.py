"""Keep the memory that one training step frees for the next step."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

# Parameters of mallopt, from glibc's malloc.h, and the largest block that glibc takes
# from its heap at all.
_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3
_LARGEST_BLOCK = 32 * 2**20


@contextmanager
def freed_memory_kept() -> Iterator[None]:
    """Let the C library hold on to freed memory for a while, where it is glibc.

    glibc returns large freed blocks to the system, and each training step would get
    them anew, page by page, which takes up to a fifth of its time. Afterwards glibc
    holds on to 64 MiB, as it does by itself once a large block was freed.
    """
    glibc = _glibc()
    if glibc is None:
        yield
        return
    glibc.mallopt(_M_MMAP_THRESHOLD, _LARGEST_BLOCK)
    glibc.mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)
    try:
        yield
    finally:
        glibc.mallopt(_M_TRIM_THRESHOLD, 2 * _LARGEST_BLOCK)


@cache
def _glibc() -> Any:
    """Return the C library of the process, None where it is not glibc."""
    try:
        library = ctypes.CDLL(None)
        library.gnu_get_libc_version  # noqa: B018 - not there in others
    except (AttributeError, OSError, TypeError):  # the last on Windows
        return None
    return library
