"""One training run: its data, its loop, and skorch's seams around them.

``net`` is skorch's net; ``fit`` makes a ``Training`` of it (``loop``), which goes
through epochs and batches and calls the net's steps.
"""

from .augment import make_augment
from .batches import (
    ImageDataset,
    normalise_weights,
    resolve_subset,
    weights_as_float32,
    with_soft_targets,
)
from .callbacks import SCHEDULES
from .device import own_settings, resolve_device, resolve_precision
from .distillation import Teaching, soften
from .loop import Training, extra_callbacks
from .net import TrainingNet, build_module
from .preparation import Seeds, pixel_statistics, split_rows

__all__ = [
    "SCHEDULES",
    "ImageDataset",
    "Seeds",
    "Teaching",
    "Training",
    "TrainingNet",
    "build_module",
    "extra_callbacks",
    "make_augment",
    "normalise_weights",
    "own_settings",
    "pixel_statistics",
    "resolve_device",
    "resolve_precision",
    "resolve_subset",
    "soften",
    "split_rows",
    "weights_as_float32",
    "with_soft_targets",
]
