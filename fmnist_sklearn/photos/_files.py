"""Pictures among other files, and what is said of a file that is none."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

# What a picture's name ends in, for one in a folder to be taken.
_ENDINGS = (
    *(".png", ".apng", ".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".gif", ".bmp"),
    *(".dib", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".pnm", ".jp2"),
    *(".j2k", ".jpx", ".avif", ".heic", ".heif"),
)


def pictures_in(
    folder: str | os.PathLike[str], unread: Callable[[OSError], None]
) -> Iterator[str]:
    """Yield the pictures in a folder and its sub-folders, by their names' endings.

    Parameters
    ----------
    folder : str or path-like
        Where to look; a folder is listed when its turn comes.
    unread : callable
        Told of a folder that cannot be listed.

    Yields
    ------
    path : str
        In the order of names, those of sub-folders after those of their folder. What
        is hidden is passed over.
    """
    for where, subfolders, names in os.walk(folder, onerror=unread):
        subfolders[:] = sorted(n for n in subfolders if not n.startswith("."))
        for name in sorted(names):
            if name.lower().endswith(_ENDINGS) and not name.startswith("."):
                yield os.path.join(where, name)


def naming(path: str, error: BaseException | str) -> str:
    """Return a message that names the file, as those of Pillow and NumPy do not."""
    text = str(error)
    if isinstance(error, OSError) and error.strerror:
        text = error.strerror
    return text if text.startswith(path) else f"{path}: {text}"
