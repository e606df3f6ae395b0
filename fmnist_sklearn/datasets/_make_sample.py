"""How the bundled sample was made.

``np.savez_compressed("fashion_mnist_sample.npz", **sample_arrays())`` wrote the file.
The arrays are the same wherever this runs; the compressed bytes, and with them
``SAMPLE_SHA256``, may differ with the version of zlib.
"""

from __future__ import annotations

import numpy as np

from ._fashion_mnist import fetch_fashion_mnist

N_PER_CLASS = {"train": 600, "test": 100}


def sample_arrays() -> dict[str, np.ndarray]:
    """Draw the stratified sample from the full data.

    Returns
    -------
    arrays : dict of str to ndarray
        ``X_train`` of shape (6000, 28, 28), ``y_train``, ``X_test`` of shape
        (1000, 28, 28) and ``y_test``, all uint8, in the order of the full data.
    """
    # RandomState and not default_rng: its stream is frozen across NumPy versions.
    rng = np.random.RandomState(0)
    arrays = {}
    for subset, n in N_PER_CLASS.items():
        full = fetch_fashion_mnist(subset=subset)
        drawn = [
            rng.choice(np.flatnonzero(full.target == label), n, replace=False)
            for label in range(10)
        ]
        rows = np.sort(np.concatenate(drawn))
        arrays[f"X_{subset}"] = full.images[rows]
        arrays[f"y_{subset}"] = full.target[rows].astype(np.uint8)
    return arrays
