"""One picture as an image: its file opened safely, its item of clothing cut out."""

from __future__ import annotations

import ctypes
import os
import platform
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import IO, Any

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from ..storage import open_regular

PREPARATIONS = ("clothing", "resize")

# How a picture becomes an image: by name, or a user-supplied function.
Prepare = str | Callable[[Image.Image], Any]

NO_CLOTHING = (
    "no item of clothing found: the picture is blank or the item blends into the "
    "background"
)

_SIDE = 1024  # pixels; larger pictures are reduced first, which also removes noise

# Formats that hold pixels. Pillow's others include PostScript, which it passes to
# another program, and some that accept any file. HEIF is available only if pillow-heif
# has been registered.
_FORMATS = (
    *("PNG", "JPEG", "GIF", "BMP", "WEBP", "TIFF", "PPM"),
    *("JPEG2000", "AVIF", "HEIF"),
)
_UNKNOWN_FORMAT = (
    "unknown format, or one that is not supported, such as HEIC, SVG and PDF; convert "
    "it to PNG or JPEG"
)
_HIGHEST_LEVELS = (1, 255, 1023, 4095, 16383, 65535)  # of 8, 10, 12, 14 and 16 bits

# Memory for decoding: measured bytes for each pixel, including the conversion to RGBA
# and its reduction, and all coefficients of a progressive JPEG.
_MAX_MEMORY = 480_000_000  # bytes: 40 megapixels of most formats
_BYTES_A_PIXEL = {"JPEG2000": 32, "WEBP": 24, "AVIF": 24, "HEIF": 24}
_USUAL_BYTES = 12
_PROGRESSIVE_BYTES = 6

# Cutting out an item of clothing.
_MIN_CONTRAST = 13  # grey levels: the 5 % by which the authors of the data set trim
_MIN_SHARE = 0.2  # of the contrast: smaller differences from the background are shading
_MIN_CLEAR = 0.01  # of the pixels: with fewer transparent ones it is not a cut-out
_MIN_OUTLINE = 2e-4  # of the pixels: fewer steps are specks (10 x 10 pixels: 4e-4)


# A picture --------------------------------------------------------------------------


def load_photo(
    path: str | os.PathLike[str],
    image_shape: tuple[int, int, int] = (1, 28, 28),
    *,
    prepare: Prepare = "clothing",
) -> np.ndarray:
    """Read a picture of any size as an image such as a classifier was trained on.

    By default the picture shows one item of clothing, and the steps are those by which
    Fashion-MNIST was made: cut off the plain background, shrink the rest until its
    longest edge fills the image, centre it, and show it light on black. (The sharpening
    is left out.) The contrast is stretched too.

    Parameters
    ----------
    path : str or path-like
        A PNG, JPEG, GIF, BMP, WebP, TIFF, PPM, JPEG 2000 or AVIF file of any size,
        regardless of its suffix; turned upright by its EXIF tag. Of several pictures
        in a file the first is used.
    image_shape : tuple of int, default=(1, 28, 28)
        (channels, height, width) of the result: 1 channel for grey, 3 for RGB.
    prepare : {"clothing", "resize"} or callable, default="clothing"
        "clothing" does the above. "resize" brings the whole picture to `image_shape`,
        with its background, shades and colours; other proportions are stretched, and a
        picture of this very size keeps its pixels. A function takes a
        ``PIL.Image.Image``, grey or RGB depending on `image_shape`, upright, on white
        and with at most 4,096 pixels on its longer side; it returns such a picture, or
        an array of uint8, of the size of `image_shape`.

    Returns
    -------
    ndarray of shape (channels, height, width), uint8
        With "clothing" the item, lighter than its background, which is 0; all 0 if no
        item is found.

    Raises
    ------
    OSError
        If the file cannot be read, or is a device or a FIFO; ``FileNotFoundError`` if
        it does not exist.
    ValueError
        If it is not a picture, is of another format, is damaged, or would take more
        than 480 MB to decode (40 megapixels of most formats; a JPEG is decoded at a
        fraction of its size); or for another number of channels.

    Warns
    -----
    UserWarning
        With "clothing", if no item of clothing is found: the picture is blank or
        transparent, or shows only noise and shading.

    Notes
    -----
    With "resize", transparent pixels are white.

    With "clothing", the background is the most frequent shade along the border. A thin
    line all around the picture is cut off first: it is neither item nor background.

    If the item was cut out, so that at least 1 % of the picture is transparent, all
    opaque pixels belong to the item, regardless of their colour; it is compared with
    white, or with black if most of it is white. In other pictures, half-transparent
    pixels are blended with white, and fully transparent ones are background.

    The levels of grey files of 16 and 32 bits are scaled from the smallest range that
    holds them: -1 to 1, 0 to 1, or those of 8, 10, 12, 14 and 16 bits; otherwise from
    their own extremes. Levels that are not finite are transparent.

    References
    ----------
    Xiao, Rasul and Vollgraf, "Fashion-MNIST: a Novel Image Dataset for Benchmarking
    Machine Learning Algorithms", 2017, arXiv:1708.07747, section 2.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from PIL import Image
    >>> from fmnist_sklearn.photos import load_photo
    >>> picture = Image.new("RGB", (300, 200), "white")
    >>> picture.paste("navy", (100, 50, 150, 150))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     picture.save(Path(folder) / "trousers.png")
    ...     image = load_photo(Path(folder) / "trousers.png")
    >>> image.shape, image[0, 14, [0, 14]].tolist()
    ((1, 28, 28), [0, 255])
    """
    check_preparation(image_shape, prepare)
    image = read_photo(path, image_shape, prepare)
    if prepare == "clothing" and not image.any():
        warnings.warn(f"{path}: {NO_CLOTHING}", stacklevel=2)
    return image


