import pickle
import warnings

import numpy as np
import pytest
from PIL import Image

from fmnist_sklearn import load_fashion_mnist_sample
from fmnist_sklearn.benchmark import data as benchmark_data
from fmnist_sklearn.benchmark import load_arrays, load_data, load_pictures


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


@pytest.fixture
def save(tmp_path):
    """Save ten images of each of three classes under some names; return the file."""
    X = np.random.default_rng(0).integers(0, 255, (30, 48), dtype=np.uint8)
    arrays = {"X": X, "y": np.repeat(["a", "b", "c"], 10)}

    def save_as(names="X y", **others):
        named = dict(zip(names.split(), arrays.values(), strict=True)) | others
        path = tmp_path / "own.npz"
        np.savez(path, **{k: v for k, v in named.items() if v is not None})
        return path

    return save_as


def test_load_arrays_of_an_npz_file_and_of_npy_files(save, tmp_path):
    path = save()
    with np.load(path) as stored:
        X, y = stored["X"], stored["y"]
    images = load_arrays(path, image_shape=(3, 4, 4), seed=1)
    assert (images.name, images.source) == ("own.npz", str(path))
    assert images.preparation is None
    assert images.X_train.shape == (24, 3, 4, 4)
    assert np.unique(images.y_test, return_counts=True)[1].tolist() == [2, 2, 2]
    np.save(tmp_path / "X.npy", X)
    np.save(tmp_path / "y.npy", y[:, None])
    with pytest.raises(ValueError, match=r"X\.npy holds X; expected .* --labels"):
        load_arrays(tmp_path / "X.npy")
    again = load_arrays(tmp_path / "X.npy", labels=tmp_path / "y.npy", seed=1)
    np.testing.assert_array_equal(again.X_train, images.X_train.reshape(24, 48))
    np.testing.assert_array_equal(again.y_train, images.y_train)


@pytest.mark.parametrize(
    ("names", "test_names"),
    [
        ("X y", "X_test y_test"),
        ("x_train y_train", "x_test y_test"),  # Keras
        ("train_images train_labels", "test_images test_labels"),  # MedMNIST
        ("images target", None),
        ("arr_0 arr_1", None),
    ],
)
def test_load_arrays_knows_the_names_of_others(save, names, test_names):
    others = {}
    if test_names:
        others = dict.fromkeys(test_names.split(), np.zeros(3))
        others[test_names.split()[0]] = np.ones((3, 48))
    images = load_arrays(save(names, **others))
    assert images.n_train == (30 if test_names else 24)
    assert (images.X_test == 1).all() == bool(test_names)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"y": None}, "holds X; expected images X and labels y"),
        ({"y": np.array(["a", 1, None] * 10, dtype=object)}, r"y\.astype\(str\)"),
        ({"y": np.arange(4)}, "inconsistent numbers of samples"),
        ({"y": np.eye(30)}, "should be a 1d array"),
        ({"X_test": np.ones((3, 48))}, "X, y, X_test only"),
        ({"X": np.ones((30, 47))}, r"into shape \(3,4,4\)"),
        ({"y": np.arange(30)}, "too few to keep a fifth"),
    ],
)
def test_load_arrays_of_bad_content(save, change, message):
    with pytest.raises(ValueError, match=message):
        load_arrays(save(**change), image_shape=(3, 4, 4))


def test_load_arrays_of_damaged_and_other_files(save):
    path = save()
    content = path.read_bytes()
    for other in (b"", content[:2000], content[:-50], b"text", pickle.dumps([1])):
        path.write_bytes(other)
        with pytest.raises(ValueError, match=r"own\.npz cannot be read as arrays"):
            load_arrays(path)
