"""What "fitted" means as arrays and plain values, for files and for a cache of fits."""

from __future__ import annotations

import copy
from typing import Any, NamedTuple

import msgspec
import numpy as np
import torch
from msgspec import UNSET
from skorch.history import History
from torch import nn

from ..modules import Dropout, LeNet5
from ..storage import UnstorableError, decode, decode_items, encode, encode_items
from ..training import Seeds, build_module
from ._schema import (
    Fitted,
    State,
    check,
    check_columns,
    check_history,
    check_labels,
    check_network,
    fill_module,
)

# What an estimator may have from an earlier fit, and need not get from the next.
_OPTIONAL = (
    "best_epoch_",
    "feature_names_in_",
    "optimizer_",
    "steps_",
    "_built_with",
    "_fit_ended",
    "_optimizer_state",
)
_SEEDS = ("weights", "split", "order", "dropout")
_RNG = "rng/key"  # not a name of weights, which have no slash


class PlainState(NamedTuple):
    """What a fit left behind, without the parameters that it was given."""

    arrays: dict[str, np.ndarray]  # weights and buffers by their names, and more
    values: dict[str, Any]  # strict JSON
    left_out: set[str]  # what neither holds: columns of the history


def to_plain(net: Any, *, optimizer: bool = False) -> PlainState:
    """Tell what a fitted estimator holds, in arrays and plain values.

    Parameters
    ----------
    net : ImageClassifier
        Fitted; it is not changed.
    optimizer : bool, default=False
        Whether to add the state of the optimizer, where there is one.

    Returns
    -------
    state : PlainState
        Its arrays and values make an estimator of the same class and parameters what
        this one is: see `from_plain`.

    Raises
    ------
    TypeError
        For labels other than numbers, booleans and strings, and for a network whose
        layers were changed.
    """
    module = net.module_
    architecture = architecture_of(net.module, module, net.image_shape_)
    arrays = {name: _to_numpy(value) for name, value in module.state_dict().items()}
    _, key, *rest = _twister(net._seeds.rng).get_state(legacy=True)
    arrays[_RNG] = np.asarray(key)
    rows, left_out = [], set()
    for row in net.history_:
        columns = {name: value for name, value in row.items() if name != "batches"}
        encoded, unstored = encode_items(columns)
        left_out |= {f"history_[:, {column!r}]" for column in unstored}
        rows.append(encoded)
    values = {
        "module": architecture,
        "frozen": [n for n, p in module.named_parameters() if not p.requires_grad],
        "classes": _encode_labels(net.classes_),
        "image_shape": list(net.image_shape_),
        "fitted": {
            k: encode(vars(net)[k]) for k in Fitted.__struct_fields__ if k in vars(net)
        },
        "partial_fit": bool(net._is_partial_fit),
        "history": rows,
        "seeds": {name: int(getattr(net._seeds, name)) for name in _SEEDS},
        "rng": dict(zip(("pos", "has_gauss", "cached_gaussian"), rest, strict=True)),
    }
    if hasattr(net, "_built_with"):
        values["built_with"], _ = encode_items(net._built_with)
    if hasattr(net, "feature_names_in_"):
        values["feature_names"] = net.feature_names_in_.tolist()
    if optimizer:
        values["optimizer"] = _add_optimizer(net, arrays)
    return PlainState(arrays, values, left_out)


def from_plain(net: Any, arrays: dict[str, np.ndarray], values: dict[str, Any]) -> None:
    """Make an estimator what another was when `to_plain` told of it.

    Parameters
    ----------
    net : ImageClassifier
        Of the same class and parameters, fitted or not. Its network goes to the device
        that its parameter ``device`` means on this machine, or to the CPU.
    arrays, values : dict
        Of a `PlainState`. The arrays become the network's memory.

    Raises
    ------
    ValueError
        If they are not what `to_plain` gives; the estimator is as it was then.

    Notes
    -----
    Everything is checked before memory is taken for it, which the arrays bound: they
    may come from a file that nobody vouches for.
    """
    state = check(values, State)
    check_columns(state)
    check_history(state.history, state.fitted.best_epoch_)
    classes = check_labels(state.classes, state.module.get("n_classes"))
    others = {name: array for name, array in arrays.items() if "/" in name}
    weights = {name: arrays[name] for name in arrays.keys() - others.keys()}
    arguments = check_network(net.module, state.image_shape, state.module)
    module = fill_module(net.module, arguments, weights)
    for name in state.frozen:
        if name not in weights:
            raise ValueError(f"it freezes {name!r}, which is no weight")
        module.get_parameter(name).requires_grad_(False)
    attributes = {
        **_set_values(state.fitted),
        "image_shape_": state.image_shape,
        "_classes": classes,
        "_is_partial_fit": state.partial_fit,
        "_seeds": _read_seeds(state, others.pop(_RNG, None), net.random_state),
        "history_": History(
            {**decode_items(row), "batches": [{}]} for row in state.history
        ),
        "module_": module,
        "initialized_": True,
    }
    if state.built_with is not UNSET:
        attributes["_built_with"] = decode_items(state.built_with)
    if state.feature_names is not UNSET:
        attributes["feature_names_in_"] = np.array(state.feature_names, dtype=object)
    if state.optimizer not in (UNSET, None):
        attributes["_optimizer_state"] = _read_optimizer(state.optimizer, others)
    if others:
        raise ValueError(f"it has arrays that nothing needs: {', '.join(others)}")
    for name in _OPTIONAL:
        vars(net).pop(name, None)
    net.__setstate__(attributes)
    net.initialize_criterion()