def check_preparation(image_shape: tuple[int, int, int], prepare: Prepare) -> None:
    """Raise ValueError for a shape that no picture has, or an unknown preparation."""
    if (
        np.shape(image_shape) != (3,)
        or image_shape[0] not in (1, 3)
        or not all(isinstance(n, int | np.integer) and n > 0 for n in image_shape)
    ):
        raise ValueError(
            "image_shape must be (channels, height, width) with 1 channel for grey or "
            f"3 for RGB, such as (3, 32, 32), got {image_shape!r}"
        )
    if prepare not in PREPARATIONS and not callable(prepare):
        raise ValueError(
            f"prepare must be 'clothing', 'resize' or a function, got {prepare!r}"
        )


def read_photo(
    path: str | os.PathLike[str], image_shape: tuple[int, int, int], prepare: Prepare
) -> np.ndarray:
    """Read a picture as :func:`load_photo` does, without its checks and its warning."""
    channels, height, width = image_shape
    # A picture of twice the size, reduced again, looks as the whole one would.
    side = 2 * max(height, width) if prepare == "resize" else max(_SIDE, height, width)
    with open_picture(path, side, stretched=prepare == "resize") as picture:
        if prepare == "clothing":
            picture.thumbnail((_SIDE, _SIDE))
            return _to_image(cut_out_clothing(picture, image_shape), image_shape)
        on_white = Image.new("RGBA", picture.size, "white")
        on_white.alpha_composite(picture)
        on_white = on_white.convert("L" if channels == 1 else "RGB")
        if callable(prepare):
            return _to_image(prepare(on_white), image_shape)
        resized = on_white.resize((width, height), Image.Resampling.LANCZOS)
        return _to_image(resized, image_shape)


def _to_image(prepared: Any, image_shape: tuple[int, int, int]) -> np.ndarray:
    """Return a prepared picture, or an array, as (channels, height, width)."""
    channels, height, width = image_shape
    image = np.asarray(prepared)
    if image.ndim == 2 and channels == 1:
        image = image[..., None]  # (height, width, 1)
    if image.dtype == np.uint8:
        is_picture = isinstance(prepared, Image.Image)
        if image.shape == (channels, height, width) and not is_picture:
            return image.copy()
        if image.shape == (height, width, channels):
            return image.transpose(2, 0, 1).copy()
    raise ValueError(
        f"prepare returned {image.dtype} of shape {image.shape}; expected uint8 of "
        f"shape (channels, height, width) = {image_shape}, or a picture of that size"
    )


# Opening ----------------------------------------------------------------------------


_TRIMMED = 32_000_000  # bytes: after larger pictures, freed memory is returned
_SHARED = 400_000_000  # bytes: of all pictures that are open at the same time
_open: list[int] = []  # the bytes of each of them
_changed = threading.Condition()


