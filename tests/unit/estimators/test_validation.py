"""Images, labels and weights in any accepted form; whole fits are in contract tests."""

import copy
import re
import warnings

import numpy as np
import pytest
import torch
from PIL import Image

from fmnist_sklearn import LeNet5Classifier, MiniVGGClassifier
from fmnist_sklearn.estimators.validation import (
    check_image_shape,
    flatten_images,
    infer_image_shape,
    to_array,
    to_image_tensor,
)

# Layouts ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shape", "image_shape"),
    [
        ((5, 4, 6), (1, 4, 6)),
        ((5, 1, 4, 6), (1, 4, 6)),
        ((5, 3, 4, 6), (3, 4, 6)),
        ((5, 3, 4, 3), (3, 4, 3)),  # three channels first are taken as such
    ],
)
def test_flatten_images_makes_rows(shape, image_shape):
    X = np.arange(np.prod(shape)).reshape(shape)
    for given in (X, X.tolist(), torch.tensor(X)):
        for expected in (None, image_shape):
            rows, found = flatten_images(given, expected)
            assert found == image_shape
            assert np.array_equal(rows, X.reshape(5, -1))


@pytest.mark.parametrize("n_channels", [1, 3, 4])
def test_flatten_images_suggests_to_transpose_channels_last(n_channels):
    X = np.zeros((5, 28, 28, n_channels))
    match = rf"X has shape \(5, 28, 28, {n_channels}\).*\(n, H, W, C\).*transpose"
    for expected in (None, (n_channels, 28, 28)):
        with pytest.raises(ValueError, match=match):
            flatten_images(X, expected)
    rows, shape = flatten_images(X.transpose(0, 3, 1, 2), None)
    assert shape == (n_channels, 28, 28)
    assert rows.shape == (5, n_channels * 28 * 28)


def test_flatten_images_follows_the_expected_shape():
    X = np.zeros((5, 2, 4, 3))
    with pytest.raises(ValueError, match="looks like"):
        flatten_images(X, None)
    assert flatten_images(X, (2, 4, 3))[1] == (2, 4, 3)
    match = r"X holds images of shape .* \(1, 3, 4\), .* expects \(1, 4, 3\)"
    with pytest.raises(ValueError, match=match):
        flatten_images(np.zeros((2, 3, 4)), (1, 4, 3))


@pytest.mark.parametrize(
    ("shape", "image_shape"),
    [
        *(((5, 6), (1, 5, 6)), ((30,), (1, 5, 6)), ((5, 6, 1), (1, 5, 6))),
        *(((3, 5, 6), (3, 5, 6)), ((5, 6, 3), (3, 5, 6)), ((90,), (3, 5, 6))),
    ],
)
def test_flatten_images_of_one_image(shape, image_shape):
    x = np.arange(np.prod(shape)).reshape(shape)
    match = rf"X is one image, of shape {re.escape(str(shape))}; .*X\[None\].*\[X\]"
    for given in (x, torch.tensor(x)):
        with pytest.raises(ValueError, match=match):
            flatten_images(given, image_shape)
    rows, _ = flatten_images([x], image_shape)
    assert rows.shape == (1, np.prod(shape))


@pytest.mark.parametrize("shape", [(1, 1, 6), (1, 6)])
def test_flatten_images_of_a_batch_with_the_shape_of_an_image(shape):
    rows, _ = flatten_images(np.zeros(shape), (1, 1, 6))
    assert rows.shape == (1, 6)


# Arrays that are not NumPy's ----------------------------------------------------------


@pytest.mark.parametrize(
    "dtype",
    [
        *(torch.bfloat16, torch.float16, torch.float8_e4m3fn, torch.float8_e5m2),
        *(torch.float64, torch.bool, torch.int8, torch.uint16, torch.int64),
    ],
    ids=str,
)
def test_to_array_of_tensors_of_every_real_dtype(dtype):
    numbers = torch.tensor([[0.0, 1.0, 1.5, 6.0]]).to(dtype)
    array = to_array(numbers)
    assert array.tolist() == numbers.double().tolist()
    assert array.dtype.kind in "fiub"


class Refuses:
    def __array__(self, dtype=None, copy=None):
        raise TypeError("Implicit conversion to a NumPy array is not allowed.")


