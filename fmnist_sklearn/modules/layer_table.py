"""A network's layers as a table, computed from the module."""

from __future__ import annotations

import copy
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

    Examples
    --------
    >>> from fmnist_sklearn import MiniVGG, layer_table
    >>> table = layer_table(MiniVGG())
    >>> int(table["n_parameters"].sum())
    2167786
    """
    import pandas as pd

    rows: list[dict[str, object]] = []

    def record(name: str):
        def hook(layer: nn.Module, inputs: object, output: Tensor) -> None:
            rows.append(
                {
                    "layer": f"{name} ({layer._get_name()})",
                    "output_shape": tuple(output.shape[1:]),
                    "n_parameters": sum(
                        p.numel() for p in layer.parameters() if p.requires_grad
                    ),
                }
            )

        return hook

    # A copy without data: shapes flow through it, and no hook is left behind.
    layout: Any = copy.deepcopy(module).to("meta").eval()
    for name, layer in layout.named_modules():
        is_leaf = next(layer.children(), None) is None
        if is_leaf and not isinstance(layer, PixelScaling):
            layer.register_forward_hook(record(name))
    layout(torch.empty(1, *layout.image_shape, device="meta"))
    return pd.DataFrame(rows)
