"""What users pass, checked: parameters and their names, images, labels, weights."""

from __future__ import annotations

import difflib
import inspect
import math
import os
from collections.abc import Callable, Iterable, Mapping
from numbers import Integral, Real
from typing import Any, Literal, NamedTuple
from weakref import WeakSet

import joblib
import numpy as np
import torch
from sklearn.utils import compute_class_weight

# Private, but what scikit-learn's own estimators describe their parameters with; there
# is no public way to the same error messages.
from sklearn.utils._param_validation import (
    HasMethods,
    Interval,
    Options,
    StrOptions,
    validate_parameter_constraints,
)
from skorch.utils import is_dataset
from torch import Tensor

from .._sklearn import warn_user
from ..modules import ImageShape
from ..storage import FitCache
from ..training.batches import weights_as_float32
from ..training.callbacks import SCHEDULES
from ..training.net import TrainingNet

_CHANNEL_COUNTS = (1, 3, 4)  # grey, RGB, RGBA: sizes of a trailing axis of colours
_LEAST_SIDE = 8  # pixels; shapes with shorter sides are not judged

# Modules for which the pixel-range warning was already issued. Not an attribute of the
# estimator, since predict must not change it.
_warned_of_range: WeakSet[torch.nn.Module] = WeakSet()


# Parameters ------------------------------------------------------------------------

_COUNT = Interval(Integral, 1, None, closed="left")

CONSTRAINTS: dict[str, list[Any]] = {
    "lr": [Interval(Real, 0, None, closed="neither")],
    "batch_size": [_COUNT, Options(Integral, {-1}), StrOptions({"auto"})],
    "max_epochs": [_COUNT, StrOptions({"auto"})],
    "patience": [_COUNT, StrOptions({"auto"}), None],
    "load_best": ["boolean", StrOptions({"auto"})],
    "validation_fraction": [Interval(Real, 0, 1, closed="left")],
    "shuffle": ["boolean"],
    "optimizer": [callable],
    "weight_decay": [Interval(Real, 0, None, closed="left"), StrOptions({"auto"})],
    "lr_schedule": [StrOptions(set(SCHEDULES)), callable, None],
    "augment": [Mapping, callable, StrOptions({"auto"}), None],
    "label_smoothing": [Interval(Real, 0, 1, closed="left")],
    "ema_decay": [Interval(Real, 0, 1, closed="left"), None],
    "teacher": [HasMethods("predict_proba"), list, tuple, None],
    "distillation_weight": [Interval(Real, 0, 1, closed="both")],
    "distillation_temperature": [Interval(Real, 0, None, closed="neither")],
    "predict_flip": ["boolean"],
    "pixel_scaling": [StrOptions({"standardize", "symmetric"})],
    "image_shape": ["array-like", None],
    "class_weight": [dict, StrOptions({"balanced"}), None],
    "device": [str, torch.device],
    "precision": [StrOptions({"auto", "float32", "bfloat16"})],
    "random_state": ["random_state"],
    "warm_start": ["boolean"],
    "callbacks": [list, tuple, StrOptions({"disable"}), None],
    "train_split": [callable, None],
    "iterator_train": [callable, None],
    "iterator_valid": [callable, None],
    "memory": [str, os.PathLike, joblib.Memory, FitCache, None],
    "verbose": ["verbose"],
}
# Of the two classes whose networks have layers of dropout.
WITH_DROPOUT = {**CONSTRAINTS, "dropout": [Interval(Real, 0, 1, closed="left")]}
OF_MINIVGG = {**WITH_DROPOUT, "lr": [*CONSTRAINTS["lr"], StrOptions({"auto"})]}


def is_nested(name: str) -> bool:
    """Whether a name is a double-underscore one of skorch, as ``module__dropout``."""
    return "__" in name and not name.startswith("_")


