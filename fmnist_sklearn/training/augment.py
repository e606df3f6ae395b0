"""Random changes of whole batches of training images."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from numbers import Integral, Real
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .device import sent

Augment = Callable[[Tensor, torch.Generator | None], Tensor]


def _uniform(*shape: int, generator: torch.Generator | None) -> Tensor:
    """Draw from 0 to 1; the same numbers whatever PyTorch's default dtype is."""
    return torch.rand(shape, generator=generator, dtype=torch.float32)


def random_flip(images: Tensor, p: float, generator: torch.Generator | None) -> Tensor:
    """Mirror each image left to right with probability ``p``."""
    mirrored = _uniform(len(images), generator=generator) < p
    mirrored = sent(mirrored, images.device)[:, None, None, None]
    return torch.where(mirrored, images.flip(-1), images)


def random_shift(
    images: Tensor, pixels: int, generator: torch.Generator | None
) -> Tensor:
    """Move each image by up to ``pixels`` each way; zeros (black) come in."""
    n, _, h, w = images.shape
    device = images.device
    padded = torch.nn.functional.pad(images, (pixels,) * 4)
    offsets = torch.randint(0, 2 * pixels + 1, (2, n), generator=generator)
    rows, columns = sent(offsets, device)
    windows = padded.unfold(2, h, 1).unfold(3, w, 1)  # (n, c, offset, offset, h, w)
    return windows[torch.arange(n, device=device), :, rows, columns]


def random_rotate(
    images: Tensor, degrees: float, generator: torch.Generator | None
) -> Tensor:
    """Turn each image about its centre by up to ``degrees`` each way.

    Bilinear, in float32; zeros (black) come in.
    """
    n, _, h, w = images.shape
    angle = (_uniform(n, generator=generator) * 2 - 1) * math.radians(degrees)
    cos, sin, zero = angle.cos(), angle.sin(), torch.zeros_like(angle)
    # Coordinates go from -1 to 1 along either side, however long it is.
    rows = [cos, -sin * (h / w), zero, sin * (w / h), cos, zero]
    turns = sent(torch.stack(rows, 1).view(n, 2, 3), images.device)
    functional = torch.nn.functional
    grid = functional.affine_grid(turns, list(images.shape), align_corners=False)
    return functional.grid_sample(images.float(), grid, align_corners=False)


def random_erase(
    images: Tensor, side: int, generator: torch.Generator | None
) -> Tensor:
    """Set a square of up to ``side`` pixels at a random place of each image to 0."""
    n, _, h, w = images.shape
    device = images.device

    def span(length: int, draws: Tensor, sides: Tensor) -> Tensor:
        start = (draws * (length + 1)).long() - sides // 2
        position = torch.arange(length, device=device)
        return (position >= start[:, None]) & (position < (start + sides)[:, None])

    sides = sent(torch.randint(0, side + 1, (n,), generator=generator), device)
    draws = sent(_uniform(2, n, generator=generator), device)
    square = span(h, draws[0], sides)[:, :, None] & span(w, draws[1], sides)[:, None, :]
    return images.masked_fill(square[:, None], 0)


def mix_up(
    images: Tensor,
    alpha: float,
    generator: torch.Generator | None,
    batch_size: int | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Blend each image with another one of its batch, all in the same proportion.

    Parameters
    ----------
    images : Tensor of shape (n, C, H, W)
        Raw pixels.
    alpha : float
        The proportion is drawn from Beta(alpha, alpha).
    generator : torch.Generator or None
        On the CPU.
    batch_size : int, optional
        Rows of a batch where there are several; the last may have fewer.

    Returns
    -------
    blended : Tensor of shape (n, C, H, W), float32
        ``share * images + (1 - share) * images[others]``.
    others : Tensor of shape (n,), int64
        Which image went into each one, as a permutation of each batch.
    share : Tensor of shape (n,), float32
        How much of each image is its own: one number a batch.

    References
    ----------
    Zhang, Cisse, Dauphin and Lopez-Paz, "mixup: Beyond Empirical Risk Minimization",
    ICLR 2018.
    """
    n = len(images)
    others = torch.empty(n, dtype=torch.int64)
    share = torch.empty(n, dtype=torch.float32)
    for start in range(0, n, batch_size or n):
        rows = slice(start, start + (batch_size or n))
        within = torch.randperm(len(others[rows]), generator=generator, device="cpu")
        others[rows] = start + within
        # PyTorch draws from this distribution with its global generator only.
        seed = int(torch.randint(2**63 - 1, (), generator=generator, dtype=torch.int64))
        share[rows] = float(np.random.default_rng(seed).beta(alpha, alpha))
    images = images.float()
    others, share = sent(others, images.device), sent(share, images.device)
    blended = torch.lerp(images[others], images, share[:, None, None, None])
    return blended, others, share


# The parameter -----------------------------------------------------------------

_PIXELS = (Integral, math.inf, "a number of pixels, an integer of at least 0")
# Of each name: the function; the strength's type and highest value, both also in words.
_AUGMENTATIONS: dict[str, tuple[Any, Any, float, str]] = {
    "flip": (random_flip, Real, 1, "a probability"),
    "shift": (random_shift, *_PIXELS),
    "rotate": (random_rotate, Real, 180, "an angle in degrees, a number from 0 to 180"),
    "erase": (random_erase, *_PIXELS),
    # Left to `mix_up`. Beyond 1000 the shares are one half, as near as makes no
    # difference.
    "mixup": (
        None,
        Real,
        1000,
        "the alpha of a distribution Beta(alpha, alpha), a number from 0 to 1000",
    ),
}


def make_augment(augment: Mapping[str, Any] | Augment | None) -> Augment | None:
    """Turn the parameter ``augment`` into a function of a batch and a generator.

    Parameters
    ----------
    augment : mapping, callable or None
        A mapping from "flip" (probability of a left-right flip, or True for one
        half), "shift" (largest shift in pixels, each way), "rotate" (largest angle in
        degrees, each way), "erase" (largest side of a square set to 0) and "mixup" to
        their strength. A callable is returned as it is.

    Returns
    -------
    callable or None
        It leaves "mixup" out, which takes more than images: see `mixup_strength`.

    Raises
    ------
    ValueError
        For an unknown name or a strength out of range.
    """
    if augment is None or callable(augment):
        return augment
    unknown = set(augment) - set(_AUGMENTATIONS)
    if unknown:
        raise ValueError(
            f"augment may hold {', '.join(map(repr, _AUGMENTATIONS))}, got "
            f"{', '.join(map(repr, sorted(unknown, key=str)))}"
        )
    strengths: dict[str, Any] = dict.fromkeys(_AUGMENTATIONS, 0) | dict(augment)
    if strengths["flip"] is True:
        strengths["flip"] = 0.5
    used = []
    for name, (function, kind, highest, expected) in _AUGMENTATIONS.items():
        value = strengths[name]
        if not (isinstance(value, kind) and 0 <= value <= highest):
            raise ValueError(f"augment[{name!r}] must be {expected}, got {value!r}")
        if function is not None and value:
            used.append((function, value))

    def augment_batch(images: Tensor, generator: torch.Generator | None) -> Tensor:
        for function, strength in used:
            images = function(images, strength, generator)
        return images

    return augment_batch


def mixup_strength(augment: Mapping[str, Any] | Augment | None) -> float:
    """Return the alpha of "mixup" in the parameter ``augment``, 0 without it."""
    return augment.get("mixup", 0) if isinstance(augment, Mapping) else 0
