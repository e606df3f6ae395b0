"""Arrays of any accepted layout and dtype, turned into image tensors (N, C, H, W)."""

from __future__ import annotations

import math
import os
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..modules import ImageShape
from ._caller import warn_user

_CHANNEL_COUNTS = (1, 3, 4)  # grey, RGB, RGBA: what a trailing axis of colours holds
_LEAST_SIDE = 8  # pixels: what is smaller may be anything
_PLUGGED_IN = 2  # dtype.isbuiltin of bfloat16, float8, int4, as of JAX's arrays

# What an object that holds an array may offer NumPy or PyTorch to read it by.
_PROTOCOLS = ("__array__", "__array_interface__", "__array_struct__", "__dlpack__")


def to_array(X: Any, *, name: str = "the array") -> Any:
    """Turn what holds an array into one that scikit-learn reads rightly.

    Parameters
    ----------
    X : object
        Tensors, lists of arrays, tensors or pictures, datasets of files, and whatever
        else hands out its values as NumPy's or PyTorch's protocols say.
    name : str, default="the array"
        What errors call it.

    Returns
    -------
    ndarray or object
        ``X`` itself where scikit-learn is to judge it: data frames and their columns,
        sparse matrices, lists of numbers, and what holds no array.

    Raises
    ------
    TypeError
        If the values cannot be read.
    ValueError
        If some are masked, or a list's items differ in shape.
    """
    if isinstance(X, list | tuple):
        return _list_to_array(X, name)
    if isinstance(X, Tensor):
        return _tensor_to_array(X, name)
    if not isinstance(X, np.ndarray):
        if _is_frame_or_sparse(X) or not _holds_array(X):
            return X
        X = _read_array(X, name)
    if X.dtype.names is not None:
        raise TypeError(
            f"{name} is a structured array (its first field is {X.dtype.names[0]!r}); "
            "expected plain numbers: see "
            "numpy.lib.recfunctions.structured_to_unstructured"
        )
    if isinstance(X, np.ma.MaskedArray):
        # scikit-learn would take the values below the mask.
        if n_masked := np.ma.count_masked(X):
            raise ValueError(
                f"{name} has {n_masked} masked elements; give them values with "
                "numpy.ma.filled, or leave their rows out"
            )
        return np.ma.getdata(X)
    if X.dtype.isbuiltin == _PLUGGED_IN and X.dtype.kind in "fV":
        return X.astype(np.float32)
    return X


def _list_to_array(X: list | tuple, name: str) -> Any:
    """Stack a list of arrays, or one that is nested three deep or deeper."""
    depth, first = 0, X
    while isinstance(first, list | tuple) and first:
        depth, first = depth + 1, first[0]
    if depth < 3 and not _holds_array(first):
        return X
    arrays = [np.asarray(to_array(item, name=name)) for item in X]
    shapes = {array.shape for array in arrays}
    if len(shapes) > 1:
        some = " and ".join(map(str, sorted(shapes)[:2]))
        remedy = ""
        if hasattr(first, "convert") and hasattr(first, "resize"):  # PIL's
            remedy = (
                ", and colours too, such as [picture.convert('RGB').resize((32, 32)) "
                f"for picture in {name}]"
            )
        raise ValueError(
            f"{name} is a {type(X).__name__} whose items have {len(shapes)} different "
            f"shapes, such as {some}; expected one: bring images to the same size "
            f"first{remedy}"
        )
    return np.stack(arrays)


def _tensor_to_array(X: Tensor, name: str) -> np.ndarray:
    try:
        numbers = X.detach()
        if X.is_floating_point() and X.dtype.itemsize < 4 and X.dtype != torch.half:
            numbers = numbers.float()  # NumPy has no bfloat16 and no float8
        return numbers.numpy(force=True)
    except (RuntimeError, TypeError) as error:
        kind = "nested tensor" if X.is_nested else type(X).__name__
        raise TypeError(
            f"{name} is a {kind} of dtype {X.dtype} and layout {X.layout} on "
            f"{X.device}, which NumPy cannot hold; pass a dense tensor of plain numbers"
        ) from error