def to_python(value: Any) -> Any:
    """Turn NumPy's numbers, booleans and strings into Python's.

    Searches over arrays pass them, and PyTorch's schedulers refuse them.

    Parameters
    ----------
    value : object
        Any value; in lists, tuples and dicts, what they hold is converted.

    Returns
    -------
    object
        ``value`` itself where there is nothing to convert, as ``clone`` requires.
    """
    return convert(value, lambda v: v.item() if isinstance(v, np.generic) else v)


def convert(value: Any, function: Callable[[Any], Any]) -> Any:
    """Apply a function to a value, or to all that lists, tuples and dicts hold.

    A container whose content stays the same is returned itself.
    """
    if type(value) not in (list, tuple, dict):
        return function(value)
    items = list(value.items() if isinstance(value, dict) else value)
    converted = [convert(item, function) for item in items]
    unchanged = all(new is old for new, old in zip(converted, items, strict=True))
    return value if unchanged else type(value)(converted)


def check_values(net: TrainingNet) -> None:
    """Check the value of each parameter, but for double-underscore ones.

    Raises
    ------
    ValueError
        Naming the parameter, the value received and what was expected.
    """
    constraints = net._parameter_constraints
    # All of them: a subclass may fix some, which its constructor then does not name.
    params = {name: getattr(net, name) for name in constraints}
    validate_parameter_constraints(constraints, params, caller_name=type(net).__name__)
    module = net.module
    if not (isinstance(module, type) and issubclass(module, torch.nn.Module)):
        raise ValueError(
            "module must be a class of torch.nn.Module, as in module=ResNet20, whose "
            f"arguments are passed as module__..., got {module!r:.200}"
        )


def whole_signature(cls: Any) -> inspect.Signature:
    """Return a constructor's signature, including what its ``**kwargs`` pass on."""
    own = inspect.signature(vars(cls)["__init__"]).parameters
    above = dict(inspect.signature(super(cls, cls).__init__).parameters)
    if cls.module is not None:  # named by the class
        above.pop("module", None)
    # **skorch__params are parameters themselves; other **kwargs go to the class above.
    passes_on = any(
        p.kind is p.VAR_KEYWORD and p.name != "skorch__params" for p in own.values()
    )
    if not passes_on or "skorch__params" not in above:
        return inspect.Signature(list(own.values()))
    inherited = {
        name: p if p.kind is p.VAR_KEYWORD else p.replace(kind=p.KEYWORD_ONLY)
        for name, p in list(above.items())[1:]
    }
    named = {name: p for name, p in own.items() if p.kind is not p.VAR_KEYWORD}
    positional = {n: p for n, p in named.items() if p.kind is not p.KEYWORD_ONLY}
    # In the order of the class above; new names come last.
    parameters = (positional | inherited | named).values()
    return inspect.Signature(sorted(parameters, key=lambda p: p.kind))


# What other libraries call our parameters, where the names are not alike.
_ALIASES = {
    "alpha": "weight_decay",
    "early_stopping": "patience",
    "hidden_layer_sizes": "module__hidden_units",
    "learning_rate": "lr",
    "learning_rate_init": "lr",
    "momentum": "optimizer__momentum",
    "n_iter_no_change": "patience",
    "seed": "random_state",
}


def did_you_mean(name: str, candidates: Iterable[str]) -> str:
    """Return the end of an error message: the likely name, or a full stop."""
    close = difflib.get_close_matches(name, list(candidates), n=1, cutoff=0.5)
    if name in _ALIASES:
        close = [_ALIASES[name]]
    return f"; did you mean {close[0]}?" if close else "."


# Arrays ----------------------------------------------------------------------------


class Rows(NamedTuple):
    """Validated arrays, of equal length."""

    pixels: np.ndarray  # (n, n_columns)
    labels: np.ndarray  # (n,)
    weights: np.ndarray | None  # (n,), float64


