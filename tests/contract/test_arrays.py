"""Images, labels and weights in containers that are not NumPy's arrays.

What each container holds counts, not the container: the same fit and predictions as
from plain arrays, in every layout, or a message that names the argument.
"""

import array

import numpy as np
import pytest
import torch
from PIL import Image

from fmnist_sklearn import LeNet5Classifier, MiniVGGClassifier

LAYOUTS = [(40, 144), (40, 12, 12), (40, 1, 12, 12)]
PIXELS = np.random.default_rng(0).integers(0, 256, (40, 144), dtype=np.uint8)
LABELS = (np.arange(40) % 3).astype(np.uint8)
WEIGHTS = (1 + np.arange(40) % 2).astype(np.uint8)
QUICK = {"max_epochs": 1, "random_state": 0, "module__hidden_units": (6,)}


class ArrayOnly:
    """Has ``__array__`` and nothing else."""

    def __init__(self, array):
        self.held = array

    def __array__(self, dtype=None, copy=None):
        return np.array(self.held, dtype=dtype)


class FileLike(ArrayOnly):
    """What h5py's datasets and zarr's arrays offer: no ``reshape``."""

    def __init__(self, array):
        super().__init__(array)
        self.shape, self.dtype, self.ndim = array.shape, array.dtype, array.ndim

    def __len__(self):
        return len(self.held)

    def __getitem__(self, key):
        return self.held[key]


class DLPackOnly:
    """Has DLPack's two methods and nothing else."""

    def __init__(self, array):
        self.held = array

    def __dlpack__(self, **kwargs):
        return self.held.__dlpack__(**kwargs)

    def __dlpack_device__(self):
        return self.held.__dlpack_device__()


def tensor(array):
    return torch.from_numpy(array.copy())


CONTAINERS = {
    "__array__ only": ArrayOnly,
    "file-like": FileLike,
    "DLPack only": DLPackOnly,
    "DLPack of bfloat16": lambda a: DLPackOnly(tensor(a).bfloat16()),
    "memory view": memoryview,
    "bfloat16 tensor": lambda a: tensor(a).bfloat16(),
    "half tensor": lambda a: tensor(a).half(),
    "tensor with gradient": lambda a: tensor(a).float().requires_grad_(),
    "list of tensors": lambda a: list(tensor(a).bfloat16()),
    "nested lists": np.ndarray.tolist,
    "list of arrays": list,
    "masked array, none masked": lambda a: np.ma.array(a, mask=np.zeros_like(a, bool)),
}


@pytest.fixture(scope="module")
def reference():
    """The net fitted on plain arrays, its probabilities, and those without weights."""
    net = LeNet5Classifier(**QUICK).fit(PIXELS, LABELS, sample_weight=WEIGHTS)
    return net, net.predict_proba(PIXELS)


def assert_alike(net, expected):
    np.testing.assert_allclose(net.predict_proba(PIXELS), expected, atol=1e-5)
    assert net.classes_.tolist() == [0, 1, 2]


@pytest.mark.parametrize("container", CONTAINERS)
def test_containers_fit(reference, container):
    """For images, labels and weights, of the validation part too."""
    hold = CONTAINERS[container]
    data = hold(PIXELS.reshape(40, 12, 12)), hold(LABELS), hold(WEIGHTS)
    assert_alike(LeNet5Classifier(**QUICK).fit(*data), reference[1])

    own = LeNet5Classifier(**QUICK).fit(PIXELS, LABELS, WEIGHTS, *data)
    plain = PIXELS, LABELS, WEIGHTS
    expected = LeNet5Classifier(**QUICK).fit(*plain, *plain)
    assert own.history_[-1, "valid_loss"] == pytest.approx(
        expected.history_[-1, "valid_loss"], rel=1e-4
    )


@pytest.mark.parametrize("container", CONTAINERS)
def test_containers_fit_in_parts(container):
    hold = CONTAINERS[container]
    net = LeNet5Classifier(**QUICK).partial_fit(
        hold(PIXELS.reshape(40, 1, 12, 12)),
        hold(LABELS),
        classes=hold(np.arange(3, dtype=np.uint8)),
        sample_weight=hold(WEIGHTS),
    )
    expected = LeNet5Classifier(**QUICK).partial_fit(
        PIXELS, LABELS, classes=range(3), sample_weight=WEIGHTS
    )
    assert_alike(net, expected.predict_proba(PIXELS))


