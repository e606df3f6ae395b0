"""Images that users hand over as arrays, as a run takes them."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.utils import check_consistent_length

from .data import Images, keep_for_test


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
        remedy = "give more, or X_test and y_test"
        parts = keep_for_test(arrays["X"], arrays["y"], seed, "X", remedy)
        arrays = dict(zip(("X", "X_test", "y", "y_test"), parts, strict=True))
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