def _set_values(struct: Any) -> dict[str, Any]:
    """Return those fields that have a value."""
    fields = msgspec.structs.asdict(struct)
    return {name: value for name, value in fields.items() if value is not UNSET}


def _read_seeds(state: State, key: np.ndarray | None, source: Any) -> Seeds:
    if key is None or key.shape != (624,) or key.dtype != np.uint32:
        raise ValueError(f"{_RNG} is not the state of a generator")
    seeds = Seeds(0)
    seeds.source = source
    rng = state.rng
    seeds.rng.set_state(("MT19937", key, rng.pos, rng.has_gauss, rng.cached_gaussian))
    for name in _SEEDS:
        setattr(seeds, name, getattr(state.seeds, name))
    return seeds


def _twister(rng: np.random.RandomState) -> np.random.RandomState:
    """Return a generator of NumPy's usual kind, or one that is seeded by another."""
    if rng.get_state(legacy=False)["bit_generator"] == "MT19937":
        return rng
    return np.random.RandomState(copy.deepcopy(rng).randint(np.iinfo(np.int32).max))


# The network ----------------------------------------------------------------------


def _to_numpy(tensor: torch.Tensor) -> np.ndarray:
    return tensor.detach().cpu().numpy()


def architecture_of(cls: Any, module: Any, image_shape: Any) -> dict[str, Any]:
    """Read a network's arguments off its layers.

    The estimator's parameters may have been set anew since the fit.
    """
    dropout = [layer.p for layer in module.modules() if isinstance(layer, Dropout)]
    kwargs: dict[str, Any] = {
        "n_classes": module.head.out.out_features,
        "dropout": float(dropout[0]) if dropout else 0.0,
    }
    if isinstance(module, LeNet5):
        dense = [layer for layer in module.head if isinstance(layer, nn.Linear)]
        kwargs["hidden_units"] = [layer.out_features for layer in dense[:-1]]
    else:
        kwargs["hidden_units"] = module.head.hidden.out_features
        kwargs["widths"] = [
            "M" if isinstance(layer, nn.MaxPool2d) else layer.out_channels
            for layer in module.features
            if isinstance(layer, nn.MaxPool2d | nn.Conv2d)
        ]
    told = build_module(cls, {**kwargs, "image_shape": image_shape})
    names = module.state_dict().keys()
    if repr(told) != repr(module) or told.state_dict().keys() != names:
        raise UnstorableError(
            "the network's layers were changed since it was built, and arrays cannot "
            "hold layers: keep it with pickle or joblib"
        )
    return kwargs


# Labels ---------------------------------------------------------------------------

_LABEL_KINDS = "biufUO"


def _encode_labels(classes: np.ndarray) -> dict[str, Any]:
    labels = classes.tolist()
    plain = all(isinstance(label, bool | int | float | str) for label in labels)
    if classes.dtype.kind not in _LABEL_KINDS or not plain:
        raise TypeError(
            "only labels can be stored that are numbers, booleans or strings, got "
            f"classes_={classes!r}"
        )
    return {"dtype": classes.dtype.str, "labels": [encode(label) for label in labels]}


# The optimizer --------------------------------------------------------------------


def _add_optimizer(net: Any, arrays: dict[str, np.ndarray]) -> dict[str, Any] | None:
    """Put the optimizer's tensors beside the weights; return what else it holds.

    None where there is no optimizer, or one that only a pickle could hold.
    """
    if "optimizer_" in net.__dict__:
        kind, state = type(net.optimizer_), net.optimizer_.state_dict()
    else:
        kind, state = net.__dict__.get("_optimizer_state", (None, None))
    if kind is None:
        return None
    tensors, plain = {}, []
    for index, gathered in state["state"].items():
        for name, value in gathered.items():
            if isinstance(value, torch.Tensor):
                tensors[f"optimizer/{index}/{name}"] = _to_numpy(value)
            else:
                plain.append([index, name, value])
    try:
        values = {
            "class": encode(kind),
            "groups": encode(state["param_groups"]),
            "values": [[index, name, encode(value)] for index, name, value in plain],
        }
    except TypeError:
        return None
    arrays |= tensors
    return values


def _read_optimizer(
    values: dict[str, Any], others: dict[str, np.ndarray]
) -> tuple[type, dict[str, Any]]:
    """Read what an optimizer had gathered, and take its arrays out of the others."""
    try:
        state: dict[int, dict[str, Any]] = {}
        for index, name, value in values["values"]:
            state.setdefault(index, {})[name] = decode(value)
        for key in [key for key in others if key.startswith("optimizer/")]:
            _, index, name = key.split("/", 2)
            array = torch.from_numpy(others.pop(key))
            state.setdefault(int(index), {})[name] = array
        groups = decode(values["groups"])
        return decode(values["class"]), {"state": state, "param_groups": groups}
    except (KeyError, TypeError) as error:
        raise ValueError(f"its optimizer is none: {error}") from error
