"""Photographs and drawings, made like the training images."""

from __future__ import annotations

import io
import os
import warnings
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

# Pixels only. The others that Pillow knows include PostScript, which it hands to
# another program, and some that take any file for theirs. HEIF is there only where
# pillow-heif has been registered.
_FORMATS = (
    *("PNG", "JPEG", "GIF", "BMP", "WEBP", "TIFF", "PPM"),
    *("JPEG2000", "AVIF", "HEIF"),
)
_UNREAD_FORMATS = {
    b"%PDF": "PDF",
    b"%!PS": "PostScript",
    b"<svg": "SVG",
    b"<?xml": "XML or SVG",
    b"8BPS": "Photoshop",
}
_HIGHEST_LEVELS = (1, 255, 1023, 4095, 16383, 65535)  # of 8, 10, 12, 14 and 16 bits

_MAX_SIDE = 1024  # pixels; what is larger is reduced first, which also removes noise
_MIN_CONTRAST = 13  # grey levels: the 5 % that the makers of the data set trim by
_MIN_SHARE = 0.2  # of the contrast: what differs less from the background is shading
_MIN_CLEAR = 0.01  # of the pixels: with fewer transparent ones it is no cut-out
_MIN_OUTLINE = 2e-4  # of the pixels: fewer steps are specks (10 x 10 pixels: 4e-4)


