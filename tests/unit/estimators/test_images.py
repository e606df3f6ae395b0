import warnings

import numpy as np
import pytest
import torch

from fmnist_sklearn.estimators._images import (
    check_image_shape,
    flatten_images,
    infer_image_shape,
    to_array,
    to_image_tensor,
)

# Layouts


@pytest.mark.parametrize(
    ("shape", "image_shape"),
    [
        ((5, 4, 6), (1, 4, 6)),
        ((5, 1, 4, 6), (1, 4, 6)),
        ((5, 3, 4, 6), (3, 4, 6)),
        ((5, 3, 4, 3), (3, 4, 3)),  # three channels first: what comes is believed
    ],
)
@pytest.mark.parametrize("known", [True, False])
def test_images_become_rows(shape, image_shape, known):
    X = np.arange(np.prod(shape)).reshape(shape)
    rows, found = flatten_images(X, image_shape if known else None)

    assert found == image_shape
    assert np.array_equal(rows, X.reshape(5, -1))


def test_image_shape_settles_what_looks_like_channels_last():
    X = np.zeros((5, 2, 4, 3))
    with pytest.raises(ValueError, match="looks like"):
        flatten_images(X, None)
    assert flatten_images(X, (2, 4, 3))[1] == (2, 4, 3)


@pytest.mark.parametrize("X", [np.zeros((5, 24)), [[1, 2], [3, 4]], "text", None])
def test_what_is_not_images_passes_through(X):
    rows, shape = flatten_images(X, (1, 4, 6))
    assert rows is X
    assert shape is None


def test_lists_of_images():
    rows, shape = flatten_images(np.ones((2, 3, 4)).tolist(), None)
    assert rows.shape == (2, 12)
    assert shape == (1, 3, 4)


def test_torch_tensors():
    x = torch.arange(24.0, requires_grad=True).view(2, 3, 4)
    rows, shape = flatten_images(x, None)
    assert isinstance(rows, np.ndarray)
    assert shape == (1, 3, 4)
    assert isinstance(to_array(x), np.ndarray)
    assert to_array("else") == "else"


@pytest.mark.parametrize("n_channels", [1, 3, 4])
def test_channels_last_gets_the_transpose_suggested(n_channels):
    X = np.zeros((5, 28, 28, n_channels))
    match = rf"X has shape \(5, 28, 28, {n_channels}\).*\(n, H, W, C\).*transpose"
    with pytest.raises(ValueError, match=match):
        flatten_images(X, None)
    with pytest.raises(ValueError, match=match):
        flatten_images(X, (n_channels, 28, 28))
    rows, shape = flatten_images(X.transpose(0, 3, 1, 2), None)
    assert shape == (n_channels, 28, 28)
    assert rows.shape == (5, n_channels * 28 * 28)


def test_other_shape_than_expected():
    with pytest.raises(
        ValueError,
        match=r"X_val holds images of shape .* \(1, 3, 4\), .* expects \(1, 4, 3\)",
    ):
        flatten_images(np.zeros((2, 3, 4)), (1, 4, 3), name="X_val")


# The shape that rows are read in


@pytest.mark.parametrize(
    ("n_columns", "side"),
    [(1, 1), (2, 2), (4, 2), (5, 3), (63, 8), (64, 8), (65, 9), (784, 28)],
)
def test_rows_are_a_grey_square(n_columns, side):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert infer_image_shape(n_columns) == (1, side, side)


def test_3072_columns_get_a_warning():
    with pytest.warns(UserWarning, match=r"image_shape=\(3, 32, 32\)"):
        assert infer_image_shape(3072) == (1, 56, 56)


@pytest.mark.parametrize("given", [(3, 4, 2), [3, 4, 2], np.array([3, 4, 2])])
def test_image_shape_given(given):
    shape = check_image_shape(given, 24)
    assert shape == (3, 4, 2)
    assert all(type(side) is int for side in shape)


@pytest.mark.parametrize(
    "given", [(28, 28), (1, 28, 28, 1), (1, -28, -28), (1, 28.0, 28), (0, 28, 28), ()]
)
def test_wrong_image_shape(given):
    with pytest.raises(ValueError, match="image_shape must be three positive integers"):
        check_image_shape(given, 784)


def test_image_shape_that_does_not_fit_the_columns():
    with pytest.raises(
        ValueError, match=r"image_shape=\(3, 4, 4\) holds 48 pixels.*49 columns"
    ):
        check_image_shape((3, 4, 4), 49)


# Tensors


def test_uint8_stays_uint8_and_shares_memory():
    rows = np.arange(24, dtype=np.uint8).reshape(2, 12)
    images = to_image_tensor(rows, (1, 3, 4))

    assert images.dtype == torch.uint8
    assert images.shape == (2, 1, 3, 4)
    assert images.data_ptr() == rows.ctypes.data
    assert images.flatten().tolist() == list(range(24))


@pytest.mark.parametrize("dtype", [np.float64, np.float16, np.int64, np.int8, bool])
def test_other_dtypes_become_float32(dtype):
    rows = np.array([[0, 1, 1, 0]]).astype(dtype)
    images = to_image_tensor(rows, (1, 2, 2))
    assert images.dtype == torch.float32
    assert images.flatten().tolist() == [0, 1, 1, 0]


def test_float32_shares_memory():
    rows = np.random.rand(3, 4).astype(np.float32)
    assert to_image_tensor(rows, (1, 2, 2)).data_ptr() == rows.ctypes.data


def test_missing_pixels_are_zero():
    images = to_image_tensor(np.full((2, 7), 9, dtype=np.uint8), (1, 3, 3))
    assert images.dtype == torch.uint8
    assert images[0].flatten().tolist() == [9] * 7 + [0] * 2


@pytest.mark.parametrize(
    "make",
    [
        np.asfortranarray,
        lambda rows: rows[:, ::-1][:, ::-1],
        lambda rows: np.repeat(rows, 2, axis=0)[::2],
    ],
)
def test_any_memory_layout(make):
    rows = np.arange(24, dtype=np.uint8).reshape(2, 12)
    images = to_image_tensor(make(rows), (1, 3, 4))
    assert images.flatten().tolist() == list(range(24))


def test_read_only_rows(tmp_path):
    """No warning, no copy; a memory map included."""
    rows = np.arange(24, dtype=np.uint8).reshape(2, 12)
    np.save(tmp_path / "rows.npy", rows)
    mapped = np.load(tmp_path / "rows.npy", mmap_mode="r")
    rows.setflags(write=False)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for array in (rows, mapped):
            images = to_image_tensor(array, (1, 3, 4))
            assert images.data_ptr() == array.ctypes.data
            assert images.flatten().tolist() == list(range(24))
    del mapped, array
    assert int(images.sum()) == sum(range(24))  # the tensor keeps the memory alive


def test_too_large_for_float32():
    with pytest.raises(ValueError, match=r"too large for dtype\('float32'\)"):
        to_image_tensor(np.array([[1e39, 0, 0, 0]]), (1, 2, 2))
