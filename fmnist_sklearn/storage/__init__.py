"""Files: written whole or not at all, and read only where their checksum holds."""

from .container import read_container, write_container
from .files import atomic_write, file_lock, sha256

__all__ = ["atomic_write", "file_lock", "read_container", "sha256", "write_container"]
