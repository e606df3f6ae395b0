"""Batches cut from tensors that stay in memory, and the weights of their rows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, Subset

from .augment import Augment
from .device import sent, shared_copies


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
    """

    def __init__(
        self, images: Tensor, targets: Tensor, weights: Tensor | None = None
    ) -> None:
        self.images = images
        self.targets = targets
        self.weights = weights

    def __len__(self) -> int:
        """Count the rows."""
        return len(self.images)

    def __getitem__(self, index: Any) -> tuple[Tensor, ...]:
        """Return image, target and, where there are weights, the weight."""
        items = (self.images[index], self.targets[index])
        return items if self.weights is None else (*items, self.weights[index])

    def to(self, device: torch.device, *, shared: bool = False) -> ImageDataset:
        """Move the tensors to ``device``, where they are not there already.

        With ``shared``, equal images that others have there are taken instead.
        """
        weights = None if self.weights is None else self.weights.to(device)
        shared = shared and device.type == "cuda" and not self.images.is_cuda
        images = (
            shared_copies.get(self.images, device) if shared else self.images.to(device)
        )
        return ImageDataset(images, self.targets.to(device), weights)


class Batch(tuple):
    """A pair (images, targets), as skorch's callbacks expect, that carries weights."""

    weights: Tensor | None

    def __new__(cls, images: Any, targets: Any, weights: Tensor | None = None):
        """Build the pair; ``weights`` is an attribute, not an element."""
        batch = super().__new__(cls, (images, targets))
        batch.weights = weights
        return batch

    def split(self, n_rows: int) -> Iterator[Batch]:
        """Cut into batches of at most so many rows."""
        images, targets = self
        if len(images) <= n_rows:
            yield self
            return
        for start in range(0, len(images), n_rows):
            rows = slice(start, start + n_rows)
            weights = None if self.weights is None else self.weights[rows]
            yield Batch(images[rows], targets[rows], weights)


class Pass(NamedTuple):
    """What one pass over the batches of a part came to."""

    sums: Tensor  # loss, hits and what they are hits of: (3,), on the device
    n_rows: int
    n_batches: int


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
    generator : torch.Generator, optional
        On the CPU; the order of the rows and the augmentation draw from it.
    block_size : int, default=1
        Number of batches that are gathered and augmented together.
    """

    def __init__(
        self,
        dataset: ImageDataset | Subset,
        batch_size: int,
        *,
        shuffle: bool = False,
        drop_last: bool = False,
        augment: Augment | None = None,
        generator: torch.Generator | None = None,
        block_size: int = 1,
    ) -> None:
        self.dataset = dataset
        self.batch_size = batch_size
        self.shuffle = shuffle
        self.drop_last = drop_last
        self.augment = augment
        self.generator = generator
        self.block_size = block_size

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
        device = base.images.device
        if self.shuffle:
            order = torch.randperm(
                len(self.dataset), generator=self.generator, device="cpu"
            )
            indices = order if indices is None else indices[order]
        if indices is not None:
            indices = sent(indices, device)
        n_rows = min(len(self) * self.batch_size, len(self.dataset))
        block = self.block_size * self.batch_size
        for start in range(0, n_rows, block):
            rows = slice(start, min(start + block, n_rows))
            index = rows if indices is None else indices[rows]
            images = _take(base.images, index)
            if self.augment is not None:
                images = self.augment(images, self.generator)
            weights = None if base.weights is None else _take(base.weights, index)
            yield Batch(images, _take(base.targets, index), weights)


class LoadedBatches:
    """The batches of a user's iterator, made ``Batch`` and augmented."""

    def __init__(
        self, loader: Any, augment: Augment | None, generator: torch.Generator
    ) -> None:
        self.loader, self.augment, self.generator = loader, augment, generator

    def __len__(self) -> int:
        """Count the batches."""
        return len(self.loader)

    def __iter__(self) -> Iterator[Batch]:
        """Yield the batches of one epoch."""
        for batch in self.loader:
            if not isinstance(batch, list | tuple) or len(batch) not in (2, 3):
                raise ValueError(
                    "a dataset must give an image, its target and, at most, its "
                    "weight; see torch.utils.data.TensorDataset"
                )
            images, targets, *weights = batch
            if self.augment is not None:
                images = self.augment(images, self.generator)
            yield Batch(images, targets, *weights)


def _take(values: Tensor, index: Tensor | slice) -> Tensor:
    """Return some rows; with a tensor as index quicker than ``values[index]``."""
    return values[index] if isinstance(index, slice) else values.index_select(0, index)


def automatic_batch_size(n_rows: int) -> int:
    """Choose the size of the mini-batches: a hundredth of the rows, from 16 to 64.

    Fewer rows take smaller batches, so that an epoch has steps enough to learn from.
    """
    return min(max(n_rows // 100, 16), 64)


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


def weights_as_float32(weights: np.ndarray) -> np.ndarray:
    """Scale weights by a power of two, which is exact, so that float32 holds them.

    Their ratios are what counts. Those below 1e-45 of the largest become 0.
    """
    _, exponent = np.frexp(weights.max())
    return np.ldexp(weights, -exponent).astype(np.float32)


def normalise_weights(
    dataset: Any, class_weights: Any = None, *, purpose: str = "train on"
) -> Any:
    """Scale the weights of a part to mean 1, so that ``lr`` keeps its meaning.

    Parameters
    ----------
    dataset : ImageDataset, Subset of one, or anything else
        Anything else is returned as it is.
    class_weights : array-like of shape (n_classes,), optional
        Factors of the weights, by class.
    purpose : str, default="train on"
        What the rows are for, in the error.

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
            f"class_weight leaves no weight to any of the rows to {purpose}"
        )
    scaled = ImageDataset(base.images, base.targets, weights / part.mean())
    return scaled if indices is None else Subset(scaled, indices.numpy())  # type: ignore[arg-type]


def is_resident(dataset: Any) -> bool:
    """Whether ``BatchIterator`` can cut batches from ``dataset``."""
    while isinstance(dataset, Subset):
        dataset = dataset.dataset
    return isinstance(dataset, ImageDataset)
