"""Batches cut from tensors that stay in memory, and the weights of their rows."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import Dataset, Subset

from .augment import Augment, mix_up
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
    soft_targets : Tensor of shape (n, n_classes), float32, or None
        What teachers say of the rows: their probabilities, added up.
    """

    def __init__(
        self,
        images: Tensor,
        targets: Tensor,
        weights: Tensor | None = None,
        soft_targets: Tensor | None = None,
    ) -> None:
        self.images = images
        self.targets = targets
        self.weights = weights
        self.soft_targets = soft_targets

    def __len__(self) -> int:
        """Count the rows."""
        return len(self.images)

    def __getitem__(self, index: Any) -> tuple[Tensor, ...]:
        """Return image, target and, where there are some, weight and soft targets."""
        items: tuple[Tensor, ...] = (self.images[index], self.targets[index])
        if self.weights is not None:
            items += (self.weights[index],)
        if self.soft_targets is not None:
            soft_targets = self.soft_targets[index]
            if self.weights is None:
                items += (torch.ones_like(soft_targets[..., 0]),)
            items += (soft_targets,)
        return items

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


class MixedIn(NamedTuple):
    """What belongs to the images that were blended into those of a batch."""

    targets: Tensor
    weights: Tensor | None
    share: Tensor  # of its own that each image kept, (n,): the same in all of a batch


class Batch(tuple):
    """A pair (images, targets), as skorch's callbacks expect, that carries more."""

    weights: Tensor | None
    soft_targets: Tensor | None  # of teachers, as in ImageDataset
    mixed_in: MixedIn | None = None

    def __new__(
        cls,
        images: Any,
        targets: Any,
        weights: Tensor | None = None,
        soft_targets: Tensor | None = None,
    ):
        """Build the pair; all but images and targets are attributes, not elements."""
        batch = super().__new__(cls, (images, targets))
        batch.weights = weights
        batch.soft_targets = soft_targets
        return batch

    @property
    def blended_weights(self) -> Tensor | None:
        """The weights of the images as they are, blended or not."""
        own, mixed_in = self.weights, self.mixed_in
        if own is None or mixed_in is None or mixed_in.weights is None:
            return own
        return torch.lerp(mixed_in.weights, own, mixed_in.share)

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
        if augment is None and not mixup:
            return self
        images, targets = self
        if augment is not None:
            images = augment(images, generator)
        if not mixup:
            return Batch(images, targets, self.weights, self.soft_targets)
        images, others, share = mix_up(images, mixup, generator, batch_size)
        soft_targets, weights = self.soft_targets, self.weights
        if soft_targets is not None:
            soft_targets = torch.lerp(
                soft_targets[others], soft_targets, share[:, None]
            )
        batch = Batch(images, targets, weights, soft_targets)
        weights = None if weights is None else weights[others]
        batch.mixed_in = MixedIn(targets[others], weights, share)
        return batch

    def tensors(self) -> list[Tensor]:
        """Return all that it carries, in an order that depends on nothing else."""
        carried = (*self, self.weights, self.soft_targets, *(self.mixed_in or ()))
        return [values for values in carried if values is not None]

    def map(self, function: Callable[[Tensor], Tensor]) -> Batch:
        """Return a batch of what a function makes of each tensor."""

        def of(values: Tensor | None) -> Tensor | None:
            return None if values is None else function(values)

        batch = Batch(*map(of, (*self, self.weights, self.soft_targets)))
        if self.mixed_in is not None:
            batch.mixed_in = MixedIn(*map(of, self.mixed_in))  # type: ignore[arg-type]
        return batch

    def split(self, n_rows: int) -> Iterator[Batch]:
        """Cut into batches of at most so many rows."""
        n = len(self[0])
        if n <= n_rows:
            yield self
            return
        for start in range(0, n, n_rows):
            yield self.map(operator.itemgetter(slice(start, start + n_rows)))


class EpochTotals(NamedTuple):
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
    mixup : float, default=0
        Images of a batch are blended in proportions from Beta(mixup, mixup).
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
        mixup: float = 0,
        generator: torch.Generator | None = None,
        block_size: int = 1,
    ) -> None:
        self.dataset = dataset
        self.batch_size = batch_size
        self.shuffle = shuffle
        self.drop_last = drop_last
        self.augment = augment
        self.mixup = mixup
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
            tensors = (base.images, base.targets, base.weights, base.soft_targets)
            batch = Batch(*(t if t is None else _take(t, index) for t in tensors))
            yield batch.augmented(
                self.augment, self.mixup, self.generator, self.batch_size
            )


class LoadedBatches:
    """The batches of a user's iterator, made ``Batch`` and augmented."""

    def __init__(
        self,
        loader: Any,
        augment: Augment | None,
        mixup: float,
        generator: torch.Generator,
    ) -> None:
        self.loader, self.augment, self.mixup = loader, augment, mixup
        self.generator = generator

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


def with_soft_targets(dataset: Any, soft_targets: Tensor) -> Any:
    """Return the same rows with what teachers say of them.

    Parameters
    ----------
    dataset : ImageDataset or Subset of one
        The rows.
    soft_targets : Tensor of shape (len(dataset), n_classes)
        In their order.
    """
    base, rows = resolve_subset(dataset)
    soft_targets = soft_targets.to(base.images.device)
    if rows is None:
        return ImageDataset(base.images, base.targets, base.weights, soft_targets)
    of_all = soft_targets.new_zeros((len(base), soft_targets.shape[1]))
    of_all[rows.to(of_all.device)] = soft_targets
    told = ImageDataset(base.images, base.targets, base.weights, of_all)
    return Subset(told, rows.numpy())  # type: ignore[arg-type]


def is_resident(dataset: Any) -> bool:
    """Whether ``BatchIterator`` can cut batches from ``dataset``."""
    while isinstance(dataset, Subset):
        dataset = dataset.dataset
    return isinstance(dataset, ImageDataset)


# Losses of rows ---


class CrossEntropy(torch.nn.CrossEntropyLoss):
    """PyTorch's cross-entropy, which also tells the loss of each row."""

    def of_rows(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Return the loss of each row, of shape (n,), before any reduction."""
        return F.cross_entropy(
            logits,
            targets,
            weight=self.weight,
            ignore_index=self.ignore_index,
            reduction="none",
            label_smoothing=self.label_smoothing,
        )


def row_losses(criterion: Any, logits: Tensor, targets: Tensor) -> Tensor:
    """Return the loss of each row by a net's criterion.

    Parameters
    ----------
    criterion : CrossEntropy or callable
        Anything else was built with ``reduction="none"``.
    logits : Tensor of shape (n, n_classes)
        What the network gives.
    targets : Tensor of shape (n,), int64
        Class indices.
    """
    if isinstance(criterion, CrossEntropy):
        return criterion.of_rows(logits, targets)
    return criterion(logits, targets)


def batch_loss(losses: Tensor, weights: Tensor | None) -> Tensor:
    """Return the mean of a batch's losses, each times its weight where there are any.

    The weights have mean 1 over the whole part and are not divided by their sum in a
    batch, so that the mean over the batches of an epoch is that over its rows.
    """
    return losses.mean() if weights is None else (losses * weights).mean()
