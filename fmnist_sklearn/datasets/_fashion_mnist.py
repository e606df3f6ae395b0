"""The Fashion-MNIST dataset, in scikit-learn's manner."""

from __future__ import annotations

import os
from numbers import Integral, Real
from typing import Any

import numpy as np
from sklearn.utils import Bunch
from sklearn.utils._param_validation import Interval, StrOptions, validate_params

from ._bunch import make_bunch
from ._sources import FILES, read_files


@validate_params(
    {
        "subset": [StrOptions({"train", "test", "all"})],
        "data_home": [str, os.PathLike, None],
        "download_if_missing": ["boolean"],
        "return_X_y": ["boolean"],
        "as_frame": ["boolean"],
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

    The files are looked for in the folder ``fashion_mnist`` under `data_home`, in the
    folder that the environment variable ``FASHION_MNIST_DIR`` names, and in
    ``/usr/share/datasets/fashion-mnist``, where the Debian and Ubuntu package
    ``dataset-fashion-mnist`` puts them; then they are downloaded to `data_home`. Each
    may be compressed (``.gz``) or not, and is held against its published SHA-256
    whenever it is read.

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
        Number of seconds before the first retry; each further one waits twice as long.

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
        ``TimeoutError`` where another process downloads it and does not end.
    ValueError
        If a file in the folder named by ``FASHION_MNIST_DIR`` has not the content
        that was published.

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
    subsets = ("train", "test") if subset == "all" else (subset,)
    wanted = [file for name in subsets for file in FILES[name]]
    contents, source = read_files(
        wanted, data_home, download_if_missing, n_retries, delay
    )
    arrays = [
        _parse_idx(content, file.name)
        for content, file in zip(contents, wanted, strict=True)
    ]
    return make_bunch(
        # concatenate copies, and thereby makes the read-only arrays writable.
        np.concatenate(arrays[0::2]),
        np.concatenate(arrays[1::2]),
        source=source,
        return_X_y=return_X_y,
        as_frame=as_frame,
    )


def _parse_idx(content: bytes, name: str) -> np.ndarray:
    """Return the array in an IDX file of unsigned bytes.

    The format is two zero bytes, 0x08 for unsigned bytes, the number of dimensions,
    the dimensions as big-endian 32-bit integers, and the data.
    """
    # Verified content cannot fail here; a wrong entry in FILES can.
    start = 4 + 4 * int.from_bytes(content[3:4])
    if content[:3] != b"\0\0\x08" or len(content) < start:
        raise ValueError(f"{name} is not an IDX file of unsigned bytes.")
    shape = np.frombuffer(content[4:start], ">u4").tolist()
    data = np.frombuffer(content, np.uint8, offset=start)
    if data.size != np.prod(shape):
        raise ValueError(f"{name} has {data.size} bytes of data for shape {shape}.")
    return data.reshape(shape)
