"""Any number of pictures and rows of pixels, read, predicted and written in batches."""

from __future__ import annotations

import itertools
import os
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TextIO, cast

from ..estimators import ImageClassifier
from ..output import escape_unencodable, print_line, print_notice, progress_bar
from ..persistence import inspect_model, load_model
from ..photos import naming
from ..storage import atomic_write
from ._common import Batch, Report
from ._lines import UNSURE, Prediction, format_predictions
from ._pictures import choose_preparation, in_batches, pixel_factor, read_pictures, walk
from ._rows import is_array_file, read_csv, read_npy

__all__ = ["UNSURE", "Prediction", "predict_files", "predict_inputs"]


def predict_files(
    model: str | os.PathLike[str],
    inputs: Sequence[str],
    *,
    prepare: str | None = None,
    format_: str = "text",
    top: int = 1,
    min_confidence: float = 0.0,
    out: str | os.PathLike[str] | None = None,
    batch_size: int = 256,
) -> bool:
    """Predict inputs by a saved model, and print or write what it says of each.

    What is wrong with one input is told on stderr, and the others are predicted all the
    same.

    Parameters
    ----------
    model : str or path-like
        A file that ``save_model`` wrote.
    inputs : sequence of str
        Pictures; folders, of which all pictures are taken, those of sub-folders too,
        in the order of their names; and files of rows of pixels, ``.csv`` and ``.npy``.
    prepare : {"clothing", "resize"} or None, default=None
        How pictures are prepared, see ``load_photo``. None: as the model's file says,
        or a guess, which is told.
    format_, top, min_confidence
        As :func:`format_predictions` takes them.
    out : str or path-like, default=None
        The file to write, whole at the end or not at all; None prints.
    batch_size : int, default=256
        Images to read and predict at a time.

    Returns
    -------
    whole : bool
        Whether all inputs were predicted.

    Raises
    ------
    OSError
        If the model cannot be read or `out` not be written: before anything is read.
    ValueError
        If `model` is no model, takes no pictures where some are given, or if `out` is
        the model or an input.
    """
    whole = True

    def report(text: str, *, kind: str = "error", passed_over: bool = True) -> None:
        nonlocal whole
        whole = whole and not passed_over
        print_notice(f"{kind}: {text}")

    with _writer(out, [os.fspath(model), *inputs]) as write:
        estimator = load_model(model)
        factor: float = 1.0
        notes: list[str | None] = []
        if not all(map(is_array_file, inputs)):
            factor, *notes = pixel_factor(estimator)
            if prepare is None:
                prepare, *more = choose_preparation(inspect_model(model), estimator)
                notes += more
        predictions = predict_inputs(
            estimator,
            inputs,
            prepare=prepare or "resize",
            factor=factor,
            batch_size=batch_size,
            report=report,
        )
        shown = out is not None or not (sys.stdout and sys.stdout.isatty())
        if shown and sys.stderr is not None and sys.stderr.isatty():
            total = None
            if not any(map(is_array_file, inputs)):
                total = sum(1 for _ in walk(inputs, _unheard))
            predictions = progress_bar(predictions, total)
        for line in format_predictions(
            predictions,
            estimator.classes_,
            format_=format_,
            top=top,
            min_confidence=min_confidence,
        ):
            write(line)
        # At the end: a reader that is gone by then wants to hear of nothing.
        for note in filter(None, notes):
            print_notice(f"note: {note}")
    return whole


@contextmanager
def _writer(
    out: str | os.PathLike[str] | None, read: list[str]
) -> Iterator[Callable[[str], object]]:
    """Open what lines are written to, at once, so that a fault is told at once."""
    if out is None:
        yield print_line
        return
    there = filter(os.path.exists, read) if os.path.isfile(out) else ()
    if any(os.path.samefile(out, path) for path in there):
        raise ValueError(f"--out names a file that is to be read: {out}")
    # A text file, as all that mode "w" opens.
    with (
        atomic_write(out, "w", encoding="utf-8") as file,
        escape_unencodable(cast(TextIO, file)),
    ):
        yield lambda line: file.write(line + "\n")


def _unheard(text: str, **what: Any) -> None:
    """Say nothing: it will be told when the inputs are read."""


def predict_inputs(
    estimator: ImageClassifier,
    inputs: Sequence[str],
    *,
    prepare: str,
    factor: float,
    batch_size: int,
    report: Report,
) -> Iterator[Prediction]:
    """Read and predict inputs in their order, a batch in memory at a time.

    Parameters
    ----------
    estimator : ImageClassifier
        A fitted classifier.
    inputs : sequence of str
        Pictures; folders, of which all pictures are taken, those of sub-folders too,
        in the order of their names; and files of rows of pixels, ``.csv`` and ``.npy``.
    prepare : {"clothing", "resize"}
        How pictures are prepared, see ``load_photo``.
    factor : float
        What their pixels are multiplied by.
    batch_size : int
        Images to read and predict at a time.
    report : callable
        Told of each input that cannot be predicted, which is passed over, and of
        warnings: ``report(text, kind="error", passed_over=True)``.

    Yields
    ------
    Prediction
    """
    for is_array, group in itertools.groupby(inputs, key=is_array_file):
        if not is_array:
            paths = walk(group, report)
            pictures = read_pictures(
                paths, estimator.image_shape_, prepare, factor, report
            )
            yield from _predict(estimator, in_batches(pictures, batch_size))
            continue
        for path in group:
            read = read_npy if path.lower().endswith(".npy") else read_csv
            try:
                yield from _predict(estimator, read(path, estimator, batch_size))
            except (OSError, ValueError, TypeError) as error:
                report(naming(path, error))


def _predict(
    estimator: ImageClassifier, batches: Iterable[Batch]
) -> Iterator[Prediction]:
    for names, X in batches:
        with warnings.catch_warnings():
            # Columns were compared where they have names.
            warnings.filterwarnings("ignore", message="X does not have valid feature")
            probabilities = estimator.predict_proba(X)
        for (path, row), of_classes in zip(names, probabilities, strict=True):
            yield Prediction(path, row, of_classes)
