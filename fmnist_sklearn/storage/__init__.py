"""Files: written whole or not at all, and read only where their checksum holds."""

from .container import Container, bounded, read_container, write_container
from .files import (
    atomic_write,
    check_regular,
    check_writable,
    open_regular,
)
from .fit_cache import FitCache, fit_key

__all__ = [
    "Container",
    "FitCache",
    "atomic_write",
    "bounded",
    "check_regular",
    "check_writable",
    "fit_key",
    "open_regular",
    "read_container",
    "write_container",
]
