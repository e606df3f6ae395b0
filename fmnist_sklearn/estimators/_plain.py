"""What "fitted" means as arrays and plain values, for files and for a cache of fits."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from skorch.history import History
from torch import nn

from ..modules import Dropout, LeNet5
from ..storage import decode, decode_items, encode, encode_items
from ..training import Seeds, build_module

_ATTRIBUTES = ("n_features_in_", "best_epoch_", "fit_time_", "precision_")
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
        For labels other than numbers, booleans and strings.
    """
    module = net.module_
    arrays = {name: _to_numpy(value) for name, value in module.state_dict().items()}
    _, arrays[_RNG], *rest = net._seeds.rng.get_state()
    rows, left_out = [], set()
    for row in net.history_:
        columns = {name: value for name, value in row.items() if name != "batches"}
        encoded, unstored = encode_items(columns)
        left_out |= {f"history_[:, {column!r}]" for column in unstored}
        rows.append(encoded)
    values = {
        "module": _architecture(module),
        "frozen": [n for n, p in module.named_parameters() if not p.requires_grad],
        "classes": _encode_labels(net.classes_),
        "image_shape": list(net.image_shape_),
        "fitted": {k: encode(getattr(net, k)) for k in _ATTRIBUTES if hasattr(net, k)},
        "partial_fit": bool(net._is_partial_fit),
        "history": rows,
        "seeds": {name: int(getattr(net._seeds, name)) for name in _SEEDS},
        "rng": dict(zip(("pos", "has_gauss", "cached_gaussian"), rest, strict=True)),
    }
    if hasattr(net, "_built_with"):
        values["built_with"] = encode(net._built_with)
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
    """
    weights = {name: array for name, array in arrays.items() if "/" not in name}
    kwargs = {**values["module"], "image_shape": tuple(values["image_shape"])}
    classes = _decode_labels(values["classes"])
    if len(classes) != kwargs["n_classes"]:
        raise ValueError(
            f"it has {len(classes)} labels for {kwargs['n_classes']} classes"
        )
    module = _fill_module(build_module(net.module, kwargs), weights)
    for name in values["frozen"]:
        module.get_parameter(name).requires_grad_(False)
    seeds = Seeds(0)
    seeds.source = net.random_state
    rng = values["rng"]
    seeds.rng.set_state(
        ("MT19937", arrays[_RNG], rng["pos"], rng["has_gauss"], rng["cached_gaussian"])
    )
    for name in _SEEDS:
        setattr(seeds, name, values["seeds"][name])
    state = {
        **decode_items(values["fitted"]),
        "image_shape_": tuple(values["image_shape"]),
        "_classes": classes,
        "_is_partial_fit": values["partial_fit"],
        "_seeds": seeds,
        "history_": History(
            {**decode_items(row), "batches": [{}]} for row in values["history"]
        ),
        "module_": module,
        "initialized_": True,
    }
    if "built_with" in values:
        state["_built_with"] = decode(values["built_with"])
    if "feature_names" in values:
        state["feature_names_in_"] = np.array(values["feature_names"], dtype=object)
    if values.get("optimizer") is not None:
        state["_optimizer_state"] = _read_optimizer(values["optimizer"], arrays)
    net.__setstate__(state)
    net.initialize_criterion()


# The network ----------------------------------------------------------------------


def _to_numpy(tensor: torch.Tensor) -> np.ndarray:
    return tensor.detach().cpu().numpy()


def _architecture(module: Any) -> dict[str, Any]:
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
    return kwargs


def _fill_module(module: nn.Module, arrays: dict[str, np.ndarray]) -> nn.Module:
    """Make the arrays a network's weights, if they are exactly those that it has."""
    tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}
    expected = {(n, t.shape, t.dtype) for n, t in module.state_dict().items()}
    found = {(n, t.shape, t.dtype) for n, t in tensors.items()}
    if expected != found:
        names = sorted({name for name, *_ in expected ^ found})
        raise ValueError(f"its arrays do not fit the network: {', '.join(names)}")
    module.load_state_dict(tensors, assign=True)
    return module.eval()


# Labels ---------------------------------------------------------------------------

_LABEL_KINDS = "biufUO"


def _encode_labels(classes: np.ndarray) -> dict[str, Any]:
    labels = classes.tolist()
    plain = all(isinstance(label, bool | int | float | str) for label in labels)
    if classes.dtype.kind not in _LABEL_KINDS or not plain:
        raise TypeError(
            "only labels that are numbers, booleans or strings can be stored, got "
            f"classes_={classes!r}"
        )
    return {"dtype": classes.dtype.str, "labels": [encode(label) for label in labels]}


def _decode_labels(stored: dict[str, Any]) -> np.ndarray:
    dtype = np.dtype(stored["dtype"])
    if dtype.kind not in _LABEL_KINDS:
        raise ValueError(f"its labels have dtype {dtype}")
    return np.array(stored["labels"], dtype=dtype)


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
    values: dict[str, Any], arrays: dict[str, np.ndarray]
) -> tuple[type, dict[str, Any]]:
    state: dict[int, dict[str, Any]] = {}
    for index, name, value in values["values"]:
        state.setdefault(index, {})[name] = decode(value)
    for key, array in arrays.items():
        if key.startswith("optimizer/"):
            _, index, name = key.split("/", 2)
            state.setdefault(int(index), {})[name] = torch.from_numpy(array)
    groups = decode(values["groups"])
    return decode(values["class"]), {"state": state, "param_groups": groups}
