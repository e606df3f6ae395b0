"""Fashion-MNIST and its bundled sample, as scikit-learn's dataset functions."""

from __future__ import annotations

import os
from importlib.resources import files
from numbers import Integral, Real
from typing import Any

import numpy as np
from sklearn.utils import Bunch

# Private, as scikit-learn has no public way to check the parameters of a function.
from sklearn.utils._param_validation import Interval, StrOptions, validate_params

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
SAMPLE = "fashion_mnist_sample.npz"

# Constraints on the parameters of both functions.
_COMMON: dict[str, list] = {
    "subset": [StrOptions({"train", "test", "all"})],
    "return_X_y": ["boolean"],
    "as_frame": ["boolean"],
}


@validate_params(
    {
        **_COMMON,
        "data_home": [str, os.PathLike, None],
        "download_if_missing": ["boolean"],
        "n_retries": [Interval(Integral, 0, None, closed="left")],
        "delay": [Interval(Real, 0.0, None, closed="left")],
    },
    prefer_skip_nested_validation=True,
)
def fetch_fashion_mnist(
    *,
    subset: str = "train",
    data_home: str | os.PathLike[str] | None = None,
    download_if_missing: bool = True,
    return_X_y: bool = False,
    as_frame: bool = False,
    n_retries: int = 3,
    delay: float = 1.0,
) -> Bunch | tuple[Any, Any]:
    """Load the Fashion-MNIST dataset (classification), downloading it if necessary.

    =================   =============================
    Classes                                        10
    Samples total       60,000 train and 10,000 test
    Dimensionality                      784 (28 x 28)
    Features                          integers, 0-255
    =================   =============================

    The files are read from the folder ``fashion_mnist`` under `data_home`, from the
    folder named by the environment variable ``FASHION_MNIST_DIR``, or from
    ``/usr/share/datasets/fashion-mnist``, where the Debian and Ubuntu package
    ``dataset-fashion-mnist`` installs them; otherwise they are downloaded to
    `data_home`. Each may be compressed (``.gz``) or not, and its published SHA-256 is
    verified whenever it is read.

    Parameters
    ----------
    subset : {"train", "test", "all"}, default="train"
        The rows to load: the training set, the test set, or both, training rows first.
    data_home : str or path-like, default=None
        Cache folder for downloads. By default scikit-learn's: the environment variable
        ``SCIKIT_LEARN_DATA``, or ``~/scikit_learn_data``.
    download_if_missing : bool, default=True
        If False, raise an OSError if the data is not available locally, instead of
        downloading it.
    return_X_y : bool, default=False
        If True, return ``(data, target)`` instead of a Bunch.
    as_frame : bool, default=False
        If True, ``data`` is a pandas DataFrame, ``target`` a Series, and ``frame``
        holds both.
    n_retries : int, default=3
        Number of retries, each over all mirrors, when a download fails.
    delay : float, default=1.0
        Seconds before the first retry; the delay doubles with each further retry.

    Returns
    -------
    dataset : :class:`~sklearn.utils.Bunch`
        Dictionary-like object, with the following attributes.

        data : {ndarray, DataFrame} of shape (n_samples, 784), dtype uint8
            The pixels of each image, row by row.
        images : ndarray of shape (n_samples, 28, 28), dtype uint8
            The same pixels as images; shares memory with ``data``.
        target : {ndarray, Series} of shape (n_samples,), dtype int64
            The classes, 0 to 9.
        frame : DataFrame of shape (n_samples, 785) or None
            ``data`` and ``target`` together; None unless `as_frame` is True.
        feature_names : list of str
            "pixel1" to "pixel784", as on OpenML.
        target_names : list of str
            The names of the ten classes.
        DESCR : str
            The description of the dataset.
        source : str
            The folder the data was read from, or the URL of its mirror.

    (data, target) : tuple if ``return_X_y`` is True
        Two ndarrays, or a DataFrame and a Series.

    Raises
    ------
    OSError
        If the data is not available locally and cannot or must not be downloaded;
        ``TimeoutError`` if another process that downloads it does not finish.
    ValueError
        If a file in the folder named by ``FASHION_MNIST_DIR`` differs from the
        published one.

    Warns
    -----
    UserWarning
        If a local file is damaged (one in the cache is then removed), and for each
        retry of a download.

    See Also
    --------
    load_fashion_mnist_sample : A sample that ships with the package.

    References
    ----------
    Han Xiao, Kashif Rasul and Roland Vollgraf. "Fashion-MNIST: a Novel Image Dataset
    for Benchmarking Machine Learning Algorithms". 2017.
    `arXiv:1708.07747 <https://arxiv.org/abs/1708.07747>`_.

    Examples
    --------
    >>> from fmnist_sklearn.datasets import fetch_fashion_mnist
    >>> X, y = fetch_fashion_mnist(return_X_y=True)  # doctest: +SKIP
    >>> X.shape  # doctest: +SKIP
    (60000, 784)
    """
    from .download import FILES, read_files  # not needed for the sample

    prefix = {"train": "train", "test": "t10k", "all": "t"}[subset]
    wanted = [name for name in FILES if name.startswith(prefix)]
    contents, source = read_files(
        wanted, data_home, download_if_missing, n_retries, delay
    )
    arrays = list(map(parse_idx, contents))
    # concatenate copies, which makes the read-only arrays writable.
    X, y = np.concatenate(arrays[0::2]), np.concatenate(arrays[1::2])
    return _make_bunch(X, y, source, return_X_y, as_frame)


def parse_idx(content: bytes) -> np.ndarray:
    """Return the array in a verified IDX file of unsigned bytes.

    The format is two zero bytes, 0x08 for unsigned bytes, the number of dimensions,
    the dimensions as big-endian 32-bit integers, and the data.
    """
    start = 4 + 4 * content[3]
    shape = np.frombuffer(content[4:start], ">u4")
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape)


@validate_params(_COMMON, prefer_skip_nested_validation=True)
def load_fashion_mnist_sample(
    *, subset: str = "train", return_X_y: bool = False, as_frame: bool = False
) -> Bunch | tuple[Any, Any]:
    """Load a stratified sample of Fashion-MNIST that ships with the package.

    For examples, tests and machines without a network. Results worth reporting need
    the full data of :func:`fetch_fashion_mnist`.

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
        both, training rows first. Rows are in the order of the full data.
    return_X_y : bool, default=False
        If True, return ``(data, target)`` instead of a Bunch.
    as_frame : bool, default=False
        If True, ``data`` is a pandas DataFrame, ``target`` a Series, and ``frame``
        holds both.

    Returns
    -------
    dataset : :class:`~sklearn.utils.Bunch` or tuple
        The same as from :func:`fetch_fashion_mnist`, with fewer rows.

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
    subsets = ("train", "test") if subset == "all" else (subset,)
    with (DATA / SAMPLE).open("rb") as file, np.load(file) as arrays:
        X = np.concatenate([arrays[f"X_{name}"] for name in subsets])
        y = np.concatenate([arrays[f"y_{name}"] for name in subsets])
    return _make_bunch(X, y, "bundled sample", return_X_y, as_frame)


def _make_bunch(
    images: np.ndarray, y: np.ndarray, source: str, return_X_y: bool, as_frame: bool
) -> Bunch | tuple[Any, Any]:
    """Return images of shape (n_samples, 28, 28) as scikit-learn's functions do."""
    data: Any = images.reshape(len(images), -1)  # (n_samples, 784)
    target: Any = y.astype(np.int64)
    frame = None
    feature_names = [f"pixel{i}" for i in range(1, 785)]  # as on OpenML
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
