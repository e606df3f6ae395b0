"""Images, labels and weights in any container, dtype and layout.

The values count, not the container: the same fit and predictions as from plain arrays,
or a message that names the argument, which is scikit-learn's own where it has one.
"""

import array
import re
import warnings

import numpy as np
import pandas as pd
import pytest
import scipy.sparse
import torch
from PIL import Image
from sklearn.exceptions import DataConversionWarning
from sklearn.neural_network import MLPClassifier

from fmnist_sklearn import LeNet5Classifier, MiniVGGClassifier

LAYOUTS = {"rows": (40, 144), "n h w": (40, 12, 12), "n c h w": (40, 1, 12, 12)}
PIXELS = np.random.default_rng(0).integers(0, 256, (40, 144), dtype=np.uint8)
LABELS = (np.arange(40) % 3).astype(np.uint8)
WORDS = np.array(["cat", "cow", "dog"])[LABELS]
WEIGHTS = (1 + np.arange(40) % 2).astype(np.uint8)
NAMES = [f"pixel{k}" for k in range(144)]
QUICK = {"max_epochs": 1, "random_state": 0, "module__hidden_units": (6,)}
SHAPES = pytest.mark.parametrize("shape", LAYOUTS.values(), ids=LAYOUTS)


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


class ClosedFile(FileLike):
    def __array__(self, dtype=None, copy=None):
        raise ValueError("Not a dataset (not a dataset)")

    __getitem__ = __array__


class InterfaceOnly:
    """Has ``__array_interface__`` and nothing else."""

    def __init__(self, array):
        self.held, self.__array_interface__ = array, array.__array_interface__


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


def negated(array):
    """Return a tensor that PyTorch only marks as to be negated."""
    real = tensor(array).float()
    return torch.complex(real, -real).conj().imag


CONTAINERS = {
    "__array__ only": ArrayOnly,
    "__array_interface__": InterfaceOnly,
    "file-like": FileLike,
    "DLPack only": DLPackOnly,
    "DLPack of bfloat16": lambda a: DLPackOnly(tensor(a).bfloat16()),
    "memory view": memoryview,
    "bfloat16 tensor": lambda a: tensor(a).bfloat16(),
    "half tensor": lambda a: tensor(a).half(),
    "strided tensor": lambda a: tensor(a).repeat_interleave(2, dim=-1)[..., ::2],
    "negated tensor": negated,
    "tensor with gradient": lambda a: tensor(a).float().requires_grad_(),
    "list of tensors": lambda a: list(tensor(a).bfloat16()),
    "nested lists": np.ndarray.tolist,
    "list of arrays": list,
    "masked array, none masked": lambda a: np.ma.array(a, mask=np.zeros_like(a, bool)),
}
DTYPES_AND_LAYOUTS = {
    "fortran": np.asfortranarray,
    "strided": lambda a: np.repeat(a, 2, axis=-1)[..., ::2],
    "int64": lambda a: a.astype(np.int64),
    "float32": lambda a: a.astype(np.float32),
    "float64": lambda a: a.astype(np.float64),
    "big-endian": lambda a: a.astype(">f8"),
    "object": lambda a: a.astype(object),
}


@pytest.fixture(scope="module")
def reference():
    """A net fitted on plain arrays, and its probabilities."""
    net = LeNet5Classifier(**QUICK).fit(PIXELS, LABELS, sample_weight=WEIGHTS)
    return net, net.predict_proba(PIXELS)


@pytest.fixture(scope="module")
def in_parts():
    """The probabilities of ``partial_fit`` on plain arrays."""
    net = LeNet5Classifier(**QUICK)
    net.partial_fit(PIXELS, LABELS, classes=range(3), sample_weight=WEIGHTS)
    return net.predict_proba(PIXELS)


@pytest.fixture(scope="module")
def valid_loss():
    """The validation loss on plain arrays: the training rows once more."""
    plain = PIXELS, LABELS, WEIGHTS
    return LeNet5Classifier(**QUICK).fit(*plain, *plain).history_[-1, "valid_loss"]