@pytest.mark.parametrize("shape", LAYOUTS, ids=["rows", "n h w", "n c h w"])
@pytest.mark.parametrize("container", CONTAINERS)
def test_containers_predict(reference, container, shape):
    net, expected = reference
    X = CONTAINERS[container](PIXELS.reshape(shape))
    np.testing.assert_allclose(net.predict_proba(X), expected, atol=1e-6)
    assert np.array_equal(net.predict(X), expected.argmax(1))
    assert net.score(X, LABELS) == np.mean(expected.argmax(1) == LABELS)


def test_pictures_of_pil(reference):
    pictures = [Image.fromarray(image) for image in PIXELS.reshape(40, 12, 12)]
    assert_alike(LeNet5Classifier(**QUICK).fit(pictures, LABELS, WEIGHTS), reference[1])
    colours = [picture.convert("RGB") for picture in pictures]
    with pytest.raises(ValueError, match=r"looks like \(n, H, W, C\).*transpose"):
        LeNet5Classifier(**QUICK).fit(colours, LABELS)


def test_labels_in_a_buffer(reference):
    labels = array.array("B", LABELS.tolist())
    assert_alike(LeNet5Classifier(**QUICK).fit(PIXELS, labels, WEIGHTS), reference[1])


# The libraries themselves, where they are installed


def test_hdf5(reference, tmp_path):
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "data.h5", "w") as file:
        y = file.create_dataset("y", data=LABELS)
        weights = file.create_dataset("weights", data=WEIGHTS)
        for number, shape in enumerate(LAYOUTS):
            X = file.create_dataset(f"X{number}", data=PIXELS.reshape(shape))
            assert_alike(LeNet5Classifier(**QUICK).fit(X, y, weights), reference[1])
    with pytest.raises(TypeError, match="X is a Dataset whose values cannot be read"):
        reference[0].predict(X)


@pytest.mark.parametrize(
    ("library", "make"),
    [("zarr", "array"), ("xarray", "DataArray"), ("array_api_strict", "asarray")],
)
@pytest.mark.parametrize("shape", LAYOUTS, ids=["rows", "n h w", "n c h w"])
def test_arrays_of_other_libraries(reference, library, make, shape):
    hold = getattr(pytest.importorskip(library), make)
    data = hold(PIXELS.reshape(shape)), hold(LABELS), hold(WEIGHTS)
    assert_alike(LeNet5Classifier(**QUICK).fit(*data), reference[1])


def test_arrow_tables(reference):
    pyarrow = pytest.importorskip("pyarrow")
    names = [f"pixel{k}" for k in range(144)]
    table = pyarrow.table(list(PIXELS.T), names=names)
    net = LeNet5Classifier(**QUICK)
    net.fit(table, pyarrow.array(LABELS), sample_weight=pyarrow.array(WEIGHTS))
    np.testing.assert_allclose(net.predict_proba(table), reference[1], atol=1e-5)


# Memory and range


@pytest.mark.parametrize("shape", LAYOUTS, ids=["rows", "n h w", "n c h w"])
def test_memory_maps_of_bytes_are_not_copied(tmp_path, shape):
    np.save(tmp_path / "X.npy", PIXELS.reshape(shape))
    mapped = np.load(tmp_path / "X.npy", mmap_mode="r")
    net = LeNet5Classifier(**QUICK, device="cpu").fit(mapped, LABELS)
    assert net.get_dataset(mapped).images.data_ptr() == mapped.ctypes.data


