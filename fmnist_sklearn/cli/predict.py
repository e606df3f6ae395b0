"""What ``predict`` does: pictures and rows of pixels read, predicted and written."""

from __future__ import annotations

import csv
import itertools
import json
import os
import re
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from ..estimators import ImageClassifier
from ..export import choose_preparation, pixel_factor
from ..persistence import load_model_and_preparation
from ..photos.folder import NO_CLOTHING, list_pictures, progress_bar, read_pictures
from ..storage import atomic_write, bounded, check_regular, describe_error
from .output import escape_unencodable, print_line, print_notice, printable

UNSURE = "unsure"  # instead of a label that is not probable enough

# Columns that are not pixels: the true class, and numbers of rows, whose name is empty
# in files and "Unnamed: 0" in data frames that pandas has read from them.
_NO_PIXEL = re.compile(r"(\s*(label|)\s*|Unnamed:.*)$", re.IGNORECASE)

# The path of each image, its row (from 0) in a file of rows, and the images or rows.
Batch = tuple[list[tuple[str, int | None]], Any]


# The path of one picture or of a file of rows, the row in it, the probabilities.
Prediction = tuple[str, int | None, np.ndarray]


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
    """Predict inputs with a saved model, and print or write the results.

    Inputs that cannot be read are reported on stderr; the others are predicted.

    Parameters
    ----------
    model : str or path-like
        A file written by ``save_model``.
    inputs : sequence of str
        Pictures; folders, of which all pictures are taken, those of sub-folders too,
        in the order of their names; and files of rows of pixels, ``.csv`` and ``.npy``.
    prepare : {"clothing", "resize"} or None, default=None
        How pictures are prepared, see ``load_photo``. None: as the file of the model
        states, or else a default that a note reports.
    format_, top, min_confidence
        As for :func:`format_predictions`.
    out : str or path-like, default=None
        The file to write, completely at the end or not at all; None prints.
    batch_size : int, default=256
        Images to read and predict at a time.

    Returns
    -------
    complete : bool
        Whether all inputs were predicted.

    Raises
    ------
    OSError
        If the model cannot be read or `out` not be written: before anything is read.
    ValueError
        If `model` is not a model, does not accept pictures although some are given, or
        if `out` is the model or an input.
    """
    with ExitStack() as stack:
        write: Callable[[str], object] = print_line
        if out is not None:  # opened at once, so that errors come first
            if os.path.realpath(out) in map(os.path.realpath, [model, *inputs]):
                raise ValueError(f"--out names a file that is to be read: {out}")
            file = stack.enter_context(atomic_write(out, "w"))
            escape_unencodable(file)
            write = partial(print, file=file)
        estimator, stated = load_model_and_preparation(model)
        factor: float = 1.0
        notes: list[str | None] = []
        is_assumed = prepare is None and stated is None
        if not all(map(_is_array_file, inputs)):
            factor, *notes = pixel_factor(estimator)
            if prepare is None:
                prepare, note = choose_preparation(os.fspath(model), stated, estimator)
                notes.append(note)
        run = _Run(estimator, prepare or "resize", factor, batch_size, is_assumed)
        predictions = run.predict(inputs)
        prints_to_terminal = out is None and sys.stdout and sys.stdout.isatty()
        if not prints_to_terminal and sys.stderr and sys.stderr.isatty():
            predictions = progress_bar(predictions, None)
        for line in format_predictions(
            predictions, estimator.classes_, format_, top, min_confidence
        ):
            write(line)
        # At the end: if stdout is closed by then, as by `| head`, they are not needed.
        for note in filter(None, notes):
            print_notice(f"note: {note}")
    return run.complete


# Inputs -----------------------------------------------------------------------------