@contextmanager
def memory_taken(n_bytes: int) -> Iterator[None]:
    """Wait until there is room for a picture, or it is the only one."""
    with _changed:
        _changed.wait_for(lambda: not _open or sum(_open) + n_bytes <= _SHARED)
        _open.append(n_bytes)
    try:
        yield
    finally:
        with _changed:
            _open.remove(n_bytes)
            _changed.notify_all()


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
        with memory_taken(n_bytes):
            with _naming_file(path, file):
                ImageOps.exif_transpose(opened, in_place=True)
                picture = _to_rgba(opened, side, stretched)
                opened.close()
            try:
                yield picture
            finally:
                picture.close()
                if n_bytes > _TRIMMED and platform.libc_ver()[0] == "glibc":
                    # It would keep freed blocks for the thread that used them.
                    ctypes.CDLL(None).malloc_trim(0)


@contextmanager
def _naming_file(path: str | os.PathLike[str], file: IO[bytes]) -> Iterator[None]:
    """Turn any error of Pillow into a ValueError that names the file."""
    try:
        yield
    # Pillow's decoders raise errors of many kinds, SyntaxError among them.
    except Exception as error:
        reason = str(error) or type(error).__name__
        if isinstance(error, UnidentifiedImageError):
            is_empty = os.fstat(file.fileno()).st_size == 0
            reason = "the file is empty" if is_empty else _UNKNOWN_FORMAT
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


def _read_levels(picture: Image.Image, tags: Any) -> Image.Image:
    """Convert a grey picture of 16 or 32 bits to 8 bits, with its opacity."""
    levels = np.asarray(picture)
    if picture.mode == "I" and tags and tags.get(339, (1,)) == (1,):
        levels = levels.view(np.uint32)  # of a TIFF; Pillow reads the bits as signed
    visible = np.isfinite(levels) & (levels != picture.info.get("transparency"))
    # Not float64, which would take more memory than decoding.
    grey = np.where(visible, levels.astype(np.float32), np.float32(0))
    extremes = grey.min(initial=0), grey.max(initial=0)
    black, white = _level_range(*map(float, extremes))
    scale = 255 / (white - black)
    grey *= scale
    grey[visible] -= black * scale
    np.rint(grey, out=grey).clip(0, 255, out=grey)
    bands = grey.astype(np.uint8), np.uint8(255) * visible
    return Image.merge("LA", [Image.fromarray(band) for band in bands])


def _level_range(lowest: float, highest: float) -> tuple[float, float]:
    """Return the levels of black and white, allowing filters to overshoot by 5 %."""
    if lowest >= -0.05 * highest:
        fitting = (top for top in _HIGHEST_LEVELS if highest <= 1.05 * top)
        return 0, next(fitting, highest)
    if lowest >= -1.05 and highest <= 1.05:
        return -1, 1
    return lowest, highest


# The item of clothing ---------------------------------------------------------------


def cut_out_clothing(
    picture: Image.Image, image_shape: tuple[int, int, int]
) -> Image.Image:
    """Return the item light on black, filling the image; all 0 if none is found.

    Parameters
    ----------
    picture : PIL.Image.Image
        RGBA, of moderate size.
    image_shape : tuple of int
        (channels, height, width), 1 or 3 channels.

    Returns
    -------
    PIL.Image.Image
        Grey or RGB, of this height and width.
    """
    channels, height, width = image_shape
    picture = picture.crop(_inside_frame(picture))
    opacity = np.asarray(picture.getchannel("A"), dtype=np.float32)[..., None] / 255
    pixels = np.asarray(
        picture.convert("L" if channels == 1 else "RGB"), dtype=np.float32
    ).reshape(picture.height, picture.width, channels)
    clear = opacity < _MIN_CONTRAST / 255
    if clear.mean() >= _MIN_CLEAR:
        difference = _differ_by_opacity(pixels, opacity)
    else:
        on_white = 255 + (pixels - 255) * opacity
        difference = np.where(clear, 0, _differ_from_border(on_white))
    item = _centre(_cut_out(difference), height / width)
    image = Image.fromarray(item[..., 0] if channels == 1 else item)
    return image.resize((width, height), Image.Resampling.LANCZOS)


