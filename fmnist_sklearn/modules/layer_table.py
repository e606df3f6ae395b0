"""A network's layers as a table, computed from the module."""

from __future__ import annotations

import copy
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from .layers import PixelScaling

if TYPE_CHECKING:
    import pandas as pd


def layer_table(module: nn.Module) -> pd.DataFrame:
    """Tabulate a network's layers with their output shapes and parameter counts.

    Parameters
    ----------
    module : LeNet5, MiniVGG or an estimator's ``module_``
        Any module with an ``image_shape``; it is not changed.

    Returns
    -------
    pandas.DataFrame
        A row for each layer, in the order of computation: ``layer`` (its name in the
        module and its kind), ``output_shape`` (without the batch's dimension) and
        ``n_parameters`` (learnable). Their sum is the network's size.

    Raises
    ------
    TypeError
        For anything else, such as the estimator itself.

    Examples
    --------
    >>> from fmnist_sklearn import MiniVGG, layer_table
    >>> table = layer_table(MiniVGG())
    >>> int(table["n_parameters"].sum())
    2167786
    """
    import pandas as pd

    if not isinstance(module, nn.Module) or not hasattr(module, "image_shape"):
        raise TypeError(
            "module must be a torch module with an image_shape, such as LeNet5() or "
            f"the module_ of a fitted estimator, got {module!r:.200}"
        )
    rows: list[dict[str, object]] = []

    def record(name: str, layer: nn.Module, inputs: object, output: Tensor) -> None:
        learnable = [p.numel() for p in layer.parameters() if p.requires_grad]
        rows.append(
            {
                "layer": f"{name} ({type(layer).__name__})",
                "output_shape": tuple(output.shape[1:]),
                "n_parameters": sum(learnable),
            }
        )

    layout = _copy_without_data(module)
    for name, layer in layout.named_modules():
        parts = {part for part, _ in layer.named_children()} - {"parametrizations"}
        is_layer = not parts and ".parametrizations" not in name
        if is_layer and not isinstance(layer, PixelScaling):
            layer.register_forward_hook(partial(record, name))
    layout(torch.empty(1, *layout.image_shape, device="meta"))
    return pd.DataFrame(rows)


def _copy_without_data(module: nn.Module) -> Any:
    """Copy a module for shapes to flow through, without the hooks of others."""
    # A pruned layer holds a computed weight, which deepcopy would refuse.
    computed = {
        id(value): value.detach()
        for layer in module.modules()
        for value in vars(layer).values()
        if isinstance(value, Tensor)
    }
    layout = copy.deepcopy(module, computed).to("meta").eval()
    for layer in layout.modules():
        # Not those before a forward: pruning computes its weight in one.
        layer._forward_hooks.clear()
    return layout
