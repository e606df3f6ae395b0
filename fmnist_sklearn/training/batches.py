"""The rows of a fit: split, pixel statistics, weights, batches and losses."""

from __future__ import annotations

import dataclasses
import operator
from collections.abc import Callable, Iterator
from dataclasses import KW_ONLY, dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from sklearn.model_selection import StratifiedShuffleSplit
from torch import Tensor
from torch.utils.data import Dataset, Subset

from .augment import Augment, mix_up
from .device import sent


@dataclass(eq=False, repr=False)
class ImageDataset(Dataset):
    """Images, encoded labels and sample weights, as a torch ``Dataset``.

    Parameters
    ----------
    images : Tensor of shape (n, C, H, W)
        Raw pixels.
    targets : Tensor of shape (n,), int64
        Class indices.
    weights : Tensor of shape (n,), float32, or None
        Sample weights, None for equal ones.
    soft_targets : Tensor of shape (n, n_classes), float32, or None
        Sum of the teachers' probabilities.
    """

    images: Tensor
    targets: Tensor
    weights: Tensor | None = None
    soft_targets: Tensor | None = None

    def __len__(self) -> int:
        """Count the rows."""
        return len(self.images)

    def __getitem__(self, index: Any) -> tuple[Tensor, ...]:
        """Return image, target and, where available, weight and soft targets."""
        tensors = (self.images, self.targets, self.weights, self.soft_targets)
        return tuple(values[index] for values in tensors if values is not None)


def resolve_subset(
    dataset: ImageDataset | Subset,
) -> tuple[ImageDataset, Tensor | None]:
    """Find the dataset below (nested) subsets, and the rows they select."""
    indices = None
    while isinstance(dataset, Subset):
        rows = torch.as_tensor(dataset.indices, dtype=torch.int64)
        indices = rows if indices is None else rows[indices]
        dataset = dataset.dataset  # type: ignore[assignment]
    return dataset, indices


def is_resident(dataset: Any) -> bool:
    """Whether ``BatchIterator`` can cut batches from ``dataset``."""
    return isinstance(resolve_subset(dataset)[0], ImageDataset)


def _replace(dataset: Any, **tensors: Tensor) -> Any:
    """Return the same rows of an ImageDataset (or Subset of one) with other tensors."""
    base, rows = resolve_subset(dataset)
    replaced = dataclasses.replace(base, **tensors)
    return replaced if rows is None else Subset(replaced, rows.numpy())  # type: ignore[arg-type]


def weights_as_float32(weights: np.ndarray) -> np.ndarray:
    """Scale weights by a power of two, which is exact, so that float32 holds them.

    Their ratios are what counts. Those below 1e-45 of the largest become 0.
    """
    _, exponent = np.frexp(weights.max())
    return np.ldexp(weights, -exponent).astype(np.float32)


def normalise_weights(dataset: Any, class_weights: Any = None) -> Any:
    """Scale the weights of a part to mean 1, so that ``lr`` keeps its meaning.

    Parameters
    ----------
    dataset : ImageDataset, Subset of one, or anything else
        Anything else is returned as it is.
    class_weights : array-like of shape (n_classes,), optional
        Factors of the weights, by class.

    Raises
    ------
    ValueError
        If they are 0 for every row.
    """
    if not is_resident(dataset):
        return dataset
    base, indices = resolve_subset(dataset)
    weights = base.weights
    if class_weights is not None:
        factors = torch.as_tensor(class_weights, dtype=torch.float32)
        factors = factors.to(base.targets.device)[base.targets]
        weights = factors if weights is None else weights * factors
    if weights is None:
        return dataset
    part = weights if indices is None else weights[indices.to(weights.device)]
    if not part.any():
        raise ValueError(
            "class_weight leaves no weight to any of the rows to train or validate on"
        )
    return _replace(dataset, weights=weights / part.mean())


def with_soft_targets(dataset: Any, soft_targets: Tensor) -> Any:
    """Return the same rows with the teachers' probabilities.

    Parameters
    ----------
    dataset : ImageDataset or Subset of one
        The rows.
    soft_targets : Tensor of shape (len(dataset), n_classes)
        In their order.
    """
    base, rows = resolve_subset(dataset)
    device = base.images.device
    of_all = soft_targets.new_zeros((len(base), soft_targets.shape[1]), device=device)
    of_all[slice(None) if rows is None else rows.to(device)] = soft_targets.to(device)
    weights = base.weights
    if weights is None:  # they come before the soft targets in an item
        weights = torch.ones(len(base), dtype=torch.float32, device=device)
    return _replace(dataset, weights=weights, soft_targets=of_all)