def to_array(X: Any, *, name: str = "the array") -> Any:
    """Turn what holds an array into one that scikit-learn reads correctly.

    Parameters
    ----------
    X : object
        Tensors, lists of arrays, tensors or pictures, datasets of files, and any other
        object that offers its values by a protocol of NumPy or PyTorch.
    name : str, default="the array"
        Its name in error messages.

    Returns
    -------
    ndarray or object
        ``X`` itself where scikit-learn checks it: data frames and their columns,
        sparse matrices, lists of numbers, and objects without an array.

    Raises
    ------
    TypeError
        If the values cannot be read.
    ValueError
        If some are masked, or a list's items differ in shape.
    """
    if isinstance(X, list | tuple):
        return _list_to_array(X, name)
    if not isinstance(X, np.ndarray):
        is_frame = any(hasattr(type(X), mark) for mark in ("iloc", "columns", "tocsr"))
        if is_frame or not _holds_array(X):
            return X
        X = _read_array(X, name)
    if isinstance(X, np.ma.MaskedArray):
        # scikit-learn would take the values below the mask.
        if n_masked := np.ma.count_masked(X):
            raise ValueError(
                f"{name} has {n_masked} masked elements; give them values with "
                "numpy.ma.filled, or leave their rows out"
            )
        return np.ma.getdata(X)
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
        raise ValueError(
            f"{name} is a {type(X).__name__} whose items have {len(shapes)} different "
            f"shapes, such as {some}; expected one: bring images to the same size, and "
            "pictures to the same mode, first"
        )
    return np.stack(arrays)


def _holds_array(X: Any) -> bool:
    """Whether an object is, or offers, an array."""
    protocols = ("__array__", "__array_interface__", "__array_struct__", "__dlpack__")
    is_array = isinstance(X, memoryview) or any(hasattr(X, p) for p in protocols)
    return is_array and not isinstance(X, np.generic)


def _read_array(X: Any, name: str) -> np.ndarray:
    if getattr(X, "mode", None) in ("P", "PA"):  # a picture of PIL's
        raise ValueError(
            f"{name} holds a picture whose pixels are numbers of a palette; call its "
            "method convert('L') or convert('RGB') first"
        )
    try:
        no_array = hasattr(X, "__dlpack__") and not hasattr(X, "__array__")
        values = torch.from_dlpack(X) if no_array else X
        if isinstance(values, Tensor):
            is_small = values.dtype.itemsize < 4 and values.dtype != torch.half
            if values.is_floating_point() and is_small:
                values = values.float()  # NumPy has no bfloat16 and no float8
            return values.numpy(force=True)
        array = np.asanyarray(values)  # keeps a mask
    except (TypeError, ValueError, RuntimeError, BufferError) as error:
        raise TypeError(
            f"{name} is a {type(X).__name__} whose values cannot be read ({error}); "
            "pass a NumPy array or a dense tensor"
        ) from error
    is_colour_picture = hasattr(X, "mode") and array.ndim == 3
    return array.transpose(2, 0, 1) if is_colour_picture else array


# Images ---------------------------------------------------------------------------


