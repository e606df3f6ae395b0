"""The bundled sample of Fashion-MNIST."""

from __future__ import annotations

from io import BytesIO
from typing import Any

import numpy as np
from sklearn.utils import Bunch
from sklearn.utils._param_validation import StrOptions, validate_params

from ..storage.files import sha256
from ._bunch import DATA, make_bunch

SAMPLE = "fashion_mnist_sample.npz"
SAMPLE_SHA256 = "cb99a85a0ce9c766c49ff85a5b3172761714bda3a0ec61084e18b99d3c09f47f"


@validate_params(
    {
        "subset": [StrOptions({"train", "test", "all"})],
        "return_X_y": ["boolean"],
        "as_frame": ["boolean"],
    },
    prefer_skip_nested_validation=True,
)
def load_fashion_mnist_sample(
    *, subset: str = "train", return_X_y: bool = False, as_frame: bool = False
) -> Bunch | tuple[Any, Any]:
    """Load a stratified sample of Fashion-MNIST that ships with the package.

    It serves examples, tests and machines with no network. Figures worth reporting
    need the full data of :func:`fetch_fashion_mnist`.

    =================   =======================================
    Classes                                                  10
    Samples per class                    600 train and 100 test
    Samples total       6,000 of 60,000 and 1,000 of 10,000
    Dimensionality                                784 (28 x 28)
    Features                                    integers, 0-255
    =================   =======================================

    Parameters
    ----------
    subset : {"train", "test", "all"}, default="train"
        The rows to load: the sample of the training set, that of the test set, or
        both, training rows first. Rows keep the order they have in the full data.
    return_X_y : bool, default=False
        If True, return ``(data, target)`` instead of a Bunch.
    as_frame : bool, default=False
        If True, ``data`` is a pandas DataFrame, ``target`` a Series, and ``frame``
        holds both.

    Returns
    -------
    dataset : :class:`~sklearn.utils.Bunch` or tuple
        The same as from :func:`fetch_fashion_mnist`, with fewer rows.

    Raises
    ------
    OSError
        If the file in the installed package is damaged.

    See Also
    --------
    fetch_fashion_mnist : The full data.

    Examples
    --------
    >>> from fmnist_sklearn.datasets import load_fashion_mnist_sample
    >>> sample = load_fashion_mnist_sample()
    >>> sample.data.shape
    (6000, 784)
    >>> sample.target_names[sample.target[0]]
    'T-shirt/top'
    """
    content = (DATA / SAMPLE).read_bytes()
    if sha256(content) != SAMPLE_SHA256:
        raise OSError(
            f"The bundled file {DATA / SAMPLE} is damaged: its SHA-256 is "
            f"{sha256(content)}, expected {SAMPLE_SHA256}. Reinstall fmnist-sklearn."
        )
    subsets = ("train", "test") if subset == "all" else (subset,)
    with np.load(BytesIO(content), allow_pickle=False) as arrays:
        X = np.concatenate([arrays[f"X_{name}"] for name in subsets])
        y = np.concatenate([arrays[f"y_{name}"] for name in subsets])
    return make_bunch(
        X, y, source="bundled sample", return_X_y=return_X_y, as_frame=as_frame
    )