@dataclass
class _Run:
    """The reading and the prediction of inputs, with one batch in memory at a time."""

    estimator: ImageClassifier
    prepare: str
    factor: float  # of pixels from 0 to 255
    batch_size: int
    is_assumed: bool  # the preparation is a default
    complete: bool = True  # whether all inputs were predicted

    def report(self, text: str) -> None:
        """Print what is wrong with an input."""
        self.complete = False
        print_notice(f"{'warning' if NO_CLOTHING in text else 'error'}: {text}")

    def predict(self, inputs: Sequence[str]) -> Iterator[Prediction]:
        """Read and predict inputs in their order."""
        for is_array, group in itertools.groupby(inputs, key=_is_array_file):
            if not is_array:
                yield from self._predict_batches(self._read_pictures(group))
                continue
            for path in group:
                is_npy = path.lower().endswith(".npy")
                read = self._read_npy if is_npy else self._read_csv
                try:
                    yield from self._predict_batches(read(path))
                except (OSError, ValueError, TypeError, csv.Error) as error:
                    self.report(describe_error(path, error))

    def _predict_batches(self, batches: Iterable[Batch]) -> Iterator[Prediction]:
        for sources, X in batches:
            with warnings.catch_warnings():
                # Rows without names are fine, and so are names that fit did not see.
                warnings.filterwarnings("ignore", message="X .* feature names")
                probabilities = self.estimator.predict_proba(X)
            for (path, row), of_classes in zip(sources, probabilities, strict=True):
                yield path, row, of_classes

    def _read_pictures(self, inputs: Iterable[str]) -> Iterator[Batch]:
        """Read batches of pictures with all cores, and report the unreadable ones."""
        # Folders are listed one at a time, when their turn comes.
        paths = itertools.chain.from_iterable(
            list_pictures(path, self.report) if os.path.isdir(path) else [path]
            for path in inputs
        )
        while chunk := list(itertools.islice(paths, self.batch_size)):
            shape = self.estimator.image_shape_
            images, errors = read_pictures(chunk, shape, self.prepare)
            whole = [i for i, message in errors.items() if NO_CLOTHING in message]
            if self.is_assumed and whole:  # perhaps these never were clothing
                read_so_far = [i for i in range(len(chunk)) if i not in errors]
                errors = {i: text for i, text in errors.items() if i not in whole}
                resized, _ = read_pictures([chunk[i] for i in whole], shape, "resize")
                places = np.searchsorted(read_so_far, whole)
                images = np.insert(images, places, resized, axis=0)
                print_notice(
                    f"note: no item of clothing found in {chunk[whole[0]]}"
                    f"{f' and {len(whole) - 1:,} more' if whole[1:] else ''}, which "
                    "the model was not said to need: predicted from the whole picture; "
                    "--prepare clothing leaves such pictures out"
                )
            for message in errors.values():
                self.report(message)
            if self.factor != 1:
                images = (images * self.factor).astype(np.float32)
            if len(images):
                read = [path for i, path in enumerate(chunk) if i not in errors]
                yield [(path, None) for path in read], images

    def _read_npy(self, path: str) -> Iterator[Batch]:
        check_regular(path)
        try:
            array: np.ndarray = np.lib.format.open_memmap(path, mode="r")
        # A damaged header can raise errors of any type.
        except Exception as error:
            raise ValueError(f"cannot be read as an array: {bounded(error)}") from error
        array = np.atleast_2d(array)
        shape = self.estimator.image_shape_
        if array.shape in (shape, shape[1:]):
            array = array[None]  # one image
        for start in range(0, len(array), self.batch_size):
            X = np.asarray(array[start : start + self.batch_size])
            yield [(path, start + i) for i in range(len(X))], X

    def _read_csv(self, path: str) -> Iterator[Batch]:
        import pandas as pd  # for this kind of file only

        check_regular(path)
        n_pixels = self.estimator.n_features_in_

        def parse(cells: list[str]) -> list[float]:
            if len(cells) != n_cells:
                raise ValueError(
                    f"line {reader.line_num} has {len(cells)} values, expected "
                    f"{n_cells}, separated by commas"
                )
            try:
                return [float(cells[i]) for i in columns]
            except ValueError as error:
                raise ValueError(f"line {reader.line_num}: {error}") from None

        with open(path, encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, skipinitialspace=True)
            lines: Iterator[list[str]]
            lines = (cells for cells in reader if cells not in ([], [""]))
            first = next(lines, [])
            if names := _name_pixels(first, n_pixels):
                columns, n_cells = list(names), len(first)
                if len(columns) == n_cells and _is_number(first[0]):
                    print_notice(f"note: {path}: line 1, 0, 1, 2, ..., names columns")
            else:
                columns, n_cells = list(range(n_pixels)), n_pixels
                lines = itertools.chain([first], lines)
            rows, start = map(parse, lines), 0
            while len(X := np.array(list(itertools.islice(rows, self.batch_size)))):
                # With names, which predict_proba compares with those of fit.
                frame = pd.DataFrame(X, columns=list(names.values())) if names else X
                yield [(path, start + i) for i in range(len(X))], frame
                start += len(X)
            if start == 0:
                raise ValueError("has no rows below its header")


