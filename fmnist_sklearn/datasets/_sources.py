"""Fashion-MNIST's files from the first place that has them, every byte checked."""

from __future__ import annotations

import errno
import gzip
import logging
import os
import time
import warnings
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from http.client import HTTPException
from io import BufferedIOBase
from pathlib import Path
from typing import NamedTuple

from ..storage.files import atomic_write, clear_temporaries, file_lock, sha256
from ._download import open_url


class IdxFile(NamedTuple):
    """One of the published files, decompressed."""

    name: str
    size: int  # bytes
    sha256: str


# Hashes are of the decompressed files: the same whoever compressed them.
FILES = {
    "train": (
        IdxFile(
            "train-images-idx3-ubyte",
            47_040_016,
            "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
        ),
        IdxFile(
            "train-labels-idx1-ubyte",
            60_008,
            "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
        ),
    ),
    "test": (
        IdxFile(
            "t10k-images-idx3-ubyte",
            7_840_016,
            "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
        ),
        IdxFile(
            "t10k-labels-idx1-ubyte",
            10_008,
            "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
        ),
    ),
}

# Folders of URLs, each holding <name>.gz. The second has no https; the checksums
# make that safe.
MIRRORS = (
    "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion",
    "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com",
)
TIMEOUT = 30  # seconds without a byte from the network
DEADLINE = 600  # seconds for a file from one mirror
TOTAL_DEADLINE = 1800  # seconds for all files, mirrors and retries
LONGEST_DELAY = 60  # seconds between retries, however often they fail

# Where the Debian and Ubuntu package dataset-fashion-mnist puts the files.
SYSTEM_FOLDER = Path("/usr/share/datasets/fashion-mnist")

# What reading a gzip stream raises when it is cut short or damaged.
_GZIP_ERRORS = (EOFError, gzip.BadGzipFile, zlib.error)

# From _read_local to the line that calls fetch_fashion_mnist, past the wrapper that
# validates its parameters.
_STACKLEVEL = 5

logger = logging.getLogger(__name__)


def read_files(
    wanted: Sequence[IdxFile],
    data_home: str | os.PathLike[str] | None,
    download_if_missing: bool,
    n_retries: int,
    delay: float,
) -> tuple[list[bytes], str]:
    """Read the files, downloading them if they must and may be.

    Parameters
    ----------
    wanted : sequence of IdxFile
        The files to read.
    data_home, download_if_missing, n_retries, delay
        As for ``fetch_fashion_mnist``.

    Returns
    -------
    contents : list of bytes
        The verified, decompressed content of each file.
    source : str
        The folder they were read from, or the mirror they were downloaded from.
    """
    tried: list[str] = []
    cache = _cache_folder(data_home)
    local = _read_local(wanted, data_home, tried)
    if local is None and not download_if_missing:
        raise OSError(
            "Data not found and `download_if_missing` is False. " + _advice(tried)
        )
    contents, source = local or _download(wanted, cache, tried, n_retries, delay)
    logger.info("Fashion-MNIST read from %s", source)
    return contents, source


