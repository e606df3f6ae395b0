"""Photographs and drawings, made like the training images."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from PIL import Image

_MAX_SIDE = 1024  # pixels; what is larger is reduced first, which also removes noise
_MIN_CONTRAST = 13  # grey levels: the 5 % that the makers of the data set trim by
_MIN_SHARE = 0.2  # of the contrast: what differs less from the background is shading


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
        A PNG, JPEG or other file that Pillow reads, of any size; turned upright by
        its EXIF tag. Transparent parts count as white.
    image_shape : tuple of int, default=(1, 28, 28)
        (channels, height, width) of the result: 1 channel for grey, 3 for RGB.

    Returns
    -------
    ndarray of shape (channels, height, width), uint8
        The article, lighter than its background, which is 0. All 0 for a blank
        picture.

    Raises
    ------
    OSError
        If the file cannot be read; ``FileNotFoundError`` where there is none.
    ValueError
        If it is not a picture or is damaged, or for another number of channels.

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
    from PIL import Image

    channels, height, width = image_shape
    if channels not in (1, 3):
        raise ValueError(
            "image_shape must have 1 channel for grey or 3 for RGB, got "
            f"{image_shape!r}"
        )
    picture = _open_upright(path).convert("L" if channels == 1 else "RGB")
    pixels = np.asarray(picture, dtype=np.float32)
    pixels = pixels.reshape(picture.height, picture.width, channels)
    article = _centre(_cut_out(pixels - _background(pixels)), height / width)
    image = Image.fromarray(article[..., 0] if channels == 1 else article)
    image = image.resize((width, height), Image.Resampling.LANCZOS)
    return np.asarray(image).reshape(height, width, channels).transpose(2, 0, 1).copy()


def _open_upright(path: str | os.PathLike[str]) -> Image.Image:
    """Open a picture, upright, on white and of moderate size."""
    from PIL import Image, ImageOps

    content = Path(path).read_bytes()
    try:
        picture = ImageOps.exif_transpose(Image.open(io.BytesIO(content)))
        if picture.mode.startswith("I;16"):  # Pillow would clip it to 8 bits
            levels = np.asarray(picture) // 256
            picture = Image.fromarray(levels.astype(np.uint8))
        picture = picture.convert("RGBA")
    # Pillow's decoders raise errors of many kinds, SyntaxError among them.
    except Exception as error:
        raise ValueError(f"{path} cannot be read as a picture: {error}") from error
    picture.thumbnail((_MAX_SIDE, _MAX_SIDE))
    white = Image.new("RGBA", picture.size, "white")
    return Image.alpha_composite(white, picture)


def _background(pixels: np.ndarray) -> np.ndarray:
    """Find the commonest shade of the border, of shape (channels,).

    The commonest, not the mean: an article may touch the border on all sides.
    """
    border = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
    levels = (border.mean(axis=1) // 16).astype(int)
    commonest = np.bincount(levels).argmax()
    return np.median(border[levels == commonest], axis=0)


def _cut_out(difference: np.ndarray) -> np.ndarray:
    """Crop to what differs from the background, made light on black, as uint8."""
    strength = np.abs(difference).max(axis=2)
    threshold = max(_MIN_CONTRAST, _MIN_SHARE * strength.max())
    rows, columns = np.nonzero(strength > threshold)
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
