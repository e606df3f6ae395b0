"""Pictures and folders of them, read in batches, as a model was trained on them."""

from __future__ import annotations

import itertools
import math
import os
import warnings
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from ..datasets import CLASS_NAMES
from ..estimators import ImageClassifier
from ..photos import load_photo, naming, pictures_in
from ._common import Batch, Report


def choose_preparation(
    summary: Any, estimator: ImageClassifier
) -> tuple[str, str | None]:
    """Choose how pictures are prepared for a model: as for its training.

    Parameters
    ----------
    summary : ModelSummary
        What the model's file says of itself.
    estimator : ImageClassifier
        The model.

    Returns
    -------
    prepare : {"clothing", "resize"}
        As ``load_photo`` takes it.
    note : str or None
        What to tell where the file does not say it, and what it holds does not either.
    """
    if summary.preparation is not None:
        return summary.preparation, None
    classes = estimator.classes_.tolist()
    is_fashion = sorted(classes, key=str) in (sorted(CLASS_NAMES), list(range(10)))
    if is_fashion and estimator.image_shape_ == (1, 28, 28):
        return "clothing", None
    return "resize", (
        f"{summary.path} does not say how pictures are prepared for it; resize is "
        "assumed, since its classes or images are not Fashion-MNIST's. --prepare says "
        'it, and save_model(..., preparation="resize") keeps it in the file'
    )


def pixel_factor(estimator: ImageClassifier) -> tuple[float, str | None]:
    """Find what brings pixels of 0 to 255 to the range that was fitted.

    Parameters
    ----------
    estimator : ImageClassifier
        The model.

    Returns
    -------
    factor : float
        1, or 1/255 where the model was fitted on pixels of 0 to 1.
    note : str or None
        What to tell of it.

    Raises
    ------
    ValueError
        If the model takes no pictures: for another number of channels, rows that fill
        no image, or pixels of another range.
    """
    shape = estimator.image_shape_
    rows_instead = "; give rows of pixels, as .npy or .csv"
    if shape[0] not in (1, 3) or math.prod(shape) != estimator.n_features_in_:
        raise ValueError(
            f"the model was fitted on {estimator.n_features_in_} pixels in images of "
            f"shape {shape}, and pictures are grey (1) or RGB (3){rows_instead}"
        )
    scaling = estimator.module_.scaling
    mean, std = float(scaling.mean.mean()), float(scaling.std.mean())
    if 255 - mean <= 100 * std:
        return 1, None
    fitted = f"pixels of mean {mean:.3g} and standard deviation {std:.3g}"
    # Numbers from 0 to 1 have no larger variance than this.
    if 0 <= mean <= 1 and std**2 <= mean * (1 - mean) * 1.01:
        return 1 / 255, f"the model was fitted on {fitted}: pictures are scaled to 0..1"
    raise ValueError(
        f"the model was fitted on {fitted}, and how pictures of 0 to 255 come to "
        f"this range is not known{rows_instead}"
    )


def walk(inputs: Iterable[str], report: Report) -> Iterator[str]:
    """Yield pictures, and those in folders, of which one is listed at a time."""
    for path in inputs:
        if not os.path.isdir(path):
            yield path
            continue
        n_found = n_unread = 0

        def unread(error: OSError) -> None:
            nonlocal n_unread
            n_unread += 1
            report(naming(str(error.filename), error))

        for picture in pictures_in(path, unread):
            n_found += 1
            yield picture
        if not n_found and not n_unread:
            report(f"{path}: no pictures are in this folder")


def read_pictures(
    paths: Iterable[str],
    image_shape: tuple[int, int, int],
    prepare: str,
    factor: float,
    report: Report,
) -> Iterator[tuple[str, np.ndarray]]:
    for path in paths:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            try:
                image = load_photo(path, image_shape, prepare=prepare)
            except (OSError, ValueError) as error:
                report(naming(path, error))
                continue
        is_seen = prepare != "clothing" or bool(image.any())
        for warning in caught:
            text = naming(path, str(warning.message))
            report(text, kind="warning", passed_over=not is_seen)
        if not is_seen:
            continue
        yield path, image if factor == 1 else (image * factor).astype(np.float32)


def in_batches(
    pictures: Iterator[tuple[str, np.ndarray]], batch_size: int
) -> Iterator[Batch]:
    while chunk := list(itertools.islice(pictures, batch_size)):
        yield Batch(
            [(path, None) for path, _ in chunk], np.stack([image for _, image in chunk])
        )
