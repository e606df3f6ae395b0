"""Predictions as lines of text, CSV or JSON."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np

from ..output import printable

UNSURE = "unsure"  # in the place of a label that is not probable enough


class Prediction(NamedTuple):
    """What a classifier says of one picture, or of one row of pixels."""

    path: str
    row: int | None  # in a file of rows, from 0
    probabilities: np.ndarray  # (n_classes,)


def format_predictions(
    predictions: Iterable[Prediction],
    classes: np.ndarray,
    *,
    format_: str,
    top: int,
    min_confidence: float,
) -> Iterator[str]:
    """Write predictions as lines.

    Parameters
    ----------
    predictions : iterable of Prediction
        They are taken one by one.
    classes : ndarray of shape (n_classes,)
        The labels.
    format_ : {"text", "csv", "json"}
        Text between tabs; CSV with a header; one JSON array, an object a line.
    top : int
        With more than 1, the best labels and their probabilities follow the answer.
    min_confidence : float
        With a lower probability the answer is "unsure".

    Yields
    ------
    line : str
        Without its end. Control characters in text and CSV are written as escapes.
    """
    top = min(top, len(classes))
    if format_ == "csv":
        header = ["path", "row", "label", "probability"]
        for k in range(1, top + 1 if top > 1 else 1):
            header += [f"label_{k}", f"probability_{k}"]
        yield ",".join(header)
    separator = "[\n"
    labels = classes.tolist()
    for path, row, probabilities in predictions:
        # Ties in the order of the classes, as argmax has them.
        best = np.argsort(-probabilities, kind="stable")[:top]
        pairs = [(labels[i], float(probabilities[i])) for i in best]
        label, highest = pairs[0]
        answer = label if highest >= min_confidence else UNSURE
        following = pairs if top > 1 else []
        if format_ == "json":
            found: dict[str, Any] = {"path": path}
            if row is not None:
                found["row"] = row
            found |= {"label": answer, "probability": round(highest, 6)}
            if following:
                found["top"] = [
                    {"label": label, "probability": round(p, 6)}
                    for label, p in following
                ]
            yield separator + json.dumps(found)
            separator = ","
        else:
            digits = 3 if format_ == "text" else 6
            cells = [(answer, highest), *following]
            texts = [x for name, p in cells for x in (name, f"{p:.{digits}f}")]
            if format_ == "text":
                where = path if row is None else f"{path}[{row}]"
                yield "\t".join(map(printable, [where, *texts]))
            else:
                number = "" if row is None else row
                yield ",".join(map(_cell, [path, number, *texts]))
    if format_ == "json":
        yield "]" if separator == "," else "[]"


def _cell(value: Any) -> str:
    text = printable(value)
    return '"' + text.replace('"', '""') + '"' if set(text) & set(',"') else text
