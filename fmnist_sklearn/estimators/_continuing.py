"""Training that goes on: which parameters may have changed since, and their effect."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from ..modules import Dropout
from ..training import Seeds, resolve_device, resolve_precision


def remember(net: Any) -> None:
    """Note the parameters that a network, once trained, cannot change."""
    net._built_with = {
        **{f"module__{k}": v for k, v in net._module_arguments().items()},
        "pixel_scaling": net.pixel_scaling,
    }


def check_unchanged(net: Any) -> None:
    """Refuse parameters that would need another network than the trained one.

    Raises
    ------
    ValueError
        Naming the parameter; nothing was changed then.
    """
    shape = net.image_shape
    if shape is not None and tuple(shape) != net.image_shape_:
        raise _changed("image_shape", net.image_shape_, shape)
    built = getattr(net, "_built_with", None)
    if built is None:
        return
    now = {f"module__{k}": v for k, v in net._module_arguments().items()}
    now["pixel_scaling"] = net.pixel_scaling
    for name in sorted(built.keys() | now.keys()):
        before, after = built.get(name), now.get(name)
        if name != "module__dropout" and _plain(before) != _plain(after):
            raise _changed(name, before, after)


def _changed(name: str, before: Any, after: Any) -> ValueError:
    return ValueError(
        f"{name} was {before!r} when the network was built and is {after!r} now, but "
        "warm_start and partial_fit go on with the trained network; set it back, or "
        "fit a clone"
    )


def _plain(value: Any) -> Any:
    if isinstance(value, list | tuple | np.ndarray):
        return [_plain(item) for item in value]
    return value


def renew(net: Any) -> None:
    """Let every parameter that was set since the last call take effect.

    Weights, and the state of the optimizer where it still means the same, stay.
    """
    if net._seeds.source == net.random_state:
        net._seeds = net._seeds.following()
    else:
        net._seeds = Seeds(net.random_state)
    device = resolve_device(net.device)
    moves = device != net.device_
    net.device_ = device
    net.precision_ = resolve_precision(net.precision, device, net._bfloat16_pays)
    if moves:
        net.place_module()
    net._initialize_callbacks()
    net.initialize_criterion()
    dropout = net._module_arguments()["dropout"]
    built = getattr(net, "_built_with", {})
    if built.get("module__dropout") != dropout:
        for layer in net.module_.modules():
            if isinstance(layer, Dropout):
                layer.p = dropout
    remember(net)
    renew_optimizer(net, moves=moves)


def renew_optimizer(net: Any, *, moves: bool = False) -> None:
    """Give the optimizer the parameters of now; keep its state where it fits them."""
    old = net.__dict__.get("optimizer_")
    kind, state = net.__dict__.pop("_optimizer_state", (None, None))  # of a pickle
    net.initialize_optimizer()
    new = net.optimizer_
    if old is not None and _are_alike(old, new):
        # The same object goes on, since hooks may hang on it. What a schedule left in
        # it, such as the momentum it had reached, goes.
        for group, renewed in zip(old.param_groups, new.param_groups, strict=True):
            group.clear()
            group.update(renewed)
        if moves:
            old.load_state_dict(old.state_dict())
        net.optimizer_ = old
    elif kind is type(new) and _same_state(new.param_groups, state["param_groups"]):
        _load_state(new, state)
    for group in net.optimizer_.param_groups:
        group.setdefault("initial_lr", group["lr"])  # schedulers that go on ask for it


def _are_alike(old: torch.optim.Optimizer, new: torch.optim.Optimizer) -> bool:
    """Whether what one optimizer has gathered serves the other."""

    def parameters(optimizer: torch.optim.Optimizer) -> list[list[int]]:
        return [[id(p) for p in group["params"]] for group in optimizer.param_groups]

    return (
        type(old) is type(new)
        and parameters(old) == parameters(new)
        and _same_state(old.param_groups, new.param_groups)
    )


def _load_state(optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> None:
    """Load what an optimizer has gathered, and leave its hyper-parameters alone."""
    hyper_parameters = [
        {k: v for k, v in group.items() if k != "params"}
        for group in optimizer.param_groups
    ]
    optimizer.load_state_dict(state)
    for group, values in zip(optimizer.param_groups, hyper_parameters, strict=True):
        params = group["params"]
        group.clear()
        group.update(params=params, **values)
    # A fused step goes through weights and state in the order of memory.
    for parameter, gathered in optimizer.state.items():
        for name, value in gathered.items():
            if isinstance(value, torch.Tensor) and value.shape == parameter.shape:
                laid_out = torch.empty_like(parameter, dtype=value.dtype)
                gathered[name] = laid_out.copy_(value)


def _same_state(groups: list[dict[str, Any]], others: list[dict[str, Any]]) -> bool:
    """Whether optimizers of one class gather the same, whatever their rates are.

    Options such as ``amsgrad``, and whether there is any momentum, decide what is
    gathered for each weight.
    """

    def options(group: dict[str, Any]) -> dict[str, bool]:
        return {
            name: bool(value)
            for name, value in group.items()
            if isinstance(value, bool) or name == "momentum"
        }

    sizes = [len(group["params"]) for group in groups]
    return sizes == [len(group["params"]) for group in others] and all(
        options(group) == options(other)
        for group, other in zip(groups, others, strict=True)
    )