# The split ---------------------------------------------------------------------


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
    _, counts = np.unique(y, return_counts=True)
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


# Pixels ------------------------------------------------------------------------


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
    images = resolve_subset(dataset)[0].images
    # No copy of all the pixels is made, and a piece stays in the processor's cache; a
    # GPU takes larger ones.
    n_rows = 256 if images.device.type == "cpu" else 2**14
    batches = BatchIterator(dataset, n_rows)
    pieces = (batch[0].transpose(0, 1).flatten(1) for batch in batches)  # (C, pixels)
    if pixel_scaling == "symmetric":
        low, high = 0.0, 255.0
        if images.dtype != torch.uint8:
            ends = torch.stack([torch.stack(piece.aminmax()) for piece in pieces])
            low, high = float(ends[:, 0].min()), float(ends[:, 1].max())
            if low >= 0 and high <= 255:
                low, high = 0.0, 1.0 if high <= 1 else 255.0
        std = torch.full((images.shape[1],), (high - low) / 2, dtype=torch.float64)
        mean = low + std
    else:
        # About the first pixel of each channel, so that no digits are lost where all
        # are large; in double precision, in which sums of bytes are exact.
        origin = images[0].flatten(1)[:, :1].double()
        sums = torch.zeros(2, len(origin), dtype=torch.float64, device=images.device)
        for piece in pieces:
            distances = piece.double() - origin
            squares = torch.linalg.vecdot(distances, distances)
            sums += torch.stack([distances.sum(1), squares])
        shift, square = sums / (len(dataset) * images[0, 0].numel())
        mean, std = origin[:, 0] + shift, (square - shift**2).clamp(min=0).sqrt()
    # 1 where float32 cannot divide by it.
    std[std < torch.finfo(torch.float32).tiny] = 1
    return mean.float().cpu(), std.float().cpu()


# Batches ------------------------------------------------------------------------


class Batch(tuple):
    """A pair (images, targets), as skorch's callbacks expect, that carries more.

    All but images and targets are attributes, not elements. The last three are of the
    images that were blended into those of the batch, where some were.
    """

    weights: Tensor | None
    soft_targets: Tensor | None  # of teachers, as in ImageDataset
    mixed_targets: Tensor | None
    mixed_weights: Tensor | None
    share: Any  # of its own that each image kept, (n,): equal in a batch

    def __new__(
        cls,
        images: Any,
        targets: Any,
        weights: Tensor | None = None,
        soft_targets: Tensor | None = None,
        mixed_targets: Tensor | None = None,
        mixed_weights: Tensor | None = None,
        share: Any = None,
    ):
        """Build the pair and what it carries."""
        batch = super().__new__(cls, (images, targets))
        # In the order of the arguments, in which `map` passes them on.
        batch.weights, batch.soft_targets = weights, soft_targets
        batch.mixed_targets, batch.mixed_weights = mixed_targets, mixed_weights
        batch.share = share
        return batch

    @property
    def blended_weights(self) -> Tensor | None:
        """The weights of the images as they are, blended or not."""
        if self.weights is None or self.mixed_weights is None:
            return self.weights
        return torch.lerp(self.mixed_weights, self.weights, self.share)

    def augmented(
        self,
        augment: Augment | None,
        mixup: float,
        generator: torch.Generator | None,
        batch_size: int | None = None,
    ) -> Batch:
        """Return a batch of changed images.

        Parameters
        ----------
        augment : callable or None
            Called as ``augment(images, generator)``.
        mixup : float
            See `mix_up`; 0 blends nothing.
        generator : torch.Generator or None
            On the CPU.
        batch_size : int, optional
            Where these are several batches, the rows of each: images are blended with
            others of their own batch.
        """
        images, targets = self
        weights, soft_targets = self.weights, self.soft_targets
        if augment is not None:
            images = augment(images, generator)
        if not mixup:
            return Batch(images, targets, weights, soft_targets)
        images, others, share = mix_up(images, mixup, generator, batch_size)
        of_others = None if weights is None else weights[others]
        if soft_targets is not None:
            soft_targets = torch.lerp(
                soft_targets[others], soft_targets, share[:, None]
            )
        return Batch(
            images, targets, weights, soft_targets, targets[others], of_others, share
        )

    def map(self, function: Callable[[Tensor], Tensor]) -> Batch:
        """Return a batch of what a function makes of each tensor."""
        values = (*self, *vars(self).values())
        return Batch(*(None if v is None else function(v) for v in values))

    def tensors(self) -> list[Tensor]:
        """Return all that it carries, in an order that depends on nothing else."""
        return [v for v in (*self, *vars(self).values()) if v is not None]

    def split(self, n_rows: int) -> Iterator[Batch]:
        """Cut into batches of at most ``n_rows`` rows."""
        n = len(self[0])
        if n <= n_rows:
            yield self
            return
        for start in range(0, n, n_rows):
            yield self.map(operator.itemgetter(slice(start, start + n_rows)))


