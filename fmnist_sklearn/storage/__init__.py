"""Files: written whole or not at all, and read only where their checksum holds."""

from .container import Container, bounded, read_container, write_container
from .files import (
    atomic_write,
    check_regular,
    check_writable,
    file_lock,
    open_regular,
    sha256,
)
from .fit_cache import FitCache, fit_key

__all__ = [
    "Container",
    "FitCache",
    "atomic_write",
    "bounded",
    "check_regular",
    "check_writable",
    "file_lock",
    "fit_key",
    "open_regular",
    "read_container",
    "sha256",
    "write_container",
]
