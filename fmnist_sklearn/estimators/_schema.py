"""What arrays and plain values of a fitted estimator may be, checked before any use."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
import numpy as np
import torch
from msgspec import UNSET, Meta, Struct, UnsetType
from torch import nn

from ..modules import LeNet5, MiniVGG
from ..training import build_module

# Many times what small images need. With them, no small file describes a network that
# takes the memory or the time of the machine.
MAX_LAYERS = 64
MAX_VALUES = 2**24  # of one image, in any layer
MAX_EPOCHS = 100_000
MAX_LABEL_BYTES = 2**24  # all labels together, as NumPy keeps them

Width = Annotated[int, Meta(ge=1, le=MAX_VALUES)]
Seed = Annotated[int, Meta(ge=0, lt=2**31)]
NotNegative = Annotated[float, Meta(ge=0)]
Date = Annotated[str, Meta(pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:]{8}Z$")]
Text = Annotated[str, Meta(max_length=10_000)]

BuiltWith = Annotated[str, Meta(pattern="^(module__[a-z_]{1,50}|pixel_scaling)$")]


class Labels(Struct, forbid_unknown_fields=True):
    """``classes_``."""

    dtype: Annotated[str, Meta(pattern=r"^[<>|=]?[biufUO][0-9]{0,8}$")]
    labels: Annotated[list[bool | int | float | Text], Meta(min_length=1)]


class Fitted(Struct, forbid_unknown_fields=True):
    """Attributes that are numbers and strings."""

    n_features_in_: Width
    precision_: Literal["float32", "bfloat16"]
    best_epoch_: Annotated[int, Meta(ge=1)] | UnsetType = UNSET
    fit_time_: NotNegative | UnsetType = UNSET
    _fit_ended: Date | UnsetType = UNSET


class RandomSeeds(Struct, forbid_unknown_fields=True):
    """Seeds of the parts of a fit."""

    weights: Seed
    split: Seed
    order: Seed
    dropout: Seed


class Generator(Struct, forbid_unknown_fields=True):
    """The state of a Mersenne Twister, but for its key."""

    pos: Annotated[int, Meta(ge=0, le=624)]
    has_gauss: Literal[0, 1]
    cached_gaussian: float


class State(Struct, forbid_unknown_fields=True):
    """All that is not an array."""

    module: dict[str, Any]
    frozen: list[str]
    classes: Labels
    image_shape: tuple[Width, Width, Width]
    fitted: Fitted
    partial_fit: bool
    history: Annotated[list[dict[str, Any]], Meta(max_length=MAX_EPOCHS)]
    seeds: RandomSeeds
    rng: Generator
    built_with: dict[BuiltWith, Any] | UnsetType = UNSET
    feature_names: list[Text] | UnsetType = UNSET
    optimizer: dict[str, Any] | UnsetType | None = UNSET


class _Arguments(Struct, forbid_unknown_fields=True):
    n_classes: Width
    dropout: Annotated[float, Meta(ge=0, lt=1)]
    image_shape: tuple[Width, Width, Width]


class _LeNet5Arguments(_Arguments, forbid_unknown_fields=True):
    hidden_units: Annotated[list[Width], Meta(max_length=MAX_LAYERS)]


class _MiniVGGArguments(_Arguments, forbid_unknown_fields=True):
    hidden_units: Width
    widths: Annotated[
        list[Width | Literal["M"]], Meta(min_length=1, max_length=MAX_LAYERS)
    ]

    def __post_init__(self) -> None:
        if self.widths[0] == "M":
            raise ValueError("widths must start with the width of a convolution")


_ARGUMENTS = {LeNet5: _LeNet5Arguments, MiniVGG: _MiniVGGArguments}


class _Row(Struct):
    """An epoch; callbacks may add columns."""

    epoch: Annotated[int, Meta(ge=1)]
    train_loss: float
    valid_loss: float | UnsetType = UNSET
    valid_acc: Annotated[float, Meta(ge=0, le=1)] | UnsetType = UNSET
    dur: NotNegative | UnsetType = UNSET


def check(values: Any, kind: Any, what: str = "") -> Any:
    """Hold plain values to a schema.

    Parameters
    ----------
    values : object
        As ``json`` reads them.
    kind : type
        One of the classes of this file.
    what : str
        What the message begins with.

    Returns
    -------
    checked : kind
        The values.

    Raises
    ------
    ValueError
        Saying where what was expected.
    """
    try:
        return msgspec.convert(values, kind)
    except (msgspec.ValidationError, OverflowError) as error:
        raise ValueError(f"{what}{error}") from None


def check_labels(stored: Labels, n_classes: int) -> np.ndarray:
    """Turn stored labels into ``classes_``.

    Raises
    ------
    ValueError
        If they are not so many different labels of their dtype, in order.
    """
    labels = stored.labels
    try:
        dtype = np.dtype(stored.dtype)
    except TypeError as error:
        raise ValueError(f"its labels: {error}") from None
    if len(labels) != n_classes:
        raise ValueError(f"it has {len(labels)} labels for {n_classes} classes")
    if dtype.itemsize * len(labels) > MAX_LABEL_BYTES:
        raise ValueError(f"its labels of dtype {dtype} take more than 16 MiB")
    kinds = {"b": bool, "i": int, "u": int, "f": float, "U": str}
    kind = kinds.get(dtype.kind, object)
    if not all(type(label) is kind or kind is object for label in labels):
        raise ValueError(f"its labels are not all of dtype {dtype}")
    try:
        classes = np.array(labels, dtype=dtype)
    except OverflowError:
        raise ValueError(f"its labels do not fit dtype {dtype}") from None
    if (
        dtype != classes.dtype
        or classes.tolist() != labels
        or len(set(labels)) != len(labels)
    ):
        raise ValueError(f"its labels are not different ones of dtype {dtype}")
    if dtype.kind != "O" and not (classes[:-1] < classes[1:]).all():
        raise ValueError("its labels are not in order")
    return classes


def check_network(
    cls: type[nn.Module], image_shape: Any, arguments: dict[str, Any]
) -> dict[str, Any]:
    """Check the arguments of a network before any memory is taken for it.

    Parameters
    ----------
    cls : class
        LeNet5, MiniVGG or another; only the arguments of these two are known.
    image_shape : sequence of int
        Channels, height, width.
    arguments : dict
        All others.

    Returns
    -------
    arguments : dict
        Of the class, to be called with.

    Raises
    ------
    ValueError
        If they are out of range, or an image would take too much memory.
    """
    given = {**arguments, "image_shape": tuple(image_shape)}
    if cls not in _ARGUMENTS:
        return given
    checked = check(given, _ARGUMENTS[cls], "its network: ")
    largest = _largest_layer(checked.image_shape, getattr(checked, "widths", [6]))
    if largest > MAX_VALUES:
        raise ValueError(
            f"its network makes {largest:,} values of one image of shape "
            f"{checked.image_shape} in one layer, and may make {MAX_VALUES:,}"
        )
    return msgspec.structs.asdict(checked)


def _largest_layer(image_shape: Any, widths: list[Any]) -> int:
    """Count the values of an image in its largest layer.

    Dense layers have more weights than values, and weights are in the file.
    """
    channels, height, width = image_shape
    # Smaller images are padded until every pooling leaves a pixel.
    least = 2 ** widths.count("M")
    height, width = max(height, least) + 4, max(width, least) + 4
    sizes = [channels * height * width]
    for n_outputs in widths:
        if n_outputs == "M":
            height, width = height // 2, width // 2
        else:
            sizes.append(n_outputs * height * width)
    return max(sizes)


def fill_module(
    cls: type[nn.Module], arguments: dict[str, Any], arrays: dict[str, np.ndarray]
) -> nn.Module:
    """Build a network around arrays, if they are exactly its weights, and sound.

    Parameters
    ----------
    cls : class
        Of the network.
    arguments : dict
        As `check_network` returns them.
    arrays : dict of str to ndarray
        They become its memory.

    Returns
    -------
    module : nn.Module
        In evaluation mode, on the CPU.

    Raises
    ------
    ValueError
        Naming the arrays at fault.
    """
    module = build_module(cls, arguments)
    tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}
    expected = {(n, t.shape, t.dtype) for n, t in module.state_dict().items()}
    found = {(n, t.shape, t.dtype) for n, t in tensors.items()}
    if expected != found:
        names = sorted({name for name, *_ in expected ^ found})
        raise ValueError(f"its arrays do not fit the network: {', '.join(names)}")
    for name, tensor in tensors.items():
        # Variances and deviations are divided by.
        last = name.rpartition(".")[2]
        low = {"running_var": 0.0, "num_batches_tracked": 0}.get(last, -torch.inf)
        is_sound = torch.isfinite(tensor).all() and (tensor >= low).all()
        if not is_sound or (last == "std" and not (tensor > 0).all()):
            raise ValueError(f"{name} holds NaN or other numbers out of range")
    module.load_state_dict(tensors, assign=True)
    return module.eval()


def check_history(rows: list[dict[str, Any]], best_epoch: Any) -> None:
    """Check the figures of the epochs, before they are decoded.

    Raises
    ------
    ValueError
        Naming the epoch at fault.
    """
    for number, row in enumerate(rows, start=1):
        checked = check(row, _Row, f"epoch {number} of its history: ")
        if checked.epoch != number:
            raise ValueError(f"epoch {number} of its history calls itself otherwise")
    if best_epoch is not UNSET and best_epoch > len(rows):
        raise ValueError(f"its best epoch is {best_epoch} of {len(rows)}")


def check_columns(state: State) -> None:
    """Check that the columns of X fill an image, and have a name each or none.

    Raises
    ------
    ValueError
        If they do not.
    """
    channels, height, width = state.image_shape
    n_columns, n_pixels = state.fitted.n_features_in_, channels * height * width
    # Rows of another length are laid out in the smallest grey square.
    is_padded = (
        channels == 1 and height == width and (height - 1) ** 2 < n_columns < n_pixels
    )
    if n_columns != n_pixels and not is_padded:
        raise ValueError(
            f"its images of shape {state.image_shape} are of {n_columns} columns"
        )
    names = state.feature_names
    if names is not UNSET and len(names) != n_columns:
        raise ValueError(f"it has names of {len(names)} columns, not {n_columns}")