def assert_alike(net, expected, X=PIXELS):
    np.testing.assert_allclose(net.predict_proba(X), expected, atol=1e-5)
    assert net.n_classes_ == 3


@pytest.mark.parametrize("container", CONTAINERS)
def test_fit_of_containers(reference, in_parts, valid_loss, container):
    """For images, labels and weights, of the validation part too."""
    hold = CONTAINERS[container]
    data = hold(PIXELS.reshape(40, 12, 12)), hold(LABELS), hold(WEIGHTS)
    assert_alike(LeNet5Classifier(**QUICK).fit(*data), reference[1])

    own = LeNet5Classifier(**QUICK).fit(PIXELS, LABELS, WEIGHTS, *data)
    assert own.history_[-1, "valid_loss"] == pytest.approx(valid_loss, rel=1e-4)

    net = LeNet5Classifier(**QUICK).partial_fit(
        hold(PIXELS.reshape(40, 1, 12, 12)),
        hold(LABELS),
        classes=hold(np.arange(3, dtype=np.uint8)),
        sample_weight=hold(WEIGHTS),
    )
    assert_alike(net, in_parts)


@SHAPES
@pytest.mark.parametrize("container", [*CONTAINERS, *DTYPES_AND_LAYOUTS])
def test_predict_of_containers(reference, container, shape):
    net, expected = reference
    X = (CONTAINERS | DTYPES_AND_LAYOUTS)[container](PIXELS.reshape(shape))
    np.testing.assert_allclose(net.predict_proba(X), expected, atol=1e-6)
    assert np.array_equal(net.predict(X), expected.argmax(1))
    assert net.score(X, LABELS) == np.mean(expected.argmax(1) == LABELS)


@pytest.mark.parametrize("convert", DTYPES_AND_LAYOUTS)
def test_fit_of_dtypes_and_layouts(reference, convert):
    X = DTYPES_AND_LAYOUTS[convert](PIXELS)
    assert_alike(LeNet5Classifier(**QUICK).fit(X, LABELS, WEIGHTS), reference[1], X)


def test_fit_of_pictures_of_pil(reference):
    pictures = [Image.fromarray(image) for image in PIXELS.reshape(40, 12, 12)]
    labels = array.array("B", LABELS.tolist())
    assert_alike(LeNet5Classifier(**QUICK).fit(pictures, labels, WEIGHTS), reference[1])
    for mode in ("RGB", "LA"):
        colours = [picture.convert(mode) for picture in pictures]
        last = [np.asarray(picture) for picture in colours]
        first = np.stack(last).transpose(0, 3, 1, 2)
        net = LeNet5Classifier(**QUICK).fit(colours, labels)
        assert net.image_shape_ == (len(mode), 12, 12)
        for X in (colours, pd.Series(colours).to_numpy(), first):
            assert_alike(net, net.predict_proba(first), X)
        if mode == "RGB":  # arrays and tensors of two channels last are not known
            for X in (last, list(torch.tensor(np.stack(last)))):
                assert_alike(net, net.predict_proba(first), X)


@SHAPES
def test_fit_of_a_memory_map(reference, tmp_path, shape):
    for name, values in {"X": PIXELS.reshape(shape), "y": LABELS}.items():
        np.save(tmp_path / f"{name}.npy", values)
    X = np.load(tmp_path / "X.npy", mmap_mode="r")
    y = np.load(tmp_path / "y.npy", mmap_mode="r")
    net = LeNet5Classifier(**QUICK, device="cpu").fit(X, y, WEIGHTS)
    assert_alike(net, reference[1], X)
    assert net.get_dataset(X).images.data_ptr() == X.ctypes.data  # not copied
    net.partial_fit(X, y)
    assert np.array_equal(X, PIXELS.reshape(shape))


# Data frames