def flatten_images(
    X: Any, image_shape: ImageShape | None
) -> tuple[Any, ImageShape | None]:
    """Lay images out as rows.

    Parameters
    ----------
    X : array-like
        Rows of pixels (n, C * H * W), images (n, H, W) or (n, C, H, W), or a list of
        pictures, which may be (H, W, C).
    image_shape : tuple of int or None
        The expected (C, H, W), or None to accept any.

    Returns
    -------
    rows : array-like
        ``X`` itself where it was not an array of three or four dimensions.
    shape : tuple of int or None
        (C, H, W) where the dimensions of ``X`` show it.

    Raises
    ------
    TypeError
        For a torch Dataset.
    ValueError
        For images of another shape than ``image_shape``, one image instead of a batch,
        an array that holds the channels last, and paths.
    """
    if isinstance(X, np.ndarray) and X.ndim == 1 and X.dtype.kind in "OU":
        X = list(X)  # of pictures or paths
    is_list = isinstance(X, list | tuple)
    first = X[0] if is_list and len(X) else X
    if isinstance(first, str | os.PathLike):
        raise ValueError(
            f"X is text or a path ({first!r}); expected images: read the pictures "
            "first, into an array of shape (n, H, W) or (n, C, H, W): "
            "load_image_folder reads a folder with a sub-folder for each class, and "
            "ImageReader(), as the first step of a Pipeline, paths"
        )
    X = to_array(X, name="X")
    if is_dataset(X):
        raise TypeError(
            f"X must be an array of images, got a {type(X).__name__}; read a "
            "folder of pictures with load_image_folder, and see partial_fit for data "
            "that does not fit in memory"
        )
    if image_shape is not None and isinstance(X, np.ndarray):
        _check_is_batch(X, image_shape)
    n_dims = getattr(X, "ndim", None)
    if n_dims not in (3, 4):
        return X, None
    shape = (1, *X.shape[1:]) if n_dims == 3 else tuple(X.shape[1:])
    channels_last = shape[2] in _CHANNEL_COUNTS and shape[0] not in _CHANNEL_COUNTS
    if channels_last and shape != image_shape and is_list:  # of pictures
        X, shape = X.transpose(0, 3, 1, 2), (shape[2], *shape[:2])
    elif channels_last and shape != image_shape:
        raise ValueError(
            f"X has shape {X.shape}, which looks like (n, H, W, C); images are "
            f"expected as (n, C, H, W): pass X.transpose(0, 3, 1, 2)"
        )
    if image_shape is not None and shape != image_shape:
        raise ValueError(
            f"X holds images of shape (C, H, W) = {shape}, but this estimator "
            f"expects {image_shape}"
        )
    return X.reshape(len(X), math.prod(shape)), shape


def _check_is_batch(X: np.ndarray, image_shape: ImageShape) -> None:
    """Refuse a single image, unless its shape is also that of a batch."""
    channels, height, width = image_shape
    row, grey = (math.prod(image_shape),), (height, width)
    of_a_batch = [row, grey] if channels == 1 else [row]
    one = [*of_a_batch, image_shape, (height, width, channels)]
    if X.shape in one and X.shape[1:] not in of_a_batch:
        raise ValueError(
            f"X is one image, of shape {X.shape}; expected a batch of images. "
            f"Reshape your data: X[None], or the list [X], is a batch of one"
        )


def infer_image_shape(n_columns: int) -> ImageShape:
    """Choose the grey image that rows of ``n_columns`` pixels are laid out in.

    A square number gives that square, any other the smallest square that holds it.
    """
    side = math.ceil(math.sqrt(n_columns))
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
    shape = tuple(image_shape)
    is_size = [isinstance(side, int | np.integer) and side > 0 for side in shape]
    if len(shape) != 3 or not all(is_size):
        raise ValueError(
            "image_shape must be three positive integers (channels, height, width), "
            f"got {image_shape!r}"
        )
    channels, height, width = (int(side) for side in shape)
    sides_first = channels not in _CHANNEL_COUNTS and (
        channels == height if width == 1 else min(channels, height) >= _LEAST_SIDE
    )
    if width in _CHANNEL_COUNTS and sides_first:
        raise ValueError(
            f"image_shape={image_shape!r} looks like (height, width, channels); pass "
            f"image_shape={(width, channels, height)}, and images of that layout: "
            f"X.reshape(-1, *{shape}).transpose(0, 3, 1, 2)"
        )
    if channels * height * width != n_columns:
        raise ValueError(
            f"image_shape={image_shape!r} holds {channels * height * width} pixels, "
            f"but X has {n_columns} columns"
        )
    return channels, height, width


def fitted_range(module: Any) -> tuple[float | None, str]:
    """Find the pixels that a network was fitted on, by its scaling.

    Parameters
    ----------
    module : torch.nn.Module
        With a ``PixelScaling`` as ``scaling``.

    Returns
    -------
    highest : float or None
        255 or 1; None for another range.
    statistics : str
        Their mean and standard deviation, for messages.
    """
    mean, std = float(module.scaling.mean.mean()), float(module.scaling.std.mean())
    statistics = f"pixels of mean {mean:.3g} and standard deviation {std:.3g}"
    if 255 - mean <= 100 * std:
        return 255, statistics
    # Numbers from 0 to 1 have no larger variance than mean * (1 - mean).
    is_unit = 0 <= mean <= 1 and std**2 <= mean * (1 - mean) * 1.01
    return (1 if is_unit else None), statistics


