import warnings

import pytest

from fmnist_sklearn import load_fashion_mnist_sample
from fmnist_sklearn.benchmark import data as benchmark_data
from fmnist_sklearn.benchmark.data import load_data


@pytest.fixture
def no_full_data(monkeypatch):
    def fail(**kwargs):
        raise OSError("no network. To get the data, install a package.")

    monkeypatch.setattr(benchmark_data, "fetch_fashion_mnist", fail)


def test_auto_says_how_to_get_the_full_data_and_uses_the_sample(no_full_data):
    with pytest.warns(UserWarning, match="bundled sample .*To get the data, install"):
        images = load_data("auto")
    assert (images.name, images.n_train, images.n_test) == ("sample", 6000, 1000)


def test_full_insists(no_full_data):
    with pytest.raises(OSError, match="To get the data, install"):
        load_data("full")


def test_sample_asks_for_nothing(no_full_data):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert load_data("sample").X_train.shape == (6000, 784)


@pytest.mark.parametrize("data", ["auto", "full"])
def test_full_data_where_it_can_be_had(monkeypatch, tmp_path, data):
    asked = []

    def fetch(subset, data_home, **kwargs):
        asked.append((subset, data_home))
        return load_fashion_mnist_sample(subset=subset)

    monkeypatch.setattr(benchmark_data, "fetch_fashion_mnist", fetch)
    assert load_data(data, tmp_path).name == "full"
    assert asked == [("train", tmp_path), ("test", tmp_path)]
