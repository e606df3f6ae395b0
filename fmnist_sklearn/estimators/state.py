"""A fitted network as arrays and plain values, for model files and the cache of fits.

``State`` holds all that is not an array; msgspec converts it to JSON's types, and
checks it when it is read. A file may come from anywhere: every size in it is bounded
before memory is allocated for it, and nothing in it is executed.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from typing import Annotated, Any, Literal, get_args

import msgspec
import numpy as np
import torch
from msgspec import Meta, Struct
from skorch.history import History
from torch import nn

from ..training.net import Seeds, build_any_module, build_module

# Far more than small images need. Within these bounds, no small file describes a
# network that takes all the memory or time of the machine: its weights are in the file,
# and its images have the size of those that it is given.
MAX_LAYERS = 64
MAX_POOLINGS = 10
MAX_WIDTH = 2**24  # of a layer, and of an image
MAX_EPOCHS = 100_000
MAX_LABEL_BYTES = 2**24  # all labels together, as NumPy stores them

Width = Annotated[int, Meta(ge=1, le=MAX_WIDTH)]
Widths = Annotated[list[Width | Literal["M"]], Meta(max_length=MAX_LAYERS)]
Seed = Annotated[int, Meta(ge=0, lt=2**31)]
SeedName = Literal["weights", "split", "order", "dropout"]  # the parts of a fit
NotNegative = Annotated[float, Meta(ge=0)]
Date = Annotated[str, Meta(pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:]{8}Z$")]
Text = Annotated[str, Meta(max_length=10_000)]
# Without a length, NumPy would give all strings that of the longest.
Dtype = Annotated[str, Meta(pattern=r"^[<>|=]?([biuf][1248]|U[1-9][0-9]{0,7}|O)$")]
BuiltWith = Annotated[str, Meta(pattern=r"^(module__\w{1,50}|pixel_scaling)$")]


class Architecture(Struct, forbid_unknown_fields=True):
    """The arguments of LeNet5 or MiniVGG, within their bounds."""

    image_shape: tuple[Width, Width, Width]
    n_classes: Width
    dropout: Annotated[float, Meta(ge=0, lt=1)]
    hidden_units: Width | Widths
    widths: Widths | None = None  # of MiniVGG


class Labels(Struct, forbid_unknown_fields=True):
    """``classes_``."""

    dtype: Dtype
    labels: list[bool | int | float | Text]


class Fitted(Struct, forbid_unknown_fields=True, omit_defaults=True):
    """Attributes that are numbers and strings."""

    n_features_in_: Width
    precision_: Literal["float32", "bfloat16"]
    best_epoch_: Annotated[int, Meta(ge=1)] | None = None
    fit_time_: NotNegative | None = None
    steps_: Literal["eager", "captured"] | None = None
    _fit_ended: Date | None = None


class State(Struct, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """All that a fit left behind and is not an array."""

    network: Text | None = None  # class of a user's network; nothing imports it
    n_parameters: Annotated[int, Meta(ge=0)]  # learnable ones
    frozen: list[str]
    classes: Labels
    image_shape: tuple[Width, Width, Width]
    fitted: Fitted
    partial_fit: bool
    history: Annotated[list[dict[str, Any]], Meta(max_length=MAX_EPOCHS)]
    seeds: Annotated[dict[SeedName, Seed], Meta(min_length=4)]
    built_with: dict[BuiltWith, Any]
    feature_names: list[Text] | None = None


def get_state(net: Any) -> tuple[State, dict[str, np.ndarray], set[str]]:
    """Return what a fit left behind, without the parameters that it was given.

    Parameters
    ----------
    net : ImageClassifier
        Fitted; it is not changed.

    Returns
    -------
    state : State
        Whatever is not an array.
    arrays : dict of str to ndarray
        Weights and buffers by their names.
    left_out : set of str
        Columns of the history that JSON cannot hold.

    Raises
    ------
    TypeError
        For labels other than numbers, booleans and strings, and for a network whose
        layers were changed.
    """
    arrays = {
        name: tensor.numpy(force=True)
        for name, tensor in net.module_.state_dict().items()
    }
    history, left_out = [], set()
    for row in net.history_:
        columns = {name: value for name, value in row.items() if name != "batches"}
        encoded, unstorable = encode_items(columns)
        left_out |= {f"history_[:, {column!r}]" for column in unstorable}
        history.append(encoded)
    fitted = {
        k: encode(vars(net)[k]) for k in Fitted.__struct_fields__ if k in vars(net)
    }
    built_with, unstorable = encode_items(
        {
            name: value.tolist() if isinstance(value, np.ndarray) else value
            for name, value in net._built_with.items()
            if name != "module"
        }
    )
    if unstorable:
        raise UnstorableError(
            f"{', '.join(sorted(unstorable))} cannot be stored, and without it the "
            "network cannot be built again: keep it with pickle or joblib"
        )
    state = State(
        network=None if net._has_known_module else import_path(net.module),
        built_with=built_with,
        n_parameters=net.n_parameters_,
        frozen=[n for n, p in net.module_.named_parameters() if not p.requires_grad],
        classes=encode_labels(net.classes_),
        image_shape=net.image_shape_,
        fitted=Fitted(**fitted),
        partial_fit=bool(net._is_partial_fit),
        history=history,
        seeds={name: int(getattr(net._seeds, name)) for name in get_args(SeedName)},
    )
    if hasattr(net, "feature_names_in_"):
        state.feature_names = net.feature_names_in_.tolist()
    return state, arrays, left_out


def set_state(net: Any, state: State, arrays: Mapping[str, np.ndarray]) -> None:
    """Make an estimator what another was when `get_state` read it.

    Parameters
    ----------
    net : ImageClassifier
        Of the same class and parameters, fitted or not. Its network goes to the device
        that its parameter ``device`` means on this machine, or to the CPU.
    state : State
        As msgspec checked it.
    arrays : mapping of str to ndarray
        They become the network's memory.

    Raises
    ------
    Exception
        Of any kind, if they do not fit each other or are not those of a network; the
        estimator is unchanged then.
    """
    known = net._has_known_module
    if (state.network is None) != known:
        raise ValueError("its network is of another kind than its class")
    classes = _read_labels(state.classes)
    n_columns, names = state.fitted.n_features_in_, state.feature_names
    # Rows may be shorter than a square image, which is padded.
    side = math.ceil(math.sqrt(n_columns))
    n_pixels = math.prod(state.image_shape)
    fits = n_columns == n_pixels or state.image_shape == (1, side, side)
    if not fits or (names is not None and len(names) != n_columns):
        raise ValueError(f"its {n_columns} columns do not fit its images or names")
    module = _build(net.module, known, state, arrays)
    for name in state.frozen:
        module.get_parameter(name).requires_grad_(False)
    attributes = {
        **msgspec.to_builtins(state.fitted),
        "image_shape_": state.image_shape,
        "_classes": classes,
        "_is_partial_fit": state.partial_fit,
        "_seeds": _read_seeds(state, net.random_state),
        "history_": _read_history(state),
        "module_": module,
        "initialized_": True,
        "_built_with": ({} if known else {"module": net.module})
        | decode_items(state.built_with),
    }
    if names is not None:
        attributes["feature_names_in_"] = np.array(names, dtype=object)
    # What an earlier fit may have left, and this one may not have set.
    optional = ("feature_names_in_", "optimizer_", "_optimizer_state")
    for name in (*Fitted.__struct_fields__, *optional):
        vars(net).pop(name, None)
    net.__setstate__(attributes)
    net.initialize_criterion()


# The network ----------------------------------------------------------------------


def _build(
    cls: type[nn.Module], known: bool, state: State, arrays: Mapping[str, np.ndarray]
) -> nn.Module:
    """Build a network around arrays, if they are exactly its weights, and sound."""
    shape, n_classes = state.image_shape, len(state.classes.labels)
    data = {"module__image_shape": shape, "module__n_classes": n_classes}
    arguments = {
        name.removeprefix("module__"): data.get(name, value)
        for name, value in decode_items(state.built_with).items()
        if name.startswith("module__")
    }
    if known:
        bound = inspect.signature(cls).bind(**arguments)
        bound.apply_defaults()
        widths = msgspec.convert(bound.arguments, Architecture).widths or []
        # Each doubles the side to which smaller images are padded.
        if widths.count("M") > MAX_POOLINGS:
            raise ValueError(f"its widths have more than {MAX_POOLINGS} poolings")
    tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}
    if known:
        # On the "meta" device, where layers of any size take no memory.
        module = build_module(cls, arguments)
    else:
        build = partial(build_any_module, cls, arguments, shape, n_classes, 0)
        # First without memory, which arguments in the file may ask for without end. A
        # constructor that computes with the numbers of tensors cannot do that.
        with suppress(NotImplementedError, RuntimeError):
            _check_arrays(build(device="meta"), tensors)
        module = build()
    _check_arrays(module, tensors)
    for name, tensor in tensors.items():
        if not torch.isfinite(tensor).all():
            raise ValueError(f"{name} holds NaN or infinity")
    # A user's network may hold one weight in two places.
    module.load_state_dict(tensors, assign=known)
    return module.eval()


def _check_arrays(module: nn.Module, tensors: dict[str, torch.Tensor]) -> None:
    expected = {(n, t.shape, t.dtype) for n, t in module.state_dict().items()}
    found = {(n, t.shape, t.dtype) for n, t in tensors.items()}
    if expected != found:
        names = sorted({name for name, *_ in expected ^ found})
        raise ValueError(f"its arrays do not fit the network: {', '.join(names)}")


def import_path(cls: Any) -> str:
    """Return the full name of a class or function."""
    return f"{cls.__module__}.{cls.__qualname__}"


# Labels, history, seeds -----------------------------------------------------------


def encode_labels(classes: np.ndarray) -> Labels:
    """Return labels as a file holds them.

    Raises
    ------
    UnstorableError
        For labels other than numbers, booleans and strings.
    """
    labels = classes.tolist()
    known = all(isinstance(label, bool | int | float | str) for label in labels)
    if not known or classes.dtype.kind in "Mm":  # some dates are integers here
        raise UnstorableError(
            "only labels can be stored that are numbers, booleans or strings, got "
            f"classes_={classes!r}"
        )
    return Labels(classes.dtype.str, [encode(label) for label in labels])


def _read_labels(stored: Labels) -> np.ndarray:
    labels, dtype = stored.labels, np.dtype(stored.dtype)
    if dtype.itemsize * len(labels) > MAX_LABEL_BYTES:
        raise ValueError(f"its labels of dtype {dtype} take more than 16 MiB")
    classes = np.array(labels, dtype=dtype)
    # Mixed kinds, which only an object array holds, have no order.
    in_order = dtype.kind == "O" or (classes[:-1] < classes[1:]).all()
    if not in_order or classes.tolist() != labels or len(set(labels)) != len(labels):
        raise ValueError(f"its labels are not different values of {dtype} in order")
    return classes


def _read_history(state: State) -> History:
    rows = [decode_items(row) for row in state.history]
    best = state.fitted.best_epoch_
    if best is not None and best > len(rows):
        raise ValueError(f"best_epoch_={best} is beyond the {len(rows)} epochs")
    return History({**row, "batches": [{}]} for row in rows)


def _read_seeds(state: State, source: Any) -> Seeds:
    seeds = Seeds(state.seeds["weights"])
    seeds.source = source
    for name, seed in state.seeds.items():
        setattr(seeds, name, seed)
    return seeds


def changed_params(cls: type, params: Mapping[str, Any]) -> dict[str, Any]:
    """Return those parameters of a class that are not its defaults; classes by name."""
    defaults = inspect.signature(cls).parameters
    return {
        name: getattr(value, "__name__", value)
        for name, value in params.items()
        if name not in defaults or repr(defaults[name].default) != repr(value)
    }


# Python values as strict JSON, and back -------------------------------------------


class UnstorableError(TypeError):
    """A value that JSON cannot hold; the message names its class."""


def encode(value: Any) -> Any:
    """Turn a value into JSON. An object with one key marks what JSON does not have.

    Parameters
    ----------
    value : object
        None, booleans, numbers and strings, NumPy's among them; lists, tuples and
        mappings of these; devices, and classes of ``torch.optim`` and ``torch.nn``.

    Returns
    -------
    encoded : object
        What ``json`` writes with ``allow_nan=False``.

    Raises
    ------
    UnstorableError
        For anything else.

    Examples
    --------
    >>> from fmnist_sklearn.estimators.state import decode, encode
    >>> encode({"shape": (1, 8, 8)})
    {'dict': [['shape', {'tuple': [1, 8, 8]}]]}
    >>> decode(encode({"shape": (1, 8, 8)}))
    {'shape': (1, 8, 8)}
    """
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return {"float": repr(float(value))}
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, torch.device):
        return str(value)
    if isinstance(value, list):
        return [encode(item) for item in value]
    if isinstance(value, tuple):
        return {"tuple": [encode(item) for item in value]}
    if isinstance(value, Mapping):
        return {"dict": [[encode(k), encode(v)] for k, v in value.items()]}
    name = getattr(value, "__name__", None)
    for kind in _NAMED if isinstance(name, str) else ():
        if value is _find_class(kind, name):
            return {kind: name}
    raise UnstorableError(f"cannot store an object of class {type(value).__name__}")


def encode_items(items: Mapping[str, Any]) -> tuple[dict[str, Any], set[str]]:
    """Encode those values that can be; return the names of the others, too."""
    encoded, left_out = {}, set()
    for name, value in items.items():
        try:
            encoded[name] = encode(value)
        except UnstorableError:
            left_out.add(name)
    return encoded, left_out


def decode(value: Any) -> Any:
    """Turn what `encode` returned back into the value.

    Raises
    ------
    TypeError, ValueError
        For what `encode` does not return.
    """
    if isinstance(value, list):
        return [decode(item) for item in value]
    if not isinstance(value, dict):
        return value
    if len(value) == 1:
        ((kind, content),) = value.items()
        if kind == "tuple":
            return tuple(decode(content))
        if kind == "dict":
            return {decode(key): decode(item) for key, item in content}
        if kind == "float":
            return float(content)
        if kind in _NAMED and (found := _find_class(kind, content)):
            return found
    raise ValueError(f"{value!r} is not an encoded value")


def decode_items(items: Mapping[str, Any]) -> dict[str, Any]:
    """Decode the values of a mapping."""
    return {name: decode(value) for name, value in items.items()}


# Classes that JSON names, by their kind: where they are, and what they are.
_NAMED: dict[str, tuple[Any, type]] = {
    "optimizer": (torch.optim, torch.optim.Optimizer),
    "layer": (nn, nn.Module),
}


def _find_class(kind: str, name: Any) -> type | None:
    """Look a class up among the names of a module of PyTorch; nothing is imported."""
    module, base = _NAMED[kind]
    found = vars(module).get(name) if isinstance(name, str) else None
    return found if isinstance(found, type) and issubclass(found, base) else None
