"""Picture files of any format opened safely, and reduced to a moderate size."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from .._glibc import trim_memory
from ..storage import open_regular

# Formats that hold pixels. Pillow's others include PostScript, which it passes to
# another program, and some that accept any file. HEIF is available only if pillow-heif
# has been registered.
_FORMATS = (
    *("PNG", "JPEG", "GIF", "BMP", "WEBP", "TIFF", "PPM"),
    *("JPEG2000", "AVIF", "HEIF"),
)
# Formats that are not read, by the first bytes (of ISO media files, from byte 4 on).
_UNREAD_FORMATS = {
    b"%PDF": "PDF",
    b"%!PS": "PostScript",
    b"<svg": "SVG",
    b"<?xml": "XML or SVG",
    b"8BPS": "Photoshop",
    b"ftypavi": "AVIF",
    b"ftyphe": "HEIC",
    b"ftypmif1": "HEIC",
    b"ftypmsf1": "HEIC",
}
_HIGHEST_LEVELS = (1, 255, 1023, 4095, 16383, 65535)  # of 8, 10, 12, 14 and 16 bits

# Memory for decoding: measured bytes for each pixel, including the conversion to RGBA
# and its reduction, and all coefficients of a progressive JPEG.
_MAX_MEMORY = 480_000_000  # bytes: 40 megapixels of most formats
_BYTES_A_PIXEL = {"JPEG2000": 32, "WEBP": 24, "AVIF": 24, "HEIF": 24}
_USUAL_BYTES = 12
_PROGRESSIVE_BYTES = 6

_STRIP = 1 << 18  # pixels whose levels are converted at a time


class _Memory:
    """A budget of memory shared by threads; each waits until enough is free."""

    def __init__(self, n_bytes: int) -> None:
        self._n_bytes = self._free = n_bytes
        self._changed = threading.Condition()

    @contextmanager
    def taken(self, n_bytes: int) -> Iterator[None]:
        """Reserve `n_bytes`, or the whole budget if that is less."""
        n_bytes = min(n_bytes, self._n_bytes)
        with self._changed:
            self._changed.wait_for(lambda: self._free >= n_bytes)
            self._free -= n_bytes
        try:
            yield
        finally:
            with self._changed:
                self._free += n_bytes
                self._changed.notify_all()


_TRIMMED = 32_000_000  # bytes: after larger pictures, freed memory is returned
_SHARED = _Memory(400_000_000)  # bytes: of all pictures that are open at the same time


@contextmanager
def open_picture(
    path: str | os.PathLike[str], side: int, *, stretched: bool = False
) -> Iterator[Image.Image]:
    """Open a picture as RGBA, upright, and not much larger than needed.

    Threads wait here if their pictures together would take too much memory, so leave
    the ``with`` statement as soon as the picture is not needed any more.

    Parameters
    ----------
    path : str or path-like
        The file.
    side : int
        Pixels needed of the longer side; the result may have up to four times this
        number, and smaller pictures keep their size.
    stretched : bool, default=False
        Whether `side` pixels are needed of each side, as proportions do not matter.

    Yields
    ------
    PIL.Image.Image

    Raises
    ------
    OSError
        If the file cannot be read, or is a FIFO or a device.
    ValueError
        If it is not a picture, of another format, damaged, or would take too much
        memory.
    """
    Image.init()  # the available formats depend on how Pillow was built
    formats = [name for name in _FORMATS if name in Image.OPEN]
    with open_regular(path) as file:
        with _naming_file(path, file):
            opened = Image.open(file, formats=formats)
            n_bytes = _reduce_early(opened, side)
        with _SHARED.taken(n_bytes):
            with _naming_file(path, file):
                ImageOps.exif_transpose(opened, in_place=True)
                picture = _to_rgba(opened, side, stretched)
                opened.close()
            try:
                yield picture
            finally:
                picture.close()
                if n_bytes > _TRIMMED:
                    # glibc would keep freed blocks for the thread that used them.
                    trim_memory()


@contextmanager
def _naming_file(path: str | os.PathLike[str], file: IO[bytes]) -> Iterator[None]:
    """Turn any error of Pillow into a ValueError that names the file."""
    try:
        yield
    except UnidentifiedImageError as error:
        file.seek(0)
        reason = _describe_content(file.read(1024))
        raise ValueError(f"{path} cannot be read as a picture: {reason}") from error
    # Pillow's decoders raise errors of many kinds, SyntaxError among them.
    except Exception as error:
        reason = str(error) or type(error).__name__
        raise ValueError(f"{path} cannot be read as a picture: {reason}") from error


def _reduce_early(opened: Image.Image, side: int) -> int:
    """Decode a JPEG at a half to an eighth of its size; refuse one that stays large.

    Returns the bytes that decoding will take.
    """
    n_bytes = 0
    if "progressive" in opened.info:
        n_bytes = _PROGRESSIVE_BYTES * opened.width * opened.height
    opened.draft(None, (2 * side, 2 * side))
    each = _BYTES_A_PIXEL.get(str(opened.format), _USUAL_BYTES)
    n_bytes = max(n_bytes, each * opened.width * opened.height)
    if n_bytes > _MAX_MEMORY:
        raise ValueError(
            f"with {opened.width} x {opened.height} pixels it would take "
            f"{n_bytes / 1e6:.0f} MB of memory, more than the {_MAX_MEMORY / 1e6:.0f} "
            "that a picture may take; make it smaller first"
        )
    return n_bytes


def _to_rgba(picture: Image.Image, side: int, stretched: bool) -> Image.Image:
    """Convert a picture, reduced first if it is large."""
    if picture.mode[0] in "IF":  # levels that Pillow would clip to 8 bits
        picture = _read_levels(picture, getattr(picture, "tag_v2", {}))
    # Indices into a palette, or a colour that means transparency, cannot be averaged.
    if picture.mode[0] in "1P" or "transparency" in picture.info:
        picture = picture.convert("RGBA")
    lengths = picture.size if stretched else [max(picture.size)] * 2
    across, down = (max(length // (2 * side), 1) for length in lengths)
    if max(across, down) > 1:
        picture = picture.reduce((across, down))
    return picture.convert("RGBA")


def _describe_content(content: bytes) -> str:
    """Explain why a file is not read, and what to do."""
    if not content:
        return "the file is empty"
    for magic, name in _UNREAD_FORMATS.items():
        if content.lstrip().startswith(magic) or content[4:].startswith(magic):
            return f"the format {name} is not supported; convert it to PNG or JPEG"
    return "unknown format; convert it to PNG or JPEG"


def _read_levels(picture: Image.Image, tags: Any) -> Image.Image:
    """Convert a grey picture of 16 or 32 bits to 8 bits, with its opacity.

    In strips, since whole arrays of float64 would take more memory than decoding.
    """
    sample_format = tags.get(339, (1,))  # of a TIFF: 1, the default, is unsigned
    is_unsigned = picture.mode == "I" and tags and sample_format == (1,)
    key = picture.info.get("transparency")
    n_rows = max(_STRIP // picture.width, 1)
    strips = [
        (top, min(top + n_rows, picture.height))
        for top in range(0, picture.height, n_rows)
    ]

    def read(strip: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
        levels = np.asarray(picture.crop((0, strip[0], picture.width, strip[1])))
        if is_unsigned:
            levels = levels.view(np.uint32)  # Pillow reads the same bits as signed
        levels = levels.astype(np.float64)
        return levels, np.isfinite(levels) & (levels != key)

    extremes = [
        (levels[visible].min(initial=0), levels[visible].max(initial=0))
        for levels, visible in map(read, strips)
    ]
    lowest, highest = np.array(extremes).T
    black, white = _level_range(lowest.min(), highest.max())
    result = Image.new("LA", picture.size)
    for strip in strips:
        levels, visible = read(strip)
        grey = np.where(visible, levels - black, 0) * (255 / (white - black))
        bands = grey.round().clip(0, 255).astype(np.uint8), np.uint8(255) * visible
        merged = Image.merge("LA", [Image.fromarray(band) for band in bands])
        result.paste(merged, (0, strip[0]))
    return result


def _level_range(lowest: float, highest: float) -> tuple[float, float]:
    """Return the levels of black and white, allowing filters to overshoot by 5 %."""
    if lowest >= -0.05 * highest:
        fitting = [top for top in _HIGHEST_LEVELS if highest <= 1.05 * top]
        return 0, fitting[0] if fitting else highest
    if lowest >= -1.05 and highest <= 1.05:
        return -1, 1
    return lowest, highest
