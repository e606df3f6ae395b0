"""The sample that ships with the package."""

import numpy as np
import pytest

from fmnist_sklearn.datasets import _sample, load_fashion_mnist_sample

from .tools import corrupt, needs_full_data


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


def test_sample_all_has_train_rows_first():
    train, test, both = (
        load_fashion_mnist_sample(subset=subset) for subset in ("train", "test", "all")
    )
    np.testing.assert_array_equal(both.data, np.vstack([train.data, test.data]))
    np.testing.assert_array_equal(both.target, np.hstack([train.target, test.target]))


def test_damaged_sample(monkeypatch, tmp_path):
    content = (_sample.DATA / _sample.SAMPLE).read_bytes()
    (tmp_path / _sample.SAMPLE).write_bytes(corrupt(content))
    monkeypatch.setattr(_sample, "DATA", tmp_path)
    with pytest.raises(OSError, match=r"npz is damaged: .* Reinstall fmnist-sklearn"):
        load_fashion_mnist_sample()


def test_sample_ships_with_its_licence():
    text = (_sample.DATA / "LICENSE").read_text(encoding="utf-8")
    assert "Copyright © 2017 Zalando SE, https://tech.zalando.com" in text
    assert "The MIT License" in text


@needs_full_data
def test_sample_is_what_its_script_draws():
    from fmnist_sklearn.datasets._make_sample import sample_arrays

    drawn = sample_arrays()
    for subset in ("train", "test"):
        sample = load_fashion_mnist_sample(subset=subset)
        np.testing.assert_array_equal(sample.images, drawn[f"X_{subset}"])
        np.testing.assert_array_equal(sample.target, drawn[f"y_{subset}"])
