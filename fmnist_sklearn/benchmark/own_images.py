"""Images that users hand over as arrays, as a run takes them."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.model_selection import train_test_split
from sklearn.utils import check_consistent_length

from .data import Images

_TEST_SHARE = 0.2


def own_images(
    X: Any, y: Any, X_test: Any, y_test: Any, data: Any, seed: int
) -> Images | None:
    """Take the user's own images, and keep some of them to test on.

    Parameters
    ----------
    X, y, X_test, y_test, data, seed
        As for :func:`run_benchmark`.

    Returns
    -------
    images : Images or None
        None where there are none: then `data` says which.

    Raises
    ------
    ValueError
        If something is missing or too much, lengths differ, or a class is too small
        to be split.
    """
    given = {"X": X, "y": y, "X_test": X_test, "y_test": y_test}
    names = [name for name, value in given.items() if value is not None]
    if not names:
        return None
    if names not in (["X", "y"], list(given)):
        raise ValueError(
            "images of your own come as X and y, or as X, y, X_test and y_test; got "
            f"{', '.join(names)} only."
        )
    if data != "auto":
        raise ValueError(f"X and data exclude each other; got X and data={data!r}.")
    check_consistent_length(X, y)
    arrays = {name: np.asarray(given[name]) for name in names}
    if X_test is None:
        arrays = _split(arrays["X"], arrays["y"], seed)
    else:
        check_consistent_length(X_test, y_test)
    return Images(
        "your own images",
        "X and y",
        arrays["X"],
        arrays["y"],
        arrays["X_test"],
        arrays["y_test"],
    )


def _split(X: np.ndarray, y: np.ndarray, seed: int) -> dict[str, np.ndarray]:
    classes, counts = np.unique(y, return_counts=True)
    if counts.min() < 2 or len(y) * _TEST_SHARE < len(classes):
        raise ValueError(
            f"X has {len(y)} images of {len(classes)} classes, the fewest "
            f"({counts.min()}) of {classes[counts.argmin()]!r}: too few to keep a "
            "fifth of each class to test on; give more, or X_test and y_test."
        )
    X, X_test, y, y_test = train_test_split(
        X, y, test_size=_TEST_SHARE, stratify=y, random_state=seed
    )
    return {"X": X, "y": y, "X_test": X_test, "y_test": y_test}