def _is_frame_or_sparse(X: Any) -> bool:
    return any(hasattr(type(X), mark) for mark in ("iloc", "columns", "tocsr"))


def _holds_array(X: Any) -> bool:
    """Whether an object is, or hands out, an array."""
    has_protocol = any(hasattr(X, protocol) for protocol in _PROTOCOLS)
    is_array = has_protocol or isinstance(X, memoryview) or _is_sliceable(X)
    return is_array and not isinstance(X, np.generic)


def _is_sliceable(X: Any) -> bool:
    return all(hasattr(X, part) for part in ("shape", "dtype", "__getitem__"))


def _read_array(X: Any, name: str) -> np.ndarray:
    if getattr(X, "mode", None) in ("P", "PA"):  # a picture of PIL's
        raise ValueError(
            f"{name} holds a picture whose pixels are numbers of a palette; call its "
            "method convert('L') or convert('RGB') first"
        )
    try:
        if hasattr(X, "__dlpack__") and not hasattr(X, "__array__"):
            return _tensor_to_array(torch.from_dlpack(X), name)
        if any(hasattr(X, protocol) for protocol in _PROTOCOLS):
            return np.asanyarray(X)  # keeps a mask
        return np.asanyarray(X[:] if _is_sliceable(X) else X)
    except (TypeError, ValueError, RuntimeError, BufferError) as error:
        raise TypeError(
            f"{name} is a {type(X).__name__} whose values cannot be read ({error}); "
            "pass a NumPy array or a tensor"
        ) from error


def flatten_images(
    X: Any, image_shape: ImageShape | None, *, name: str = "X"
) -> tuple[Any, ImageShape | None]:
    """Lay images out as rows.

    Parameters
    ----------
    X : array-like
        Rows of pixels (n, C * H * W), images (n, H, W) or (n, C, H, W).
    image_shape : tuple of int or None
        The expected (C, H, W), or None to take what comes.
    name : str, default="X"
        What errors call the array.

    Returns
    -------
    rows : array-like
        ``X`` itself where it was not an array of three or four dimensions.
    shape : tuple of int or None
        (C, H, W) where the dimensions of ``X`` tell it.

    Raises
    ------
    ValueError
        For images of another shape than ``image_shape``, and for images that hold
        their channels last.
    """
    first = _first(X)
    if isinstance(first, str | os.PathLike):
        raise ValueError(
            f"{name} is text or a path ({first!r}); expected images: read the pictures "
            "first, into an array of shape (n, H, W) or (n, C, H, W): "
            "load_image_folder reads a folder with a sub-folder for each class, and "
            "ImageReader(), as the first step of a Pipeline, paths"
        )
    X = to_array(X, name=name)
    n_dims = getattr(X, "ndim", None)
    if n_dims not in (3, 4):
        return X, None
    shape = (1, *X.shape[1:]) if n_dims == 3 else tuple(X.shape[1:])
    channels_last = n_dims == 4 and X.shape[3] in _CHANNEL_COUNTS
    if image_shape is None:
        wrong_order = channels_last and shape[0] not in _CHANNEL_COUNTS
    else:
        wrong_order = channels_last and (shape[2], *shape[:2]) == image_shape != shape
    if wrong_order:
        raise ValueError(
            f"{name} has shape {X.shape}, which looks like (n, H, W, C); images are "
            f"expected as (n, C, H, W): pass {name}.transpose(0, 3, 1, 2)"
        )
    if image_shape is not None and shape != image_shape:
        raise ValueError(
            f"{name} holds images of shape (C, H, W) = {shape}, but this estimator "
            f"expects {image_shape}"
        )
    return X.reshape(len(X), math.prod(shape)), shape


def _first(X: Any) -> Any:
    """Return what a collection begins with, or else the object itself."""
    if isinstance(X, list | tuple) or (
        isinstance(X, np.ndarray) and X.ndim == 1 and X.dtype.kind in "OU"
    ):
        return X[0] if len(X) else X
    return X