@pytest.mark.parametrize(
    ("X", "error", "match"),
    [
        (Refuses(), TypeError, "Implicit conversion to a NumPy array"),
        ([np.ma.masked_less(np.arange(4), 2)], ValueError, "X has 2 masked elements"),
        ([Image.new("P", (4, 3))], ValueError, r"palette; .*convert\('L'\)"),
        (
            [Image.new("RGB", (4, 4)), Image.new("L", (4, 4))],
            ValueError,
            "2 different shapes.* to the same size, and pictures to the same mode",
        ),
        (
            (torch.ones(3, 4), np.ones((1, 3, 4))),
            ValueError,
            r"X is a tuple .* 2 different shapes, such as \(1, 3, 4\) and \(3, 4\)",
        ),
        ([[[1, 2], [3, 4]], [[1, 2]]], ValueError, r"shapes, such as \(1, 2\) and"),
        ([[[1, 2], [3]]], ValueError, "inhomogeneous shape"),
    ],
    ids=[
        *("refuses", "mask in a list"),
        *("palette", "colours", "shapes", "nested sizes", "ragged"),
    ],
)
def test_flatten_images_refuses_what_makes_no_array(X, error, match):
    with pytest.raises(error, match=match):
        flatten_images(X, None)


# The shape that rows are read in ------------------------------------------------------


@pytest.mark.parametrize(
    ("n_columns", "side"),
    [(1, 1), (2, 2), (4, 2), (5, 3), (12, 4), (63, 8), (65, 9), (75, 9), (784, 28)],
)
def test_infer_image_shape_is_a_grey_square(n_columns, side):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert infer_image_shape(n_columns) == (1, side, side)


@pytest.mark.parametrize("side", [8, 16, 32, 64])
def test_infer_image_shape_warns_of_three_squares(side):
    match = rf"{side} x {side} RGB images pass image_shape=\(3, {side}, {side}\)"
    with pytest.warns(UserWarning, match=match):
        assert infer_image_shape(3 * side * side)[0] == 1


@pytest.mark.parametrize(
    "given",
    [
        *((3, 4, 2), [3, 4, 2], np.array([3, 4, 2])),
        *((2, 4, 3), (12, 500, 1), (3, 32, 3), (4, 8, 1)),  # may have channels first
    ],
    ids=str,
)
def test_check_image_shape_accepts(given):
    shape = check_image_shape(given, np.prod(given))
    assert shape == tuple(given)
    assert all(type(side) is int for side in shape)


@pytest.mark.parametrize(
    "given",
    [(28, 28), (1, 28, 28, 1), (1, -28, -28), (1, 28.0, 28), (0, 28, 28), ()],
    ids=str,
)
def test_check_image_shape_refuses_other_than_three_numbers(given):
    with pytest.raises(ValueError, match="image_shape must be three positive integers"):
        check_image_shape(given, 784)


@pytest.mark.parametrize(
    ("given", "right"),
    [
        ((32, 32, 3), (3, 32, 32)),
        ((28, 28, 1), (1, 28, 28)),
        ((48, 64, 4), (4, 48, 64)),
    ],
)
def test_check_image_shape_refuses_channels_last(given, right):
    match = (
        rf"looks like \(height, width, chan.*pass image_shape={re.escape(str(right))}"
    )
    with pytest.raises(ValueError, match=match):
        check_image_shape(given, np.prod(given))


# Of an estimator ----------------------------------------------------------------------


@pytest.mark.parametrize("unit_first", [True, False])
def test_predict_warns_once_of_another_pixel_range(unit_first, X, y, quick):
    unit = X / 255
    fitted, other = (unit, X) if unit_first else (X, unit)
    net = LeNet5Classifier(**quick).fit(fitted[:100], y[:100])
    remedy = "divide them by 255" if unit_first else "multiply them by 255"
    with pytest.warns(UserWarning, match=f"mean .* standard deviation .*{remedy}"):
        net.predict(other)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        net.predict(other)
        copy.deepcopy(net).predict(fitted[:7])
        net.predict(np.zeros_like(other[:1]))  # black is black in either


# Tensors ------------------------------------------------------------------------------


def test_to_image_tensor_refuses_what_float32_cannot_hold():
    with pytest.raises(ValueError, match=r"too large for dtype\('float32'\)"):
        to_image_tensor(np.array([[1e39, 0, 0, 0]]), (1, 2, 2))


def test_fit_warns_of_a_network_too_large_for_its_images(quick, monkeypatch):
    def interrupt(*args):
        raise KeyboardInterrupt

    X, y = np.zeros((20, 160, 160), dtype=np.uint8), np.arange(20) % 2
    X[y == 1] += 9
    monkeypatch.setattr("fmnist_sklearn.training.loop.Training.run", interrupt)
    expected = r"160 x 160 pixels the network has 55,[\d,]+ parameters"
    with pytest.raises(KeyboardInterrupt), pytest.warns(UserWarning, match=expected):
        MiniVGGClassifier(**quick).fit(X, y)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(KeyboardInterrupt):
            LeNet5Classifier(**quick).fit(X, y)