def _is_array_file(path: str) -> bool:
    return path.lower().endswith((".csv", ".npy"))


def _name_pixels(cells: list[str], n_pixels: int) -> dict[int, str]:
    """Return the columns of pixels and their names, if the first line is a header.

    A header has different texts only, or also 0, 1, 2, ..., as pandas names columns.
    """
    numbers = [cell for cell in cells if _is_number(cell)]
    counts = ([str(start + i) for i in range(n_pixels)] for start in (0, 1))
    is_header = numbers in counts if numbers else len(set(cells)) > 1
    if not is_header:
        return {}
    has_more = len(cells) > n_pixels
    if numbers and n_pixels <= 256 and not has_more:
        raise ValueError(
            f"the first line, {', '.join(numbers[:3])}, ..., may be names or pixels: "
            "delete it, or put names such as pixel0 above it or in its place"
        )
    named = enumerate(cells)
    return {i: name for i, name in named if not (has_more and _NO_PIXEL.match(name))}


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return "_" not in cell  # which Python allows in numbers


# Output -----------------------------------------------------------------------------


def format_predictions(
    predictions: Iterable[Prediction],
    classes: np.ndarray,
    format_: str,
    top: int,
    min_confidence: float,
) -> Iterator[str]:
    """Format predictions as lines of text, CSV or JSON.

    Parameters
    ----------
    predictions : iterable of Prediction
        They are taken one by one.
    classes : ndarray of shape (n_classes,)
        The labels.
    format_ : {"text", "csv", "json"}
        Tab-separated text; CSV with a header; one JSON array, with an object a line.
    top : int
        If above 1, the most probable labels and their probabilities follow.
    min_confidence : float
        Below this probability the label is "unsure".

    Yields
    ------
    line : str
        Without its end. Control characters in text and CSV are written as escapes.
    """
    labels = classes.tolist()
    n_following = min(top, len(labels)) if top > 1 else 0
    if format_ == "csv":
        ranks = ["", *(f"_{k}" for k in range(1, n_following + 1))]
        names = [f"{name}{k}" for k in ranks for name in ("label", "probability")]
        yield ",".join(["path", "row", *names])
    separator = "[\n"
    for path, row, probabilities in predictions:
        # Ties in the order of the classes, as in argmax.
        order = np.argsort(-probabilities, kind="stable")
        best = [(labels[i], float(probabilities[i])) for i in order[: max(top, 1)]]
        label, highest = best[0]
        answer = label if highest >= min_confidence else UNSURE
        pairs = [(answer, highest), *best[:n_following]]
        if format_ == "json":
            found = [{"label": name, "probability": round(p, 6)} for name, p in pairs]
            place = {"path": path} if row is None else {"path": path, "row": row}
            following = {"top": found[1:]} if n_following else {}
            yield separator + json.dumps(place | found[0] | following)
            separator = ","
        elif format_ == "csv":
            cells = [path, "" if row is None else row]
            cells += [x for name, p in pairs for x in (name, f"{p:.6f}")]
            yield ",".join(map(_csv_cell, cells))
        else:
            cells = [path if row is None else f"{path}[{row}]"]
            cells += [x for name, p in pairs for x in (name, f"{p:.3f}")]
            yield "\t".join(map(printable, cells))
    if format_ == "json":
        yield "]" if separator == "," else "[]"


def _csv_cell(value: Any) -> str:
    text = printable(value)
    return '"' + text.replace('"', '""') + '"' if set(text) & set(',"') else text
