import warnings

import numpy as np
import pytest
from PIL import Image

from fmnist_sklearn import load_fashion_mnist_sample
from fmnist_sklearn.benchmark import data as benchmark_data
from fmnist_sklearn.benchmark import load_data, load_pictures


def test_load_data_without_the_full_data(monkeypatch):
    def fail(**kwargs):
        raise OSError("no network. To get the data, install a package.")

    monkeypatch.setattr(benchmark_data, "fetch_fashion_mnist", fail)
    with pytest.warns(UserWarning, match="bundled sample .*To get the data, install"):
        images = load_data("auto")
    assert (images.name, images.n_train, images.n_test) == ("sample", 6000, 1000)
    with pytest.raises(OSError, match="To get the data, install"):
        load_data("full")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert load_data("sample").X_train.shape == (6000, 784)


@pytest.mark.parametrize("data", ["auto", "full"])
def test_load_data_prefers_the_full_data(monkeypatch, tmp_path, data):
    fetched = []

    def fetch(subset, data_home, **kwargs):
        fetched.append((subset, data_home))
        return load_fashion_mnist_sample(subset=subset)

    monkeypatch.setattr(benchmark_data, "fetch_fashion_mnist", fetch)
    assert load_data(data, tmp_path).name == "full"
    assert fetched == [("train", tmp_path), ("test", tmp_path)]


@pytest.fixture
def folder(tmp_path):
    """A folder of pictures, each of a shade of its own."""

    def make(name, **counts):
        shade = 0
        for label, count in counts.items():
            (tmp_path / name / label).mkdir(parents=True)
            for i in range(count):
                shade += 1
                path = tmp_path / name / label / f"{i}.png"
                Image.new("L", (4, 4), shade).save(path)
        return tmp_path / name

    return make


def test_load_pictures_keeps_a_fifth_of_each_class(folder):
    path = folder("photos", a=20, b=10)
    images = load_pictures(path, image_shape=(1, 4, 4), seed=1)
    assert (images.name, images.source) == ("photos/", str(path))
    assert (images.n_train, images.n_test) == (24, 6)
    assert sorted(images.y_test) == ["a"] * 4 + ["b"] * 2
    shades = np.concatenate([images.X_train, images.X_test])[:, 0, 0, 0]
    assert sorted(shades) == list(range(1, 31))
    assert load_data(images) is images
    again = load_pictures(path, image_shape=(1, 4, 4), seed=1)
    assert np.array_equal(images.X_train, again.X_train)


def test_load_pictures_with_a_folder_to_test_on(folder):
    train, test = folder("train", a=20, b=20), folder("test", b=3)
    images = load_pictures(train, test=test, image_shape=(1, 4, 4))
    assert (images.n_train, images.n_test) == (40, 3)
    assert set(images.y_train[:10]) == {"a", "b"}  # in no order of the classes
    assert np.array_equal(images.X_train[:, 0, 0, 0] <= 20, images.y_train == "a")
    with pytest.raises(ValueError, match="the classes c, which are not in"):
        load_pictures(train, test=folder("other", c=3), image_shape=(1, 4, 4))


@pytest.mark.parametrize("counts", [{"a": 20, "b": 1}, {"a": 2, "b": 2}])
def test_load_pictures_of_too_small_a_class(folder, counts):
    with pytest.raises(ValueError, match=r"too few to keep a fifth .* test on"):
        load_pictures(folder("photos", **counts), image_shape=(1, 4, 4))