@pytest.mark.parametrize(
    "as_labels",
    [
        pd.Series,
        lambda words: pd.Series(words, index=np.arange(len(words))[::-1] + 7),
        lambda words: pd.Series(words).astype("category"),
        lambda words: pd.Series(words, dtype="string"),
        lambda words: pd.Series(words).to_frame()[0],
        list,
    ],
    ids=["series", "odd index", "categorical", "string", "column", "list"],
)
def test_fit_of_pandas_frames(reference, as_labels):
    frame = pd.DataFrame(PIXELS, columns=NAMES, index=np.arange(40) * 3)
    weights = pd.Series(WEIGHTS, index=frame.index)
    net = LeNet5Classifier(**QUICK)
    net.fit(frame, as_labels(WORDS), sample_weight=weights)
    assert_names_are_checked(net, frame, frame[NAMES[::-1]])
    assert_alike(net, reference[1], frame)
    assert net.score(frame, as_labels(WORDS)) == np.mean(net.predict(frame) == WORDS)


def assert_names_are_checked(net, frame, reversed_frame):
    assert net.feature_names_in_.tolist() == NAMES
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        net.predict(frame)
    with pytest.raises(ValueError, match="feature names should match"):
        net.predict(reversed_frame)


def test_fit_of_pandas_nullable_columns(reference):
    frame = pd.DataFrame(PIXELS).astype("Int64")
    net = LeNet5Classifier(**QUICK).fit(frame, LABELS, WEIGHTS)
    assert_alike(net, reference[1], frame)
    with pytest.raises(ValueError, match="NaN"):
        LeNet5Classifier(**QUICK).fit(frame.replace(0, pd.NA), LABELS)


def test_fit_of_polars_frames(reference):
    polars = pytest.importorskip("polars")
    frame = polars.DataFrame(PIXELS, schema=NAMES)
    net = LeNet5Classifier(**QUICK).fit(frame, polars.Series(WORDS.tolist()), WEIGHTS)
    assert_names_are_checked(net, frame, frame.select(NAMES[::-1]))
    assert_alike(net, reference[1], frame)


# Colours and ranges


def test_fit_of_colour_images(quick, same_predictions):
    X = np.random.randint(0, 256, (60, 3, 16, 20), dtype=np.uint8)
    y = np.random.randint(0, 3, 60)
    net = LeNet5Classifier(**quick).fit(X, y)
    rows = LeNet5Classifier(**quick, image_shape=(3, 16, 20)).fit(X.reshape(60, -1), y)

    assert net.image_shape_ == rows.image_shape_ == (3, 16, 20)
    assert net.module_.scaling.mean.shape == (3,)
    assert same_predictions(net, rows, X)