def fashion_mnist_source(
    data_home: str | os.PathLike[str] | None = None,
) -> str | None:
    """Tell where the full data lies on this machine, without opening it.

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
    wanted = [file for pair in FILES.values() for file in pair]
    for folder in _local_folders(data_home):
        if all(_find(folder, file) for file in wanted):
            return str(folder)
    return None


def _cache_folder(data_home: str | os.PathLike[str] | None) -> Path:
    # Not sklearn.datasets.get_data_home, which creates the folder: whoever has the
    # data elsewhere may have no home that can be written to.
    if data_home is None:
        data_home = os.environ.get("SCIKIT_LEARN_DATA", "~/scikit_learn_data")
    return Path(data_home).expanduser() / "fashion_mnist"


def _env_folder() -> Path | None:
    folder = os.environ.get("FASHION_MNIST_DIR")
    return Path(folder).expanduser() if folder else None


def _local_folders(data_home: str | os.PathLike[str] | None) -> list[Path]:
    folders = [_cache_folder(data_home), _env_folder(), SYSTEM_FOLDER]
    return [folder for folder in folders if folder is not None]


def _find(folder: Path, file: IdxFile) -> Path | None:
    for path in (folder / file.name, folder / f"{file.name}.gz"):
        if os.path.isfile(path):
            return path
    return None


def _read_local(
    wanted: Sequence[IdxFile],
    data_home: str | os.PathLike[str] | None,
    tried: list[str],
) -> tuple[list[bytes], str] | None:
    """Read the files from the first local folder that has them all, sound.

    Every folder gives the same bytes, so one that lacks a file is passed over, with a
    word in `tried`. A damaged file is worth a warning, and an error where the user
    named the folder.
    """
    cache, cache_is_damaged = _cache_folder(data_home), False
    for folder in _local_folders(data_home):
        try:
            contents = [_read_file(folder, file) for file in wanted]
        except OSError as error:
            tried.append(str(error))
        except ValueError as error:
            if folder == _env_folder():
                raise
            warnings.warn(f"{error} Looking for another copy.", stacklevel=_STACKLEVEL)
            tried.append(str(error))
            cache_is_damaged |= folder == cache
        else:
            if cache_is_damaged:
                with suppress(OSError):  # where it cannot be written, it stays damaged
                    _mend(cache, wanted, contents)
            return contents, str(folder)
    return None


def _mend(cache: Path, wanted: Sequence[IdxFile], contents: list[bytes]) -> None:
    """Put sound files in the place of those in the cache that are not."""
    with file_lock(cache):
        for file, content in zip(wanted, contents, strict=True):
            try:
                _read_file(cache, file)
            except ValueError:
                with atomic_write(cache / file.name) as target:
                    target.write(content)
                (cache / f"{file.name}.gz").unlink(missing_ok=True)
            except FileNotFoundError:
                pass


def _read_file(folder: Path, file: IdxFile) -> bytes:
    path = _find(folder, file)
    if path is None:
        raise FileNotFoundError(f"{folder} has no {file.name} or {file.name}.gz.")
    opener = gzip.open if path.suffix == ".gz" else open
    try:
        with opener(path, "rb") as stream:
            return _read_verified(stream, file)
    except (ValueError, *_GZIP_ERRORS) as error:
        raise ValueError(
            f"{path} is damaged or not Fashion-MNIST's {file.name}: {error}."
        ) from error


def _read_verified(stream: BufferedIOBase, file: IdxFile) -> bytes:
    # One byte more than expected: enough to see that there is more, and no way for a
    # small download to unpack to something huge.
    content = stream.read(file.size + 1)
    if len(content) != file.size:
        more = "more than " if len(content) > file.size else ""
        raise ValueError(f"{more}{min(len(content), file.size)} bytes, not {file.size}")
    digest = sha256(content)
    if digest != file.sha256:
        raise ValueError(f"its SHA-256 is {digest}, expected {file.sha256}")
    return content


def _download(
    wanted: Sequence[IdxFile],
    cache: Path,
    tried: list[str],
    n_retries: int,
    delay: float,
) -> tuple[list[bytes], str]:
    """Download what the cache lacks; return the contents and where they came from."""
    contents = []
    source = str(cache)
    deadline = time.monotonic() + TOTAL_DEADLINE
    # Whoever waited for another process's download finds the files in the cache.
    with _writing_told(cache), file_lock(cache):
        cache.mkdir(exist_ok=True)
        clear_temporaries(cache)
        for file in wanted:
            try:
                content = _read_file(cache, file)
            except (OSError, ValueError):
                content, source = _download_file(
                    file, tried, n_retries, delay, deadline
                )
                with atomic_write(cache / file.name) as target:
                    target.write(content)
            contents.append(content)
    return contents, source


@contextmanager
def _writing_told(cache: Path) -> Iterator[None]:
    """Say what to do about a cache that is read-only, full or not a folder."""
    try:
        yield
    except OSError as error:
        name = error.filename
        if name is None or error.errno == errno.ETIMEDOUT:
            raise
        raise OSError(
            error.errno,
            f"{error.strerror}; the cache {cache} cannot be written: make room there, "
            "or pass data_home=, or set SCIKIT_LEARN_DATA, to a folder that can",
            name,
        ) from error


def _download_file(
    file: IdxFile, tried: list[str], n_retries: int, delay: float, deadline: float
) -> tuple[bytes, str]:
    """Return the verified content and its mirror; nothing touches the disk."""
    for attempt in range(n_retries + 1):
        if attempt > 0:
            warnings.warn(
                f"Retrying the download of {file.name}.", stacklevel=_STACKLEVEL + 1
            )
            time.sleep(min(delay * 2 ** (attempt - 1), LONGEST_DELAY))
        for number, mirror in enumerate(MIRRORS):
            seconds = min(DEADLINE, deadline - time.monotonic())
            if seconds <= 0:
                tried.append(f"No time was left after {TOTAL_DEADLINE} s.")
                break
            is_plain = mirror.startswith("http:")
            if is_plain and any(m.startswith("https:") for m in MIRRORS[:number]):
                warnings.warn(
                    f"{file.name} could not be had over https ({tried[-1]}); trying "
                    f"{mirror}, whose content is checked all the same.",
                    stacklevel=_STACKLEVEL + 1,
                )
            url = f"{mirror}/{file.name}.gz"
            logger.info("Downloading %s", url)
            try:
                with (
                    open_url(
                        url,
                        timeout=TIMEOUT,
                        seconds=seconds,
                        # Compressing adds next to nothing even to noise.
                        n_bytes=file.size + 100_000,
                    ) as response,
                    gzip.open(response) as stream,
                ):
                    return _read_verified(stream, file), mirror
            except (OSError, HTTPException, ValueError, *_GZIP_ERRORS) as error:
                tried.append(f"{url}: {error!r:.500}.")
    raise OSError("Fashion-MNIST could not be downloaded. " + _advice(tried))


def _advice(tried: list[str]) -> str:
    attempts = "\n".join(f"- {line}" for line in dict.fromkeys(tried))
    return (
        f"Tried:\n{attempts}\n"
        "To get the data, install the Debian or Ubuntu package dataset-fashion-mnist, "
        "or set the environment variable FASHION_MNIST_DIR to a folder that holds the "
        "four files of https://github.com/zalandoresearch/fashion-mnist. "
        "load_fashion_mnist_sample needs neither: it loads a bundled sample."
    )
