"""What fetch_fashion_mnist and load_fashion_mnist_sample return."""

import sys

import numpy as np
import pandas as pd
import pytest

from fmnist_sklearn.datasets import (
    CLASS_NAMES,
    fashion_mnist,
    fetch_fashion_mnist,
    load_fashion_mnist_sample,
)

from .tools import FULL_DATA, needs_full_data


@pytest.mark.parametrize(
    ("subset", "n"), [("train", 20), ("test", 10), ("all", 30)], ids=str
)
def test_fetch_bunch(cached, subset, n):
    bunch = fetch_fashion_mnist(subset=subset)
    assert bunch.data.shape == (n, 784)
    assert bunch.data.dtype == np.uint8
    assert bunch.data.flags.c_contiguous
    assert bunch.data.flags.writeable
    assert bunch.images.shape == (n, 28, 28)
    assert np.shares_memory(bunch.data, bunch.images)
    assert bunch.target.shape == (n,)
    assert bunch.target.dtype == np.int64
    assert bunch.target.flags.writeable
    assert bunch.target_names == CLASS_NAMES
    assert bunch.target_names is not CLASS_NAMES
    assert bunch.feature_names == [f"pixel{i + 1}" for i in range(784)]
    assert bunch.frame is None
    assert bunch.DESCR.startswith(".. _fashion_mnist_dataset:")


@pytest.mark.parametrize(("subset", "n"), [("train", 600), ("test", 100)], ids=str)
def test_sample_is_stratified(subset, n):
    sample = load_fashion_mnist_sample(subset=subset)
    assert np.bincount(sample.target).tolist() == [n] * 10
    assert sample.data.shape == (10 * n, 784)
    assert sample.data.dtype == np.uint8
    assert sample.images.shape == (10 * n, 28, 28)
    assert sample.source == "bundled sample"
    # Not sorted by class: leading rows serve as a validation part.
    assert len(np.unique(sample.target[:n])) == 10


@pytest.mark.parametrize("load", [fetch_fashion_mnist, load_fashion_mnist_sample])
def test_subset_all_has_train_rows_first(cached, load):
    train, test, both = (load(subset=subset) for subset in ("train", "test", "all"))
    np.testing.assert_array_equal(both.data, np.vstack([train.data, test.data]))
    np.testing.assert_array_equal(both.target, np.hstack([train.target, test.target]))


@pytest.mark.parametrize("load", [fetch_fashion_mnist, load_fashion_mnist_sample])
def test_return_X_y_and_as_frame(cached, load):
    bunch = load()
    X, y = load(return_X_y=True)
    np.testing.assert_array_equal(X, bunch.data, strict=True)
    np.testing.assert_array_equal(y, bunch.target, strict=True)

    framed = load(as_frame=True)
    assert isinstance(framed.data, pd.DataFrame)
    assert isinstance(framed.target, pd.Series)
    assert list(framed.data.columns) == bunch.feature_names
    assert (framed.data.dtypes == np.uint8).all()
    assert framed.target.name == "target"
    assert framed.target.dtype == np.int64
    np.testing.assert_array_equal(framed.data, bunch.data)
    np.testing.assert_array_equal(framed.images, bunch.images)
    expected = pd.concat([framed.data, framed.target], axis=1)
    pd.testing.assert_frame_equal(framed.frame, expected)

    X, y = load(return_X_y=True, as_frame=True)
    pd.testing.assert_frame_equal(X, framed.data)
    pd.testing.assert_series_equal(y, framed.target)


OF_BOTH = [
    ("subset", "valid"),
    ("subset", None),
    ("as_frame", "yes"),
    ("return_X_y", 2),
]
OF_FETCH = [("n_retries", -1), ("delay", -0.5), ("data_home", 1)]
OF_FETCH += [("download_if_missing", 3)]


@pytest.mark.parametrize(
    ("load", "invalid"),
    [(load_fashion_mnist_sample, OF_BOTH), (fetch_fashion_mnist, OF_BOTH + OF_FETCH)],
)
def test_parameters_that_are_invalid(load, invalid):
    for parameter, value in invalid:
        message = f"'{parameter}' parameter of {load.__name__} must be .* Got {value!r}"
        with pytest.raises(ValueError, match=message):
            load(**{parameter: value})


def test_pandas_is_imported_for_frames_only(monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    load_fashion_mnist_sample()
    with pytest.raises(ImportError, match="pandas"):
        load_fashion_mnist_sample(as_frame=True)


@needs_full_data
def test_full_data():
    bunch = fetch_fashion_mnist(subset="all", download_if_missing=False)
    assert bunch.source == FULL_DATA
    assert bunch.data.shape == (70_000, 784)
    assert np.bincount(bunch.target[:60_000]).tolist() == [6_000] * 10
    assert np.bincount(bunch.target[60_000:]).tolist() == [1_000] * 10


# The sample -------------------------------------------------------------------------


def test_sample_ships_with_its_licence():
    text = (fashion_mnist.DATA / "LICENSE").read_text(encoding="utf-8")
    assert "Copyright © 2017 Zalando SE, https://tech.zalando.com" in text
    assert "The MIT License" in text


@needs_full_data
def test_sample_is_a_stratified_draw_from_the_full_data():
    """As ``np.savez_compressed`` wrote it, but for the bytes that zlib made of it."""
    # RandomState and not default_rng: its stream is frozen across NumPy versions.
    rng = np.random.RandomState(0)
    for subset, n in {"train": 600, "test": 100}.items():
        full = fetch_fashion_mnist(subset=subset)
        drawn = [
            rng.choice(np.flatnonzero(full.target == label), n, replace=False)
            for label in range(10)
        ]
        rows = np.sort(np.concatenate(drawn))
        sample = load_fashion_mnist_sample(subset=subset)
        np.testing.assert_array_equal(sample.images, full.images[rows])
        np.testing.assert_array_equal(sample.target, full.target[rows])