@pytest.mark.parametrize(
    "X",
    [
        PIXELS / 255,
        PIXELS.astype(np.float16) * np.float16(256),  # up to 65,280 of 65,504
        PIXELS.astype(np.int64) * 2**40,
        PIXELS.astype(np.uint16) * np.uint16(257),
        (PIXELS // 2).astype(np.int8),
        torch.from_numpy(PIXELS) * torch.tensor(1e36).bfloat16(),
    ],
    ids=["unit range", "float16", "int64", "uint16", "int8", "bfloat16"],
)
@pytest.mark.parametrize("kind", [LeNet5Classifier, MiniVGGClassifier])
def test_fit_of_pixels_of_any_range(X, kind):
    settings = {"max_epochs": 1, "random_state": 0}
    if kind is MiniVGGClassifier:
        settings |= {"module__widths": (3, "M", 4), "module__hidden_units": 5}
    probabilities = kind(**settings).fit(X, LABELS).predict_proba(X)
    expected = kind(**settings).fit(PIXELS, LABELS).predict_proba(PIXELS)
    np.testing.assert_allclose(probabilities, expected, atol=0.05)


@pytest.mark.parametrize("scaling", ["standardize", "symmetric"])
@pytest.mark.parametrize("scale", [1e-46, 1e-45, 1e-42, 1e-38, 1e-37])
def test_fit_of_pixels_too_close_to_divide_by(scaling, scale):
    X = PIXELS / 255 * scale
    net = LeNet5Classifier(**QUICK, pixel_scaling=scaling).fit(X, LABELS)
    assert np.isfinite(net.predict_proba(X)).all()


def test_predict_of_pixels_far_beyond_the_fitted_range():
    X = PIXELS / 255
    net = LeNet5Classifier(**QUICK).fit(X * 1e-6, LABELS)
    for method in (net.predict, net.predict_proba, net.predict_log_proba):
        with pytest.raises(ValueError, match=r"outputs are not finite.*: X holds valu"):
            method(X * 1e38)


# Refused, by fit and by prediction alike

MASKED = np.ma.array(PIXELS, mask=PIXELS > 250)
UNUSABLE = {
    "masked": (MASKED, "X has .* masked elements; give them values"),
    "sparse": (tensor(PIXELS).to_sparse(), "X is a Tensor .*pass .* a dense tensor"),
    "no values": (tensor(PIXELS).to("meta"), "X is a Tensor .*meta tensor"),
    "complex": (tensor(PIXELS).to(torch.complex64), "Complex data not supported"),
    "NaN": (torch.full((40, 144), torch.nan).bfloat16(), "Input X contains NaN"),
    "five dimensions": (FileLike(PIXELS.reshape(40, 1, 1, 12, 12)), "with dim 5"),
    "no dimension": (torch.tensor(3.0), "Expected 2D array, got scalar array"),
    "no rows": (FileLike(PIXELS[:0].reshape(0, 12, 12)), r"0 sample\(s\)"),
    "closed": (ClosedFile(PIXELS), "X is a ClosedFile whose values cannot be read"),
    "a path": ("images/", "X is text or a path"),
    "a dict": ({"X": PIXELS}, "array"),
}


@pytest.mark.parametrize("case", UNUSABLE)
def test_fit_and_predict_refuse_containers(reference, case):
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


def test_predict_refuses_images_of_another_shape(reference):
    match = r"\(1, 11, 12\), .*expects \(1, 12, 12\)"
    with pytest.raises(ValueError, match=match):
        reference[0].predict(np.zeros((2, 11, 12)))


@pytest.mark.parametrize("argument", ["y", "sample_weight", "y_val", "classes"])
@pytest.mark.parametrize(
    ("values", "match"),
    [
        (np.ma.array(LABELS, mask=LABELS == 2), "13 masked elements"),
        (tensor(LABELS).to_sparse(), "pass a .* or a dense tensor"),
        (tensor(LABELS).to("meta"), "pass a .* or a dense tensor"),
    ],
    ids=["masked", "sparse", "meta"],
)
def test_fit_refuses_labels_and_weights(argument, values, match):
    net = LeNet5Classifier(**QUICK)
    data = {"X": PIXELS, "y": LABELS} | {argument: values}
    if argument == "y_val":
        data["X_val"] = PIXELS
    call = net.partial_fit if argument == "classes" else net.fit
    with pytest.raises((TypeError, ValueError), match=match):
        call(**data)
    assert not hasattr(net, "classes_")


# scikit-learn's own messages

ROWS, ROW_LABELS = PIXELS[:20].astype(float), LABELS[:20] % 2


def replaced(value):
    rows = ROWS.astype(object if isinstance(value, str) else type(value))
    rows[3, 5] = value
    return rows


UNUSABLE_TO_FIT = {
    "one dimension": (ROWS[0], ROW_LABELS),
    "no dimension": (3.0, ROW_LABELS),
    "no rows": (ROWS[:0], ROW_LABELS[:0]),
    "no columns": (ROWS[:, :0], ROW_LABELS),
    "five dimensions": (ROWS.reshape(20, 1, 1, 12, 12), ROW_LABELS),
    "NaN": (replaced(np.nan), ROW_LABELS),
    "infinity": (replaced(np.inf), ROW_LABELS),
    "NaN in a frame": (pd.DataFrame(replaced(np.nan)), ROW_LABELS),
    "complex": (replaced(1j), ROW_LABELS),
    "strings": (ROWS.astype(str), ROW_LABELS),
    "a string among objects": (replaced("boot"), ROW_LABELS),
    "a ragged list": ([[1.0, 2.0], [3.0]], [0, 1]),
    "sparse": (scipy.sparse.csr_array(ROWS), ROW_LABELS),
    "None": (None, ROW_LABELS),
    "mismatched lengths": (ROWS[:19], ROW_LABELS),
    "no labels": (ROWS, None),
    "continuous labels": (ROWS, np.linspace(0, 1, 20)),
    "NaN labels": (ROWS, np.where(ROW_LABELS, np.nan, 1.0)),
    "infinite labels": (ROWS, np.where(ROW_LABELS, np.inf, 1.0)),
    "labels in a matrix": (ROWS, np.c_[ROW_LABELS, ROW_LABELS, ROW_LABELS]),
    "labels of two kinds": (ROWS, np.array(["a", 1] * 10, dtype=object)),
}
# Where MLPClassifier accepts more (several labels a row, sparse rows, numbers in
# strings) or has its own wording, this is what scikit-learn says elsewhere.
OTHERS_SAY = {
    "strings": "dtype='numeric' is not compatible with arrays of bytes/strings",
    "None": "Expected 2D array, got scalar array instead",
    "continuous labels": "Unknown label type: continuous",
    "five dimensions": r"Found array with dim 5",
    "labels in a matrix": r"y should be a 1d array, got an array of shape \(20, 3\)",
    "sparse": "Sparse data was passed for X, but dense data is required",
}


def error_of(function, *args):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises((ValueError, TypeError)) as caught:
            function(*args)
    return type(caught.value), str(caught.value)


@pytest.mark.parametrize("case", UNUSABLE_TO_FIT)
def test_fit_messages_are_scikit_learn_s(case):
    X, y = UNUSABLE_TO_FIT[case]
    kind, message = error_of(LeNet5Classifier(**QUICK).fit, X, y)
    if case in OTHERS_SAY:
        assert re.search(OTHERS_SAY[case], message)
        return
    reference = MLPClassifier(early_stopping=True, max_iter=1)
    other_kind, other_message = error_of(reference.fit, X, y)
    assert kind is other_kind
    assert message == other_message.replace("MLPClassifier", "LeNet5Classifier")


@pytest.fixture(scope="module")
def perceptron():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return MLPClassifier((2,), max_iter=1).fit(PIXELS, LABELS)


@pytest.mark.parametrize(
    "X",
    [
        *(ROWS[:, :143], ROWS[:0], replaced(np.nan), replaced(1j)),
        *(ROWS.astype(str), pd.DataFrame(ROWS).drop(columns=[3])),
    ],
    ids=["columns", "no rows", "NaN", "complex", "strings", "frame"],
)
def test_predict_messages_are_scikit_learn_s(reference, perceptron, X):
    for method in ("predict", "predict_proba", "predict_log_proba"):
        kind, message = error_of(getattr(reference[0], method), X)
        other_kind, other_message = error_of(getattr(perceptron, method), X)
        assert kind is other_kind
        assert message == other_message.replace("MLPClassifier", "LeNet5Classifier")


def test_fit_of_a_column_of_labels_warns(reference):
    net = LeNet5Classifier(**QUICK)
    with pytest.warns(DataConversionWarning, match="A column-vector y was passed"):
        net.fit(PIXELS, LABELS[:, None], WEIGHTS)
    assert_alike(net, reference[1])


def test_fit_of_too_few_rows():
    with pytest.raises(ValueError, match=r"n_samples=1 is too few"):
        LeNet5Classifier(**QUICK).fit(ROWS[:1], [1])
    with pytest.raises(ValueError, match=r"0 sample\(s\)"):
        LeNet5Classifier(**QUICK).partial_fit(ROWS[:0], [], classes=[0, 1])
    net = LeNet5Classifier(**QUICK, validation_fraction=0).fit(ROWS[:1], [1])
    assert net.predict(ROWS[:2]).tolist() == [1, 1]