def _inside_frame(picture: Image.Image) -> tuple[int, int, int, int]:
    """Return the box inside a thin line all around, or else the whole picture."""
    whole = (0, 0, picture.width, picture.height)
    side = min(picture.size)
    limit = max(side // 50, min(4, side // 7))  # of its width in pixels
    if limit == 0:
        return whole
    # Premultiplied, so that all transparent pixels are equal.
    pixels = np.asarray(picture.convert("RGBa"), dtype=np.float32)
    columns = pixels.swapaxes(0, 1)
    sides = (columns, pixels, columns[::-1], pixels[::-1])
    left, top, right, bottom = (_line_width(side, limit) for side in sides)
    if 0 in (left, top, right, bottom):
        return whole
    return (left, top, picture.width - right, picture.height - bottom)


def _line_width(lines: np.ndarray, limit: int) -> int:
    """Count the lines up to the last plain one that differs from the next throughout.

    ``lines`` holds the picture's lines, from one edge inwards, (n, length, 4).
    """
    lines = lines[: limit + 1, limit:-limit]  # without the sides' own frame
    middle = np.median(lines, axis=1, keepdims=True)
    plain = np.abs(lines - middle).max(axis=2) <= 2 * _MIN_CONTRAST
    changed = np.abs(np.diff(lines, axis=0)).max(axis=2) > _MIN_CONTRAST / 2
    last = (plain[:-1].mean(axis=1) > 0.9) & (changed.mean(axis=1) > 0.9)
    return int(np.flatnonzero(last)[-1]) + 1 if last.any() else 0


def _differ_from_border(pixels: np.ndarray) -> np.ndarray:
    """Subtract the background, the most frequent shade of the border.

    Returns zeros if nothing stands out from it.
    """
    if not _has_outlines(pixels):
        return np.zeros_like(pixels)
    border = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
    levels = (border.mean(axis=1) // 16).astype(int)
    # Not the mean, since an item may touch the border on all sides.
    most_frequent = np.bincount(levels).argmax()
    return pixels - np.median(border[levels == most_frequent], axis=0)


def _has_outlines(pixels: np.ndarray) -> bool:
    """Whether the picture has more than noise, specks and smooth shading."""
    steps, noise = [], []
    for lines in (pixels, pixels.swapaxes(0, 1)):
        if len(lines) > 1:
            # Over a 25th of the picture: outlines may be blurred, shading is slower.
            distance = max(len(lines) // 25, 1)
            step = np.abs(lines[distance:] - lines[:-distance]).max(axis=2)
            steps.append(step)
            noise.append(np.quantile(step[:, [0, -1]], 0.75))
    # The calmer pair of edges shows the background only, or nearly. Three quarters of
    # the steps of normal noise are below 1.6 standard deviations, and hardly any exceed
    # five times that.
    threshold = max(_MIN_CONTRAST, 5 * min(noise, default=0))
    n_outline = sum(np.count_nonzero(step > threshold) for step in steps)
    return n_outline > _MIN_OUTLINE * pixels.shape[0] * pixels.shape[1]


def _differ_by_opacity(pixels: np.ndarray, opacity: np.ndarray) -> np.ndarray:
    """Subtract white from a cut-out, or black from a mostly white one."""
    sign, difference = -1, (pixels - 255) * opacity
    strength = -difference.min(axis=2, keepdims=True)
    if opacity[strength <= _threshold(strength)].sum() > opacity.sum() / 2:
        sign, difference = 1, pixels * opacity
        strength = difference.max(axis=2, keepdims=True)
    # Parts as light or dark as the backdrop belong to the item, too.
    lacking = 1.5 * _threshold(strength) * opacity - strength
    return difference + sign * lacking.clip(min=0)


def _threshold(strength: np.ndarray) -> float:
    """Return the largest difference that is shading and not the item."""
    return max(_MIN_CONTRAST, _MIN_SHARE * strength.max())


def _cut_out(difference: np.ndarray) -> np.ndarray:
    """Crop to what differs from the background, light on black, as uint8."""
    strength = np.abs(difference).max(axis=2)
    rows, columns = np.nonzero(strength > _threshold(strength))
    if len(rows) == 0:
        return np.zeros(difference.shape, dtype=np.uint8)
    # Quantiles, so that a few stray pixels have no effect.
    full = np.quantile(strength[rows, columns], 0.99)
    top, bottom = np.quantile(rows, [0.001, 0.999], method="nearest")
    left, right = np.quantile(columns, [0.001, 0.999], method="nearest")
    sign = 1 if difference[rows, columns].sum() > 0 else -1
    item = difference[top : bottom + 1, left : right + 1] * (sign * 255 / full)
    return item.clip(0, 255).astype(np.uint8)


def _centre(item: np.ndarray, aspect: float) -> np.ndarray:
    """Pad an item with black until height / width is ``aspect``."""
    height, width = item.shape[:2]
    dh = max(round(width * aspect) - height, 0)
    dw = max(round(height / aspect) - width, 0)
    return np.pad(item, ((dh // 2, dh - dh // 2), (dw // 2, dw - dw // 2), (0, 0)))
