"""One training run: its data, its loop, and skorch's seams around them.

``net`` is skorch's net; ``fit`` makes a ``Training`` of it (``loop``), which goes
through epochs and batches and calls the net's steps.
"""

from .augment import make_augment
from .batches import (
    Batch,
    ImageDataset,
    batch_loss,
    normalise_weights,
    pixel_statistics,
    resolve_subset,
    split_rows,
    weights_as_float32,
    with_soft_targets,
)
from .callbacks import SCHEDULES
from .device import own_settings, resolve_device, resolve_precision
from .loop import Training, extra_callbacks
from .net import Seeds, TrainingNet, build_module

__all__ = [
    "SCHEDULES",
    "Batch",
    "ImageDataset",
    "Seeds",
    "Training",
    "TrainingNet",
    "batch_loss",
    "build_module",
    "extra_callbacks",
    "make_augment",
    "normalise_weights",
    "own_settings",
    "pixel_statistics",
    "resolve_device",
    "resolve_precision",
    "resolve_subset",
    "split_rows",
    "weights_as_float32",
    "with_soft_targets",
]
