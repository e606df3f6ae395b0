"""The files of Fashion-MNIST, found on this machine or downloaded, and verified.

``sklearn.datasets.fetch_file`` has no timeout, and neither it nor pooch limits the size
of an answer.
"""

from __future__ import annotations

import gzip
import hashlib
import os
import time
import zlib
from collections.abc import Sequence
from contextlib import suppress
from http.client import HTTPException
from io import BufferedIOBase, BytesIO
from pathlib import Path
from urllib.request import urlopen

from .._sklearn import warn_user
from ..storage.files import atomic_write, file_lock

# SHA-256 and name of each file, images before labels. Hashes are of the decompressed
# files, which do not depend on the compressor.
_CHECKSUMS = """\
c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888 train-images-idx3-ubyte
bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9 train-labels-idx1-ubyte
5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b t10k-images-idx3-ubyte
0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34 t10k-labels-idx1-ubyte
"""
FILES = {name: digest for digest, name in map(str.split, _CHECKSUMS.splitlines())}
MAX_BYTES = 48_000_000  # of a file, compressed or not; the largest has 47,040,016

# Folders of URLs, each holding <name>.gz. The second has no https; the checksums make
# that safe.
MIRRORS = (
    "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion",
    "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com",
)
TIMEOUT_S = 30.0  # without a byte from the network

# Where the Debian and Ubuntu package dataset-fashion-mnist installs the files.
SYSTEM_FOLDER = Path("/usr/share/datasets/fashion-mnist")

# Raised by a gzip stream that is cut short or damaged.
_GZIP_ERRORS = (EOFError, gzip.BadGzipFile, zlib.error)


# Local files ------------------------------------------------------------------------


def fashion_mnist_source(
    data_home: str | os.PathLike[str] | None = None,
) -> str | None:
    """Return where the full data is on this machine, without opening it.

    Parameters
    ----------
    data_home : str or path-like, default=None
        As for :func:`fetch_fashion_mnist`.

    Returns
    -------
    folder : str or None
        The folder that :func:`fetch_fashion_mnist` would read all four files from;
        None if it would have to download any.
    """
    for folder in _local_folders(data_home):
        if all(_find(folder, name) for name in FILES):
            return str(folder)
    return None


def read_files(
    wanted: Sequence[str],
    data_home: str | os.PathLike[str] | None,
    download_if_missing: bool,
    n_retries: int,
    delay: float,
) -> tuple[list[bytes], str]:
    """Read files from the first folder that has them all, or download them.

    Parameters
    ----------
    wanted : sequence of str
        The names of the files to read.
    data_home, download_if_missing, n_retries, delay
        As for ``fetch_fashion_mnist``.

    Returns
    -------
    contents : list of bytes
        The verified, decompressed content of each file.
    source : str
        The folder they were read from, or the mirror they were downloaded from.
    """
    cache, *others = _local_folders(data_home)
    failures: list[str] = []
    for folder in (cache, *others):
        try:
            contents = [_read_file(folder, name, folder == cache) for name in wanted]
        except OSError as error:  # all folders hold the same bytes: try the next one
            failures.append(str(error))
        except ValueError as error:
            if folder != SYSTEM_FOLDER and folder != cache:
                raise  # the user named this folder
            warn_user(f"{error} Looking for another copy.")
            failures.append(str(error))
        else:
            return contents, str(folder)
    if not download_if_missing:
        raise OSError(
            "Data not found and `download_if_missing` is False. " + _advice(failures)
        )
    return _download(wanted, cache, failures, n_retries, delay)


def _local_folders(data_home: str | os.PathLike[str] | None) -> list[Path]:
    """Return the cache, the folder named by the environment, and that of the system."""
    # Not sklearn.datasets.get_data_home, which creates the folder: users who have the
    # data elsewhere may have no writable home.
    if data_home is None:
        data_home = os.environ.get("SCIKIT_LEARN_DATA", "~/scikit_learn_data")
    folders = [Path(data_home).expanduser() / "fashion_mnist"]
    if named := os.environ.get("FASHION_MNIST_DIR"):
        folders.append(Path(named).expanduser())
    return [*folders, SYSTEM_FOLDER]


def _find(folder: Path, name: str) -> Path | None:
    candidates = (folder / name, folder / f"{name}.gz")
    return next(filter(os.path.isfile, candidates), None)


def _read_file(folder: Path, name: str, is_cache: bool) -> bytes:
    """Read and verify a file; from the cache, a damaged one is removed."""
    path = _find(folder, name)
    if path is None:
        raise FileNotFoundError(f"{folder} has no {name} or {name}.gz.")
    try:
        with gzip.open(path) if path.suffix == ".gz" else open(path, "rb") as stream:
            return _read_verified(stream, name)
    except (ValueError, *_GZIP_ERRORS) as error:
        if is_cache:
            with suppress(OSError):  # the folder may be read-only
                path.unlink()
        raise ValueError(
            f"{path} is damaged or not Fashion-MNIST's {name}: {error}."
        ) from error


def _read_verified(stream: BufferedIOBase, name: str) -> bytes:
    content = stream.read(MAX_BYTES)  # a small file could unpack to something huge
    if (digest := hashlib.sha256(content).hexdigest()) != FILES[name]:
        raise ValueError(f"its SHA-256 is {digest}, expected {FILES[name]}")
    return content


def _advice(failures: list[str]) -> str:
    attempts = "\n".join(f"- {line}" for line in dict.fromkeys(failures))
    return (
        f"Tried:\n{attempts}\n"
        "To get the data, install the Debian or Ubuntu package dataset-fashion-mnist, "
        "or set the environment variable FASHION_MNIST_DIR to a folder that holds the "
        "four files of https://github.com/zalandoresearch/fashion-mnist. "
        "load_fashion_mnist_sample needs neither: it loads a bundled sample."
    )


# Download ---------------------------------------------------------------------------


def _download(
    wanted: Sequence[str],
    cache: Path,
    failures: list[str],
    n_retries: int,
    delay: float,
) -> tuple[list[bytes], str]:
    """Download what the cache lacks; return the contents and where they came from."""
    contents = []
    source = str(cache)
    with file_lock(cache):
        cache.mkdir(exist_ok=True)
        for name in wanted:
            try:  # another process may have downloaded it before this one
                content = _read_file(cache, name, True)
            except (OSError, ValueError):
                content, source = _download_file(name, failures, n_retries, delay)
                with atomic_write(cache / name) as target:
                    target.write(content)
            contents.append(content)
    return contents, source


def _download_file(
    name: str, failures: list[str], n_retries: int, delay: float
) -> tuple[bytes, str]:
    """Return the verified content and its mirror; nothing is written."""
    for attempt in range(n_retries + 1):
        if attempt > 0:
            warn_user(f"Retrying the download of {name}.")
            time.sleep(delay * 2 ** (attempt - 1))
        for mirror in MIRRORS:
            url = f"{mirror}/{name}.gz"
            try:
                with urlopen(url, timeout=TIMEOUT_S) as response:
                    packed = response.read(MAX_BYTES)  # whatever the server sends
                with gzip.open(BytesIO(packed)) as stream:
                    return _read_verified(stream, name), mirror
            except (OSError, HTTPException, ValueError, *_GZIP_ERRORS) as error:
                failures.append(f"{url}: {error!r:.500}.")
    raise OSError("Fashion-MNIST could not be downloaded. " + _advice(failures))