@pytest.mark.parametrize(
    "X",
    [
        PIXELS.astype(np.float16) * np.float16(256),  # up to 65,280 of 65,504
        PIXELS.astype(np.int64) * 2**40,
        PIXELS.astype(np.uint16) * np.uint16(257),
        (PIXELS // 2).astype(np.int8),
        torch.from_numpy(PIXELS) * torch.tensor(1e36).bfloat16(),
    ],
    ids=["float16", "int64", "uint16", "int8", "bfloat16"],
)
@pytest.mark.parametrize("kind", [LeNet5Classifier, MiniVGGClassifier])
def test_pixels_of_any_range_train_alike(X, kind):
    settings = {"max_epochs": 1, "random_state": 0}
    if kind is MiniVGGClassifier:
        settings |= {"module__widths": (3, "M", 4), "module__hidden_units": 5}
    probabilities = kind(**settings).fit(X, LABELS).predict_proba(X)
    expected = kind(**settings).fit(PIXELS, LABELS).predict_proba(PIXELS)
    np.testing.assert_allclose(probabilities, expected, atol=0.05)


def test_bool_pixels(reference):
    X = PIXELS > 99
    net = LeNet5Classifier(**QUICK).fit(X, LABELS)
    same = LeNet5Classifier(**QUICK).fit(X.astype(np.float32), LABELS)
    assert np.array_equal(net.predict_proba(X), same.predict_proba(X))


# Refused, by fit and by prediction alike

MASKED = np.ma.array(PIXELS, mask=PIXELS > 250)
UNUSABLE = {
    "masked": (MASKED, "X has .* masked elements; give them values"),
    "masked images": (MASKED.reshape(40, 12, 12), "X has .* masked elements"),
    "sparse": (tensor(PIXELS).to_sparse(), "X is a Tensor .*pass a dense tensor"),
    "no values": (tensor(PIXELS).to("meta"), "X is a Tensor .*on meta"),
    "complex": (tensor(PIXELS).to(torch.complex64), "Complex data not supported"),
    "NaN": (torch.full((40, 144), torch.nan).bfloat16(), "Input X contains NaN"),
    "structured": (np.zeros(40, [("a", int)]), "X is a structured array"),
    "one row": (tensor(PIXELS)[0].bfloat16(), "Expected 2D array, got 1D array"),
    "five dimensions": (FileLike(PIXELS.reshape(40, 1, 1, 12, 12)), "with dim 5"),
    "no dimension": (torch.tensor(3.0), "Expected 2D array, got scalar array"),
    "no rows": (FileLike(PIXELS[:0].reshape(0, 12, 12)), r"0 sample\(s\)"),
    "strings": (PIXELS.astype(str).tolist(), "arrays of bytes/strings"),
    "a path": ("images/", "X is text or a path"),
    "paths": (["1.png", "2.png"], "X is text or a path"),
    "sizes": (
        [np.zeros((12, 12 + k % 2)) for k in range(40)],
        r"X is a list whose items have 2 different shapes.*same size",
    ),
}


@pytest.mark.parametrize("case", UNUSABLE)
def test_unusable_containers(reference, case):
    X, match = UNUSABLE[case]
    for call in (
        lambda: LeNet5Classifier(**QUICK).fit(X, LABELS),
        lambda: LeNet5Classifier(**QUICK).partial_fit(X, LABELS, classes=range(3)),
        lambda: reference[0].predict(X),
        lambda: reference[0].score(X, LABELS),
        lambda: LeNet5Classifier(**QUICK).fit(PIXELS, LABELS, X_val=X, y_val=LABELS),
    ):
        with pytest.raises((TypeError, ValueError), match=match):
            call()


@pytest.mark.parametrize("argument", ["y", "sample_weight", "y_val", "classes"])
@pytest.mark.parametrize(
    ("values", "match"),
    [
        (np.ma.array(LABELS, mask=LABELS == 2), "13 masked elements"),
        (tensor(LABELS).to_sparse(), "pass a dense tensor"),
        (tensor(LABELS).to("meta"), "pass a dense tensor"),
    ],
    ids=["masked", "sparse", "meta"],
)
def test_unusable_labels_and_weights(argument, values, match):
    net = LeNet5Classifier(**QUICK)
    data = {"X": PIXELS, "y": LABELS} | {argument: values}
    if argument == "y_val":
        data["X_val"] = PIXELS
    call = net.partial_fit if argument == "classes" else net.fit
    with pytest.raises((TypeError, ValueError), match=match):
        call(**data)
    assert not hasattr(net, "classes_")
