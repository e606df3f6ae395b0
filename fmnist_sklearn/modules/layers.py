"""The layers that both networks are made of, their first weights and their table."""

from __future__ import annotations

import copy
import math
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

if TYPE_CHECKING:
    import pandas as pd

ImageShape = tuple[int, int, int]  # channels, height, width


class PixelScaling(nn.Module):
    """Scale raw pixels, ``(x - mean) / std`` for each channel, to float32.

    Mean and standard deviation are buffers: they travel with the weights, so a state
    dict is all that a prediction from raw pixels needs. They start as 0 and 1.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, n_channels: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(n_channels))
        self.register_buffer("std", torch.ones(n_channels))

    def forward(self, x: Tensor) -> Tensor:
        """Scale images of shape (N, C, H, W) and any real dtype."""
        x = x.to(self.mean.dtype)
        return (x - self.mean.view(-1, 1, 1)) / self.std.view(-1, 1, 1)


class ScaledNetwork(nn.Module):
    """A network of any class, behind the scaling of its pixels.

    Parameters
    ----------
    network : torch.nn.Module
        Maps scaled images to logits of shape (N, n_classes).
    image_shape : tuple of int
        Channels, height and width of an image.
    n_classes : int
        Number of logits.
    """

    def __init__(
        self, network: nn.Module, image_shape: ImageShape, n_classes: int
    ) -> None:
        super().__init__()
        self.image_shape, self.n_classes = tuple(image_shape), n_classes
        self.scaling = PixelScaling(image_shape[0])
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        """Compute the logits of raw images (N, C, H, W), and check their shape."""
        logits = self.network(self.scaling(x))
        expected = (x.shape[0], self.n_classes)  # len(x) would be fixed in an export
        if not isinstance(logits, Tensor) or logits.shape != expected:
            got = f"an object of class {type(logits).__name__}"
            if isinstance(logits, Tensor):
                got = f"a tensor of shape {tuple(logits.shape)}"
            raise ValueError(
                f"module={type(self.network).__name__} must return a tensor of logits "
                f"of shape (n, n_classes) = {expected}, got {got}"
            )
        return logits


class Dropout(nn.Dropout):
    """Dropout that draws from a generator of its own, where it is given one.

    ``torch.nn.Dropout`` draws from the global generator, which all threads share.
    """

    def __init__(self, p: float) -> None:
        super().__init__(p)
        self.generator: torch.Generator | None = None

    def forward(self, x: Tensor) -> Tensor:
        """Zero each element with probability ``p`` while training."""
        if self.generator is not None and self.training and self.p > 0 and x.is_cuda:
            # One operation in place of four, which in PyTorch only this private
            # function does with a generator; a training run sets one.
            return torch._fused_dropout(x, 1 - self.p, self.generator)[0]
        mask = self.draw_mask(x.shape, x.device)
        return x if mask is None else x * mask.to(x.dtype)

    def draw_mask(self, shape: torch.Size, device: torch.device) -> Tensor | None:
        """Draw what to multiply values with, float32; None for 1 everywhere."""
        if not self.training or self.p == 0:
            return None
        keep = 1.0 - self.p
        # Uniform numbers are drawn in bulk, which Bernoulli numbers are not.
        mask = torch.rand(
            shape, generator=self.generator, dtype=torch.float32, device=device
        )
        return mask.lt_(keep).div_(keep)


def zero_border(image_shape: ImageShape, min_size: int) -> tuple[int, ...]:
    """Lay out the zeros that images need around them, evenly on both sides.

    Returns
    -------
    tuple of int
        As ``F.pad`` takes them, left, right, top and bottom, so that both sides have
        at least ``min_size`` pixels; empty if they have without.
    """
    border: list[int] = []
    for side in reversed(image_shape[1:]):
        missing = max(min_size - side, 0)
        border += missing // 2, missing - missing // 2
    return tuple(border) if any(border) else ()


def pad_with_zeros(x: Tensor, border: tuple[int, ...]) -> Tensor:
    """Put a border from ``zero_border`` around images."""
    return F.pad(x, border) if border else x


def reset_parameters(module: nn.Module, generator: torch.Generator) -> None:
    """Draw fresh weights from ``generator``, distributed as PyTorch's defaults.

    Weights and biases of convolutions and dense layers are uniform within one over
    the square root of the fan-in; batch normalisation starts as the identity.

    Parameters
    ----------
    module : torch.nn.Module
        Changed in place; may have been built on the "meta" device and emptied, so
        that no global random state was read.
    generator : torch.Generator
        On the device of the parameters.
    """
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            bound = 1 / math.sqrt(layer.weight[0].numel())
            for parameter in layer.parameters():
                nn.init.uniform_(parameter, -bound, bound, generator=generator)
        elif isinstance(layer, nn.BatchNorm2d):
            layer.reset_parameters()
        elif isinstance(layer, PixelScaling):
            layer.mean.zero_()
            layer.std.fill_(1)


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

    layout: Any = copy.deepcopy(module).to("meta").eval()
    for name, layer in layout.named_modules():
        parts = {part for part, _ in layer.named_children()} - {"parametrizations"}
        is_layer = not parts and ".parametrizations" not in name
        if is_layer and not isinstance(layer, PixelScaling):
            layer.register_forward_hook(partial(record, name))
    layout(torch.empty(1, *layout.image_shape, device="meta"))
    return pd.DataFrame(rows)