def infer_image_shape(n_columns: int) -> ImageShape:
    """Choose the grey image that rows of ``n_columns`` pixels are laid out in.

    A square number gives that square, any other the smallest square that holds it.
    """
    side = math.isqrt(n_columns)
    if side * side < n_columns:
        side += 1
    rgb = math.isqrt(n_columns // 3)
    if rgb >= _LEAST_SIDE and n_columns == 3 * rgb * rgb:
        warn_user(
            f"rows of {n_columns} columns are read as grey images of {side} x {side} "
            f"pixels; for {rgb} x {rgb} RGB images pass image_shape=(3, {rgb}, {rgb})"
        )
    return (1, side, side)


def check_image_shape(image_shape: Any, n_columns: int) -> ImageShape:
    """Check the parameter ``image_shape`` against the number of columns.

    Raises
    ------
    ValueError
        Unless it is three positive integers whose product is ``n_columns``, and for
        a shape that has the channels last.
    """
    # A set would lose the order.
    shape = tuple(image_shape) if hasattr(image_shape, "__getitem__") else ()
    if len(shape) != 3 or not all(
        isinstance(side, int | np.integer) and side > 0 for side in shape
    ):
        raise ValueError(
            "image_shape must be three positive integers (channels, height, width), "
            f"got {image_shape!r}"
        )
    channels, height, width = (int(side) for side in shape)
    sides_first = channels not in _CHANNEL_COUNTS and (
        channels == height if width == 1 else min(channels, height) >= _LEAST_SIDE
    )
    if width in _CHANNEL_COUNTS and sides_first:
        right = (width, channels, height)
        raise ValueError(
            f"image_shape={image_shape!r} looks like (height, width, channels); pass "
            f"image_shape={right}, and images of that layout: rows that hold the "
            "channels last become such by X.reshape(-1, "
            f"{', '.join(map(str, shape))}).transpose(0, 3, 1, 2)"
        )
    if channels * height * width != n_columns:
        raise ValueError(
            f"image_shape={image_shape!r} holds {channels * height * width} pixels, "
            f"but X has {n_columns} columns"
        )
    return channels, height, width


def to_image_tensor(rows: np.ndarray, image_shape: ImageShape) -> Tensor:
    """Turn validated rows into images, sharing memory where possible.

    Parameters
    ----------
    rows : ndarray of shape (n, n_columns)
        Real numbers; uint8 stays uint8, anything else becomes float32.
    image_shape : tuple of int
        (C, H, W); may hold more pixels than ``rows`` has columns, the rest is 0.

    Returns
    -------
    Tensor of shape (n, C, H, W)
        uint8 or float32. Not to be written to: it may share the memory of ``rows``.

    Raises
    ------
    ValueError
        For values too large for float32.
    """
    if rows.dtype != np.uint8:
        with np.errstate(over="ignore"):
            floats = rows.astype(np.float32, copy=False)
        if rows.dtype != np.float32 and not np.isfinite(floats).all():
            raise ValueError("Input X contains a value too large for dtype('float32').")
        rows = floats
    n_pixels = math.prod(image_shape)
    if rows.shape[1] < n_pixels:
        rows = np.pad(rows, ((0, 0), (0, n_pixels - rows.shape[1])))
    images = np.ascontiguousarray(rows).reshape(len(rows), *image_shape)
    return torch.from_numpy(_writable_view(images))


class _WritableView:
    """The memory of a read-only array, announced as writable.

    PyTorch has no read-only tensors and warns when given such an array, as workers
    of joblib get from a memory map. The images are only ever read.
    """

    def __init__(self, array: np.ndarray) -> None:
        self.array = array  # keeps the memory alive
        address, _ = array.__array_interface__["data"]
        self.__array_interface__ = {
            **array.__array_interface__,
            "data": (address, False),
        }


def _writable_view(array: np.ndarray) -> np.ndarray:
    return array if array.flags.writeable else np.asarray(_WritableView(array))