def load_photo(
    path: str | os.PathLike[str], image_shape: tuple[int, int, int] = (1, 28, 28)
) -> np.ndarray:
    """Read a picture of one article and make it like an image of Fashion-MNIST.

    The steps are those by which Fashion-MNIST was made: cut off the plain background,
    shrink the rest until its longest edge fills the image, centre it, and show it
    light on black. (Their sharpening is left out.) The contrast is stretched too.

    Parameters
    ----------
    path : str or path-like
        A PNG, JPEG, GIF, BMP, WebP, TIFF, PPM, JPEG 2000 or AVIF file of any size,
        whatever its name ends in; turned upright by its EXIF tag. Of several pictures
        in a file the first counts.
    image_shape : tuple of int, default=(1, 28, 28)
        (channels, height, width) of the result: 1 channel for grey, 3 for RGB.

    Returns
    -------
    ndarray of shape (channels, height, width), uint8
        The article, lighter than its background, which is 0. All 0 where no article
        is seen.

    Raises
    ------
    OSError
        If the file cannot be read; ``FileNotFoundError`` where there is none.
    ValueError
        If it is not a picture, is of another format or is damaged; or for another
        number of channels.

    Warns
    -----
    UserWarning
        If no article is seen: the picture is blank or transparent, or shows nothing
        but noise and shading.

    Notes
    -----
    The background is the commonest shade along the border. A thin line all around the
    picture is cut off first: it is neither article nor background.

    Where the article was cut out, so that at least 1 % of the picture is transparent,
    what is opaque is the article, whatever its colour: seen against white, or against
    black where most of it is white. In other pictures what is half transparent lets
    white through, and what is wholly so is background.

    The levels of grey files of 16 and 32 bits are read by the smallest range that
    holds them: -1 to 1, 0 to 1, or those of 8, 10, 12, 14 and 16 bits; and else by
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
    channels, height, width = image_shape
    if channels not in (1, 3):
        raise ValueError(
            "image_shape must have 1 channel for grey or 3 for RGB, got "
            f"{image_shape!r}"
        )
    picture = _open_upright(path)
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
    article = _centre(_cut_out(difference), height / width)
    if not article.any():
        warnings.warn(
            f"{path}: no article is seen in this picture; it is blank, or its "
            "article does not differ enough from the background",
            stacklevel=2,
        )
    image = Image.fromarray(article[..., 0] if channels == 1 else article)
    image = image.resize((width, height), Image.Resampling.LANCZOS)
    return np.asarray(image).reshape(height, width, channels).transpose(2, 0, 1).copy()


# From the file to pixels ------------------------------------------------------------


def _open_upright(path: str | os.PathLike[str]) -> Image.Image:
    """Open a picture as RGBA, upright and of moderate size."""
    content = Path(path).read_bytes()
    Image.init()  # which formats there are depends on how Pillow was built
    formats = [name for name in _FORMATS if name in Image.OPEN]
    try:
        opened = Image.open(io.BytesIO(content), formats=formats)
        # A JPEG can be decoded at a half to an eighth of its size.
        opened.draft(None, (2 * _MAX_SIDE, 2 * _MAX_SIDE))
        picture = ImageOps.exif_transpose(opened)
        if picture.mode[0] in "IF":  # Pillow would clip them to 8 bits
            picture = _read_levels(picture, getattr(opened, "tag_v2", {}))
        picture = picture.convert("RGBA")
    except UnidentifiedImageError as error:
        raise ValueError(
            f"{path} cannot be read as a picture: {_describe_content(content)}"
        ) from error
    # Pillow's decoders raise errors of many kinds, SyntaxError among them.
    except Exception as error:
        reason = str(error) or type(error).__name__
        raise ValueError(f"{path} cannot be read as a picture: {reason}") from error
    picture.thumbnail((_MAX_SIDE, _MAX_SIDE))
    return picture


def _describe_content(content: bytes) -> str:
    """Say why a file is not read, and what to do."""
    if not content:
        return "the file is empty"
    start = content.lstrip()
    kind = next(
        (name for magic, name in _UNREAD_FORMATS.items() if start.startswith(magic)),
        None,
    )
    if content[4:8] == b"ftyp":  # then the brand of a family with films in it
        brand = content[8:12]
        if brand.startswith(b"avi"):
            kind = "AVIF"
        elif brand.startswith(b"he") or brand in (b"mif1", b"msf1"):
            kind = "HEIC"
    if kind is None:
        return "its format is none of those read here; convert it to PNG or JPEG"
    return f"its format, {kind}, is not read here; convert it to PNG or JPEG"


def _read_levels(picture: Image.Image, tags: dict[int, tuple[int, ...]]) -> Image.Image:
    """Bring a grey picture of 16 or 32 bits to 8 bits, with its opacity."""
    levels = np.asarray(picture)
    sample_format = tags.get(339, (1,))  # of a TIFF: 1, the default, is unsigned
    if picture.mode == "I" and tags and sample_format == (1,):
        levels = levels.view(np.uint32)  # Pillow reads the same bits as signed
    levels = levels.astype(np.float64)
    visible = np.isfinite(levels) & (levels != picture.info.get("transparency"))
    black, white = _level_range(levels[visible])
    grey = np.where(visible, levels - black, 0) * (255 / (white - black))
    return Image.merge(
        "LA",
        [
            Image.fromarray(grey.round().clip(0, 255).astype(np.uint8)),
            Image.fromarray(visible.astype(np.uint8) * np.uint8(255)),
        ],
    )


def _level_range(levels: np.ndarray) -> tuple[float, float]:
    """Find the levels of black and white, with 5 % for what filters overshoot."""
    lowest = levels.min(initial=0)
    highest = levels.max(initial=0)
    if lowest >= -0.05 * highest:
        fitting = [top for top in _HIGHEST_LEVELS if highest <= 1.05 * top]
        return 0, fitting[0] if fitting else highest
    if lowest >= -1.05 and highest <= 1.05:
        return -1, 1
    return lowest, highest


def _inside_frame(picture: Image.Image) -> tuple[int, int, int, int]:
    """Find the box inside a thin line all around; without one, the whole picture."""
    whole = (0, 0, picture.width, picture.height)
    side = min(picture.size)
    limit = max(side // 50, min(4, side // 7))  # of its width in pixels
    if limit == 0:
        return whole
    # Premultiplied: all that is transparent is alike.
    pixels = np.asarray(picture.convert("RGBa"), dtype=np.float32)
    columns = pixels.swapaxes(0, 1)
    sides = (columns, pixels, columns[::-1], pixels[::-1])
    left, top, right, bottom = (_line_width(side, limit) for side in sides)
    if 0 in (left, top, right, bottom):
        return whole
    return (left, top, picture.width - right, picture.height - bottom)


def _line_width(lines: np.ndarray, limit: int) -> int:
    """Count the lines up to the last plain one that the next differs from all along.

    ``lines`` holds the picture's lines, from one edge inwards, (n, length, 4).
    """
    lines = lines[: limit + 1, limit:-limit]  # without the sides' own frame
    middle = np.median(lines, axis=1, keepdims=True)
    plain = np.abs(lines - middle).max(axis=2) <= 2 * _MIN_CONTRAST
    changed = np.abs(np.diff(lines, axis=0)).max(axis=2) > _MIN_CONTRAST / 2
    last = (plain[:-1].mean(axis=1) > 0.9) & (changed.mean(axis=1) > 0.9)
    return int(np.flatnonzero(last)[-1]) + 1 if last.any() else 0


# From pixels to the article ---------------------------------------------------------


def _differ_from_border(pixels: np.ndarray) -> np.ndarray:
    """Subtract the background; 0 all over where nothing stands out from it."""
    if not _has_outlines(pixels):
        return np.zeros_like(pixels)
    return pixels - _background(pixels)


def _has_outlines(pixels: np.ndarray) -> bool:
    """Tell whether there is more than noise, specks and smooth shading."""
    steps, noise = [], []
    for lines in (pixels, pixels.swapaxes(0, 1)):
        if len(lines) > 1:
            # Over a 25th of the picture: outlines may be blurred, shading is slower.
            distance = max(len(lines) // 25, 1)
            step = np.abs(lines[distance:] - lines[:-distance]).max(axis=2)
            steps.append(step)
            noise.append(np.quantile(step[:, [0, -1]], 0.75))
    # Along the calmer pair of edges there is the background only, or nearly. Of normal
    # noise three quarters of the steps are below 1.6 standard deviations, and next to
    # none over five times that.
    threshold = max(_MIN_CONTRAST, 5 * min(noise, default=0))
    n_outline = sum(np.count_nonzero(step > threshold) for step in steps)
    return n_outline > _MIN_OUTLINE * pixels.shape[0] * pixels.shape[1]


def _background(pixels: np.ndarray) -> np.ndarray:
    """Find the commonest shade of the border, of shape (channels,).

    The commonest, not the mean: an article may touch the border on all sides.
    """
    border = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
    levels = (border.mean(axis=1) // 16).astype(int)
    commonest = np.bincount(levels).argmax()
    return np.median(border[levels == commonest], axis=0)


def _differ_by_opacity(pixels: np.ndarray, opacity: np.ndarray) -> np.ndarray:
    """Set a cut-out off from white, or a mostly white one from black."""
    sign, difference = -1, (pixels - 255) * opacity
    strength = -difference.min(axis=2, keepdims=True)
    if opacity[strength <= _threshold(strength)].sum() > opacity.sum() / 2:
        sign, difference = 1, pixels * opacity
        strength = difference.max(axis=2, keepdims=True)
    # What is as light or dark as its backdrop belongs to the article all the same.
    lacking = 1.5 * _threshold(strength) * opacity - strength
    return difference + sign * lacking.clip(min=0)


def _threshold(strength: np.ndarray) -> float:
    """Return up to where a difference is shading, not article."""
    return max(_MIN_CONTRAST, _MIN_SHARE * strength.max())


def _cut_out(difference: np.ndarray) -> np.ndarray:
    """Crop to what differs from the background, made light on black, as uint8."""
    strength = np.abs(difference).max(axis=2)
    rows, columns = np.nonzero(strength > _threshold(strength))
    if len(rows) == 0:
        return np.zeros(difference.shape, dtype=np.uint8)
    # Quantiles, so that a few stray pixels count for nothing.
    full = np.quantile(strength[rows, columns], 0.99)
    top, bottom = np.quantile(rows, [0.001, 0.999], method="nearest")
    left, right = np.quantile(columns, [0.001, 0.999], method="nearest")
    sign = 1 if difference[rows, columns].sum() > 0 else -1
    article = difference[top : bottom + 1, left : right + 1] * (sign * 255 / full)
    return article.clip(0, 255).astype(np.uint8)


def _centre(article: np.ndarray, aspect: float) -> np.ndarray:
    """Put black around an article until height / width is ``aspect``."""
    height, width = article.shape[:2]
    dh = max(round(width * aspect) - height, 0)
    dw = max(round(height / aspect) - width, 0)
    return np.pad(article, ((dh // 2, dh - dh // 2), (dw // 2, dw - dw // 2), (0, 0)))
