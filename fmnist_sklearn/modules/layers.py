"""The layers that both networks are made of, and how their weights are drawn."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .cpu.elu import elu

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
        x = x.to(self.mean.dtype, copy=True)
        return x.sub_(self.mean.view(-1, 1, 1)).div_(self.std.view(-1, 1, 1))


class Dropout(nn.Module):
    """Dropout that draws from a generator of its own, where it is given one.

    ``torch.nn.Dropout`` draws from the global generator, which all threads share.
    """

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p
        self.generator: torch.Generator | None = None

    def forward(self, x: Tensor) -> Tensor:
        """Zero each element with probability ``p`` while training."""
        mask = self.draw_mask(x.shape, x.device)
        return x if mask is None else x * mask.to(x.dtype)

    def draw_mask(self, shape: torch.Size, device: torch.device) -> Tensor | None:
        """Draw what to multiply values with, float32; None for 1 everywhere."""
        if not self.training or self.p == 0:
            return None
        keep = 1.0 - self.p
        # Uniform numbers are drawn in bulk, which Bernoulli numbers are not.
        mask = torch.rand(shape, generator=self.generator, device=device)
        return mask.lt_(keep).div_(keep)

    def extra_repr(self) -> str:
        """Show the probability where the module is printed."""
        return f"p={self.p}"


class ELU(nn.Module):
    """The exponential linear unit, computed by ``cpu.elu``."""

    def forward(self, x: Tensor) -> Tensor:
        """Apply the exponential linear unit elementwise."""
        return elu(x)


def zero_pad_to(x: Tensor, size: int) -> Tensor:
    """Pad images smaller than ``size`` with zeros, evenly on both sides."""
    dh, dw = max(size - x.shape[-2], 0), max(size - x.shape[-1], 0)
    if dh or dw:
        x = F.pad(x, (dw // 2, dw - dw // 2, dh // 2, dh - dh // 2))
    return x


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
