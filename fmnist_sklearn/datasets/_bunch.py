"""From arrays to what scikit-learn's dataset functions return."""

from __future__ import annotations

from importlib.resources import files
from typing import Any

import numpy as np
from sklearn.utils import Bunch

CLASS_NAMES = [
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
]

# The files that ship with the package.
DATA = files(__package__) / "data"


def make_bunch(
    X: np.ndarray, y: np.ndarray, *, source: str, return_X_y: bool, as_frame: bool
) -> Bunch | tuple[Any, Any]:
    """Return what a scikit-learn dataset function would.

    Parameters
    ----------
    X : ndarray of shape (n_samples, 28, 28), dtype uint8
        The images.
    y : ndarray of shape (n_samples,)
        The classes, 0 to 9.
    source : str
        Where the data came from.
    return_X_y, as_frame : bool
        As for ``fetch_fashion_mnist``.

    Returns
    -------
    bunch : Bunch or tuple
        As for ``fetch_fashion_mnist``.
    """
    images = np.ascontiguousarray(X)
    data: Any = images.reshape(len(images), -1)  # (n_samples, 784)
    target: Any = y.astype(np.int64)
    frame = None
    feature_names = [f"pixel{i}" for i in range(1, 785)]  # as OpenML names them
    if as_frame:
        import pandas as pd

        data = pd.DataFrame(data, columns=feature_names)
        target = pd.Series(target, name="target")
        frame = pd.concat([data, target], axis=1)
    if return_X_y:
        return data, target
    return Bunch(
        data=data,
        images=images,
        target=target,
        frame=frame,
        feature_names=feature_names,
        target_names=CLASS_NAMES.copy(),
        DESCR=(DATA / "fashion_mnist.rst").read_text(encoding="utf-8"),
        source=source,
    )
