"""Files of rows of pixels, .npy and .csv, read in batches."""

from __future__ import annotations

import csv
import itertools
import math
import os
from collections.abc import Iterator
from typing import Any

import numpy as np

from ..estimators import ImageClassifier
from ..storage import bounded, check_regular, open_regular
from ._common import Batch

_CHARS_A_NUMBER = 40  # of a row of CSV at most, so that no line takes the memory
_PASSED_OVER = ("", "label")  # columns beside the pixels: numbers of rows, true labels


def is_array_file(path: str) -> bool:
    """Tell whether an input is a file of rows, by its name."""
    return path.lower().endswith((".csv", ".npy"))


def read_npy(path: str, estimator: ImageClassifier, batch_size: int) -> Iterator[Batch]:
    check_regular(path, os.stat(path).st_mode)
    try:
        array: np.ndarray = np.lib.format.open_memmap(path, mode="r")
    # What a damaged header brings about may be of any kind.
    except Exception as error:
        raise ValueError(
            f"{path} cannot be read as an array: {bounded(error)}"
        ) from error
    shape = estimator.image_shape_
    shapes = [(estimator.n_features_in_,)]
    if math.prod(shape) == estimator.n_features_in_:
        shapes += [shape] + [shape[1:]] * (shape[0] == 1)
    if array.shape in shapes:  # one image
        array = array[None]
    if array.shape[1:] not in shapes or array.dtype.kind not in "buif":
        expected = " or ".join(str(("n", *each)).replace("'", "") for each in shapes)
        raise ValueError(
            f"{path} holds {array.dtype} of shape {array.shape}, expected numbers of "
            f"shape {expected}"
        )
    for start in range(0, len(array), batch_size):
        X = np.asarray(array[start : start + batch_size])
        yield Batch([(path, start + i) for i in range(len(X))], X)


def read_csv(path: str, estimator: ImageClassifier, batch_size: int) -> Iterator[Batch]:
    n_columns, start = estimator.n_features_in_, 0
    limit = _CHARS_A_NUMBER * (n_columns + 2)
    with open_regular(path) as file:
        lines = _lines(file, path, limit)
        first = next(lines, None)
        if first is None:
            raise ValueError(f"{path} is empty")
        columns = next(csv.reader([first]))
        names = columns if _is_header(columns) else None
        if names is None:
            lines = itertools.chain([first], lines)
        kept = _pixel_columns(names, estimator, path)
        while chunk := list(itertools.islice(lines, batch_size)):
            try:
                rows = np.loadtxt(
                    chunk,
                    delimiter=",",
                    comments=None,
                    quotechar='"',
                    ndmin=2,
                    usecols=kept,
                )
            except ValueError as error:
                last = start + len(chunk) - 1
                raise ValueError(
                    f"{path} cannot be read, in its rows {start} to {last}: {error}"
                ) from error
            if rows.shape[1] != n_columns:
                raise ValueError(
                    f"{path} has {rows.shape[1]} columns in row {start}, and the model "
                    f"was fitted on {n_columns} pixels"
                )
            yield Batch([(path, start + i) for i in range(len(rows))], rows)
            start += len(rows)


def _lines(file: Any, path: str, limit: int) -> Iterator[str]:
    """Yield a file's lines that are not empty; one without end is no row of pixels."""
    while line := file.readline(limit):
        if len(line) == limit:
            raise ValueError(
                f"{path} has a line of {limit:,} characters or more, far more than the "
                "pixels of one image take"
            )
        if line.strip():
            yield line.decode("utf-8-sig")


def _is_header(columns: list[str]) -> bool:
    """Whether a line names the columns: by text, or by counting them."""
    try:
        numbers = [float(column) for column in columns]
    except ValueError:
        return True
    return len(numbers) > 2 and numbers == list(range(len(numbers)))


def _pixel_columns(
    names: list[str] | None, estimator: ImageClassifier, path: str
) -> list[int] | None:
    """Return where the pixels stand; None for all columns."""
    if names is None:
        return None
    kept = list(range(len(names)))
    if len(names) > estimator.n_features_in_:
        kept = [i for i in kept if names[i].strip().lower() not in _PASSED_OVER]
    fitted = getattr(estimator, "feature_names_in_", None)
    if fitted is not None and [names[i] for i in kept] != fitted.tolist():
        raise ValueError(
            f"{path} names its columns differently from those that were fitted, or has "
            f"them in another order: {bounded([names[i] for i in kept][:3])} ..., "
            f"expected {bounded(fitted[:3].tolist())} ..."
        )
    return kept