def warn_of_range(module: torch.nn.Module, pixels: np.ndarray) -> None:
    """Warn once of pixels of 0 to 1 after a fit on 0 to 255, or the reverse."""
    some = pixels[:256]  # enough to see the range, at no cost
    lowest, highest = some.min(), some.max()
    if module in _warned_of_range or lowest < 0 or not hasattr(module, "scaling"):
        return
    fitted, statistics = fitted_range(module)
    if 0 < highest <= 1 and pixels.dtype.kind == "f" and fitted == 255:
        remedy, received = "multiply them by 255", "0 to 1"
    elif 10 < highest <= 255 and fitted == 1:
        remedy, received = "divide them by 255", "0 to 255"
    else:
        return
    _warned_of_range.add(module)
    warn_user(
        f"X holds pixels of {received}, but the network was fitted on {statistics}; "
        f"{remedy}"
    )


def to_image_tensor(rows: np.ndarray, image_shape: ImageShape) -> Tensor:
    """Turn validated rows into images, sharing memory where possible.

    Parameters
    ----------
    rows : ndarray of shape (n, n_columns)
        Real numbers; uint8 stays uint8, anything else becomes float32.
    image_shape : tuple of int
        (C, H, W); may hold more pixels than ``rows`` has columns, the others are 0.

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
    if not images.flags.writeable:
        images = np.asarray(_WritableView(images))
    return torch.from_numpy(images)


class _WritableView:
    """The memory of a read-only array, announced as writable.

    PyTorch has no read-only tensors and warns when given such an array, as workers
    of joblib receive from a memory map. The images are only ever read.
    """

    def __init__(self, array: np.ndarray) -> None:
        self.array = array  # keeps the memory alive
        interface = array.__array_interface__
        self.__array_interface__ = {**interface, "data": (interface["data"][0], False)}


# Labels and weights ---------------------------------------------------------------


def encode_labels(labels: np.ndarray, classes: np.ndarray) -> Tensor:
    """Turn labels into class indices, int64.

    Raises
    ------
    ValueError
        For a label that is not among the classes.
    """
    # Not by a table, with which old versions of numpy fail for labels beyond int64.
    unknown = np.unique(labels[~np.isin(labels, classes, kind="sort")])
    if len(unknown):
        raise ValueError(
            f"y holds labels that are not among the classes {classes!r}: {unknown!r}"
        )
    indices = np.searchsorted(classes, labels)
    return torch.from_numpy(indices.astype(np.int64, copy=False))


def weights_of_classes(
    class_weight: Mapping[Any, float] | Literal["balanced"] | None,
    classes: np.ndarray,
    labels: np.ndarray,
) -> np.ndarray | None:
    """Turn ``class_weight`` into a weight for each class, float32.

    Parameters
    ----------
    class_weight : dict, "balanced" or None
        The parameter.
    classes : ndarray of shape (n_classes,)
        All labels.
    labels : ndarray of shape (n,)
        Those trained on, which "balanced" counts.
    """
    if class_weight is None:
        return None
    if isinstance(class_weight, Mapping):
        # scikit-learn's function would look for the label "3" under the number 3.
        known = classes.tolist()
        unknown = [label for label in class_weight if label not in known]
        if unknown and not set(known) <= class_weight.keys():
            raise ValueError(
                f"class_weight names {unknown!r}, but the classes are {classes!r}"
            )
        weights = np.array([class_weight.get(c, 1) for c in known], float)
    else:
        weights = compute_class_weight(class_weight, classes=classes, y=labels)
    if not (np.isfinite(weights).all() and (weights >= 0).all() and weights.any()):
        raise ValueError(
            f"class_weight={class_weight!r} gives the classes {classes!r} the weights "
            f"{weights!r}; expected finite numbers of at least 0, and one above 0"
        )
    return weights_as_float32(weights)