class EpochTotals(NamedTuple):
    """Sums over the batches of a part in one epoch."""

    sums: Tensor  # loss, hits and what they are hits of: (3,), on the device
    n_rows: int
    n_batches: int


@dataclass(eq=False, repr=False)
class BatchIterator:
    """Loop over the batches of an ``ImageDataset`` or a ``Subset`` of one.

    A batch is an index into the resident tensors: no row is handled in Python.

    Parameters
    ----------
    dataset : ImageDataset or Subset of ImageDataset
        Where the rows are.
    batch_size : int
        Rows in a batch; the last one may be smaller.
    shuffle : bool, default=False
        Draw a new random order each time the iterator is started.
    drop_last : bool, default=False
        Leave out a last batch that is not full.
    augment : callable, optional
        Called as ``augment(images, generator)`` on each batch of raw images.
    mixup : float, default=0
        Images of a batch are blended in proportions from Beta(mixup, mixup).
    generator : torch.Generator, optional
        On the CPU; the order of the rows and the augmentation draw from it.
    block_size : int, default=1
        Number of batches that are gathered and augmented together.
    """

    dataset: ImageDataset | Subset
    batch_size: int
    _: KW_ONLY
    shuffle: bool = False
    drop_last: bool = False
    augment: Augment | None = None
    mixup: float = 0
    generator: torch.Generator | None = None
    block_size: int = 1

    def __len__(self) -> int:
        """Count the batches."""
        n_batches, rest = divmod(len(self.dataset), self.batch_size)
        return n_batches + bool(rest and not self.drop_last)

    def __iter__(self) -> Iterator[Batch]:
        """Yield the batches of one epoch."""
        for block in self.blocks():
            yield from block.split(self.batch_size)

    def blocks(self) -> Iterator[Batch]:
        """Yield the rows of one epoch, those of ``block_size`` batches at a time."""
        base, indices = resolve_subset(self.dataset)
        if self.shuffle:
            order = torch.randperm(
                len(self.dataset), generator=self.generator, device="cpu"
            )
            indices = order if indices is None else indices[order]
        if indices is not None:
            indices = sent(indices, base.images.device)
        n_rows = min(len(self) * self.batch_size, len(self.dataset))
        block = self.block_size * self.batch_size
        for start in range(0, n_rows, block):
            rows = slice(start, min(start + block, n_rows))
            index = rows if indices is None else indices[rows]
            batch = Batch(base.images, base.targets, base.weights, base.soft_targets)
            yield batch.map(partial(_take, index=index)).augmented(
                self.augment, self.mixup, self.generator, self.batch_size
            )


def _take(values: Tensor, index: Tensor | slice) -> Tensor:
    """Return some rows; with a tensor as index quicker than ``values[index]``."""
    return values[index] if isinstance(index, slice) else values.index_select(0, index)


@dataclass(eq=False, repr=False)
class LoadedBatches:
    """The batches of a user's iterator, made ``Batch`` and augmented."""

    loader: Any
    augment: Augment | None
    mixup: float
    generator: torch.Generator

    def __len__(self) -> int:
        """Count the batches."""
        return len(self.loader)

    def __iter__(self) -> Iterator[Batch]:
        """Yield the batches of one epoch."""
        # Only data of this package hold soft targets, too.
        most = 4 if is_resident(getattr(self.loader, "dataset", None)) else 3
        for batch in self.loader:
            if not isinstance(batch, list | tuple) or not 2 <= len(batch) <= most:
                raise ValueError(
                    "a dataset must give an image, its target and, at most, its "
                    "weight; see torch.utils.data.TensorDataset"
                )
            yield Batch(*batch).augmented(self.augment, self.mixup, self.generator)


# Losses of rows -----------------------------------------------------------------


def batch_loss(losses: Tensor, weights: Tensor | None) -> Tensor:
    """Return the mean of a batch's losses, each times its weight where there are any.

    The weights have mean 1 over the whole part and are not divided by their sum in a
    batch, so that the mean over the batches of an epoch is that over its rows.
    """
    return losses.mean() if weights is None else (losses * weights).mean()
