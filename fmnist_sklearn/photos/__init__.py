"""Photographs and drawings, made like the training images."""

from __future__ import annotations

import os
import warnings

import numpy as np
from PIL import Image

from ._clothing import cut_out_clothing
from ._opening import open_picture

__all__ = ["PREPARATIONS", "load_photo"]

PREPARATIONS = ("clothing", "resize")

_SIDE = 1024  # pixels; what is larger is reduced first, which also removes noise


def load_photo(
    path: str | os.PathLike[str],
    image_shape: tuple[int, int, int] = (1, 28, 28),
    *,
    prepare: str = "clothing",
) -> np.ndarray:
    """Read a picture of any size as an image such as a classifier was trained on.

    By default it shows one article, and the steps are those by which Fashion-MNIST was
    made: cut off the plain background, shrink the rest until its longest edge fills the
    image, centre it, and show it light on black. (Their sharpening is left out.) The
    contrast is stretched too.

    Parameters
    ----------
    path : str or path-like
        A PNG, JPEG, GIF, BMP, WebP, TIFF, PPM, JPEG 2000 or AVIF file of any size,
        whatever its name ends in; turned upright by its EXIF tag. Of several pictures
        in a file the first counts.
    image_shape : tuple of int, default=(1, 28, 28)
        (channels, height, width) of the result: 1 channel for grey, 3 for RGB.
    prepare : {"clothing", "resize"}, default="clothing"
        "clothing" does the above. "resize" brings the whole picture to `image_shape`,
        with its background, shades and colours; other proportions are stretched, and a
        picture of this very size keeps its pixels.

    Returns
    -------
    ndarray of shape (channels, height, width), uint8
        With "clothing" the article, lighter than its background, which is 0; all 0
        where no article is seen.

    Raises
    ------
    OSError
        If the file cannot be read, or is a device or a FIFO; ``FileNotFoundError``
        where there is none.
    ValueError
        If it is not a picture, is of another format, is damaged, or would take more
        than 480 MB to decode (40 megapixels of most formats; a JPEG is decoded at a
        fraction of its size); or for another number of channels.

    Warns
    -----
    UserWarning
        With "clothing", if no article is seen: the picture is blank or transparent, or
        shows nothing but noise and shading.

    Notes
    -----
    What is transparent lets white through, when a picture is only resized.

    For "clothing", the background is the commonest shade along the border. A thin line
    all around the picture is cut off first: it is neither article nor background.

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
            f"image_shape must have 1 channel for grey or 3 for RGB, got {image_shape}"
        )
    if prepare not in PREPARATIONS:
        raise ValueError(f"prepare must be 'clothing' or 'resize', got {prepare!r}")
    picture = open_picture(path, max(_SIDE, height, width))
    if prepare == "resize":
        image = _resize(picture, image_shape)
    else:
        picture.thumbnail((_SIDE, _SIDE))
        image = cut_out_clothing(picture, image_shape)
        if not image.any():
            warnings.warn(
                f"{path}: no article is seen in this picture; it is blank, or its "
                "article does not differ enough from the background",
                stacklevel=2,
            )
    return image.transpose(2, 0, 1).copy()


def _resize(picture: Image.Image, image_shape: tuple[int, int, int]) -> np.ndarray:
    """Bring all of a picture to a size, on white; shape (height, width, channels)."""
    channels, height, width = image_shape
    opaque = Image.new("RGBA", picture.size, "white")
    opaque.alpha_composite(picture)
    image = opaque.convert("L" if channels == 1 else "RGB")
    image = image.resize((width, height), Image.Resampling.LANCZOS)
    return np.asarray(image).reshape(height, width, channels)
