"""What a fit settles before its first step: device, precision, seeds, split, pixels."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import torch
from sklearn.model_selection import StratifiedShuffleSplit
from sklearn.utils import check_random_state
from torch import Tensor
from torch.utils.data import Subset

from .batches import ImageDataset, resolve_subset


class Seeds:
    """One seed for each random part of a fit, drawn from ``random_state``.

    None takes fresh entropy; no global random state is read or changed.
    """

    def __init__(self, random_state: int | np.random.RandomState | None) -> None:
        self.source = random_state
        if random_state is None:
            random_state = int(np.random.SeedSequence().generate_state(1)[0])
        self.rng = check_random_state(random_state)
        self.weights, self.split, self.order, self.dropout = self._draw()

    def _draw(self) -> list[int]:
        return self.rng.randint(np.iinfo(np.int32).max, size=4).tolist()

    def following(self) -> Seeds:
        """Return the seeds of a call that goes on: the same split, new other seeds."""
        following = copy.copy(self)
        following.rng = copy.deepcopy(self.rng)
        _, _, following.order, following.dropout = following._draw()
        return following


def split_rows(
    y: np.ndarray, validation_fraction: float, shuffle: bool, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Choose the rows to train and to validate on.

    Parameters
    ----------
    y : ndarray of shape (n,)
        Class indices.
    validation_fraction : float
        Share of the rows to validate on, rounded to at least one row.
    shuffle : bool
        True draws a random stratified part, and leaves the only row of a class to
        train on; False takes the leading rows.
    seed : int
        Of the random part.

    Returns
    -------
    train, valid : ndarray of int
        Row numbers, in increasing order.

    Raises
    ------
    ValueError
        If a part would be empty.
    """
    n = len(y)
    n_valid = max(round(validation_fraction * n), 1)
    if n - n_valid < 1:
        raise ValueError(
            f"n_samples={n} is too few to set validation_fraction="
            f"{validation_fraction!r} of the rows aside and train on the rest; pass "
            "more rows, or validation_fraction=0"
        )
    if not shuffle:
        return np.arange(n_valid, n), np.arange(n_valid)
    counts = np.bincount(y)
    counts = counts[counts > 0]
    if counts.min() >= 2 and len(counts) <= min(n_valid, n - n_valid):
        splitter = StratifiedShuffleSplit(
            n_splits=1, test_size=n_valid, random_state=seed
        )
        train, valid = next(splitter.split(np.zeros((n, 1)), y))
        if len(np.unique(y[train])) == len(counts):
            return np.sort(train), np.sort(valid)
    order = _stratified_order(y, np.random.RandomState(seed))
    return np.sort(order[n_valid:]), np.sort(order[:n_valid])


def _stratified_order(y: np.ndarray, rng: np.random.RandomState) -> np.ndarray:
    """Put rows in a random order, any start of which holds each class by its share.

    The rows of a class of m stand at 0.5/m, 1.5/m, ... of the way: four of class a and
    two of b make a b a a b a. Then the last row of each class goes to the end, that of
    the rarest class last, so that the rows behind the start hold every class as
    long as possible: a b a a, a b.
    """
    place = np.empty(len(y))
    for label in np.unique(y):
        rows = rng.permutation(np.flatnonzero(y == label))
        place[rows] = (np.arange(len(rows)) + 0.5) / len(rows)
        place[rows[-1]] = 1 + 1 / len(rows)
    return np.lexsort((rng.random_sample(len(y)), place))  # ties at random


def pixel_statistics(
    dataset: ImageDataset | Subset, pixel_scaling: str
) -> tuple[Tensor, Tensor]:
    """Find what to subtract from the pixels and what to divide them by.

    Parameters
    ----------
    dataset : ImageDataset or Subset of one
        The training part.
    pixel_scaling : {"standardize", "symmetric"}
        "standardize": mean and standard deviation of each channel. "symmetric": the
        pixels' range to [-1, 1], where the range is 0..255 for uint8; for other
        dtypes 0..1 or 0..255 if it holds all values, else their minimum to maximum.

    Returns
    -------
    mean, std : Tensor of shape (C,), float32
        ``(pixels - mean) / std`` is the scaled image; ``std`` is never 0.
    """
    base, indices = resolve_subset(dataset)
    rows = torch.arange(len(base)) if indices is None else indices
    n_channels = base.images.shape[1]

    def pieces(channels: Any) -> Iterator[Tensor]:
        # No copy of all the pixels is made, and a piece stays in the processor's cache;
        # a GPU is synchronised less often.
        n_rows = 256 if base.images.device.type == "cpu" else 2**14
        for part in rows.to(base.images.device).split(n_rows):
            yield base.images.index_select(0, part)[:, channels]

    if pixel_scaling == "symmetric":
        if base.images.dtype == torch.uint8:
            low, high = 0.0, 255.0
        else:
            low = min(float(piece.min()) for piece in pieces(slice(None)))
            high = max(float(piece.max()) for piece in pieces(slice(None)))
            if low >= 0 and high <= 255:
                low, high = 0.0, 1.0 if high <= 1 else 255.0
        half = _divisor((high - low) / 2)
        means, stds = [low + half] * n_channels, [half] * n_channels
    else:
        moments = _moments_of_bytes if base.images.dtype == torch.uint8 else _moments
        found = [moments(partial(pieces, channel)) for channel in range(n_channels)]
        means = [mean for mean, _ in found]
        stds = [_divisor(variance**0.5) for _, variance in found]
    mean, std = torch.tensor([means, stds], dtype=torch.float32)
    return mean, std


def _moments_of_bytes(pieces: Callable[[], Iterator[Tensor]]) -> tuple[float, float]:
    """Return mean and variance of uint8 pixels, exact from counts of their values."""
    counted = (torch.bincount(piece.flatten(), minlength=256) for piece in pieces())
    counts = torch.stack(list(counted)).sum(0)
    share = counts.double() / counts.sum()
    values = torch.arange(256, dtype=share.dtype, device=share.device)
    mean = float(share @ values)
    return mean, float(share @ (values - mean).square_())


def _moments(pieces: Callable[[], Iterator[Tensor]]) -> tuple[float, float]:
    """Return mean and variance of the pixels, in two passes of double precision."""
    sums = [(float(piece.double().sum()), piece.numel()) for piece in pieces()]
    total, count = map(sum, zip(*sums, strict=True))
    mean = total / count
    squares = (piece.double().sub_(mean).square_() for piece in pieces())
    return mean, sum(float(piece.sum()) for piece in squares) / count


def _divisor(spread: float) -> float:
    """Return ``spread``, or 1 where float32 cannot divide by it."""
    return spread if spread >= torch.finfo(torch.float32).tiny else 1.0
