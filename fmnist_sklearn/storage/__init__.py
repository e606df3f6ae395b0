"""Files: written whole or not at all, and read only where their checksum holds."""

from .container import Container as Container
from .container import bounded as bounded
from .container import describe_error as describe_error
from .container import read_container as read_container
from .container import write_container as write_container
from .files import atomic_write as atomic_write
from .files import check_regular as check_regular
from .files import check_writable as check_writable
from .files import open_regular as open_regular
from .fit_cache import FitCache as FitCache
from .fit_cache import fit_key as fit_key
