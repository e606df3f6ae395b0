"""An item of clothing cut out of a picture, as the images of Fashion-MNIST were."""

from __future__ import annotations

import numpy as np
from PIL import Image

_MIN_CONTRAST = 13  # grey levels: the 5 % by which the authors of the data set trim
_MIN_SHARE = 0.2  # of the contrast: smaller differences from the background are shading
_MIN_CLEAR = 0.01  # of the pixels: with fewer transparent ones it is not a cut-out
_MIN_OUTLINE = 2e-4  # of the pixels: fewer steps are specks (10 x 10 pixels: 4e-4)


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


# The item ---------------------------------------------------------------------------


def _differ_from_border(pixels: np.ndarray) -> np.ndarray:
    """Subtract the background; return zeros if nothing stands out from it."""
    if not _has_outlines(pixels):
        return np.zeros_like(pixels)
    return pixels - _background(pixels)


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


def _background(pixels: np.ndarray) -> np.ndarray:
    """Return the most frequent shade of the border, of shape (channels,).

    Not the mean, since an item may touch the border on all sides.
    """
    border = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
    levels = (border.mean(axis=1) // 16).astype(int)
    most_frequent = np.bincount(levels).argmax()
    return np.median(border[levels == most_frequent], axis=0)


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
