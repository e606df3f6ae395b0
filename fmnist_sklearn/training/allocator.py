"""Keep the memory that one batch frees for the next."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from fmnist_sklearn._glibc import find_glibc

# Parameters of mallopt, from glibc's malloc.h, and the largest block that glibc takes
# from its heap at all.
_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3
_LARGEST_BLOCK = 32 * 2**20


_lock = threading.Lock()
_n_entered = 0


@contextmanager
def freed_memory_kept() -> Iterator[None]:
    """Let the C library hold on to freed memory for a while, where it is glibc.

    glibc returns large freed blocks to the system, and each batch would get them anew,
    page by page, which takes up to a fifth of a training's time and half of a
    prediction's. After the last of those who asked for it, in whatever thread, glibc
    holds on to 64 MiB, as it does by itself once a large block was freed.
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
