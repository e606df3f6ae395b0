"""Whether a quick form may stand in for PyTorch's own layers, and its second order.

A quick form computes what some layers compute together, without calling them. That is
the same for layers exactly as this package builds them, called on ordinary tensors.
For anything else, from a replaced activation to a mode that counts operations, the
layers themselves are called. Asking takes less than 1 % of a training step of LeNet-5.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.nn.modules.module import _has_any_global_hook
from torch.overrides import _get_current_function_mode_stack
from torch.utils._device import DeviceContext

_NO_HOOKS: dict[str, Any] = {
    "_forward_pre_hooks": {},
    "_forward_hooks": {},
    "_backward_pre_hooks": {},
    "_backward_hooks": {},
}


def has_hooks(module: nn.Module) -> bool:
    """Whether calling a module calls hooks of its own; pruning is one."""
    return not _NO_HOOKS.items() <= vars(module).items()


class AsBuilt:
    """What a quick form takes for granted of a layer that it stands in for.

    Parameters
    ----------
    kind : type
        The layer's class: no subclass, such as a parametrised layer has.
    **settings
        Attributes of the layer.
    """

    def __init__(self, kind: type[nn.Module], **settings: Any) -> None:
        self._kind = kind
        self._attributes = {**_NO_HOOKS, **settings}
        self._names_of_kind = frozenset(dir(kind))

    def fits(self, layer: nn.Module | None) -> bool:
        """Whether a call of ``layer`` does what its class does with these settings.

        It does not with hooks, and not with something of its own in place of what its
        class has, such as another ``forward``.
        """
        return (
            type(layer) is self._kind
            and self._attributes.items() <= vars(layer).items()
            and self._names_of_kind.isdisjoint(vars(layer))
        )


_TENSORS = (nn.Parameter, Tensor)


def is_ordinary(tensor: Any) -> bool:
    """Whether this is a dense float32 tensor on a CPU, of no class but PyTorch's."""
    return (
        type(tensor) in _TENSORS
        and tensor.dtype is torch.float32
        and tensor.is_cpu
        and tensor.layout is torch.strided
    )


def _is_transformed() -> bool:
    """Whether ``torch.func`` or differentiation forwards is at work."""
    return (
        torch._C._functorch.peek_interpreter_stack() is not None
        or forward_ad._current_level >= 0
    )


def nothing_intervenes() -> bool:
    """Whether operations are only computed: not recorded, transformed or watched.

    Not so while PyTorch compiles, exports or traces, in ``torch.func``, in forward
    differentiation, with hooks for all modules, and in modes such as
    ``FlopCounterMode``. A mode that only names a device does not count.
    """
    return not (
        torch.compiler.is_compiling()
        or torch.jit.is_tracing()
        or _is_transformed()
        or _has_any_global_hook()
        or torch._C._len_torch_dispatch_stack()
        or (
            torch._C._len_torch_function_stack()
            and any(
                not isinstance(mode, DeviceContext)
                for mode in _get_current_function_mode_stack()
            )
        )
    )


def in_own_precision(x: Tensor) -> bool:
    """Whether ``x`` is ordinary, and computed with as it is: not in autocasting."""
    return (
        nothing_intervenes() and not torch.is_autocast_enabled("cpu") and is_ordinary(x)
    )


def wants_plain_gradient(grad: Tensor) -> bool:
    """Whether a gradient is to be differentiated itself, or mapped over."""
    return (
        torch.is_grad_enabled()
        or _is_transformed()
        or torch._C._functorch.is_legacy_batchedtensor(grad)
    )


def plain_gradients(
    function: Callable[..., Tensor],
    inputs: Sequence[Tensor],
    needed: Sequence[bool],
    grad: Tensor,
) -> list[Tensor | None]:
    """Compute gradients through PyTorch's own operations, anew from the inputs.

    Parameters
    ----------
    function : callable
        Takes the inputs; what it computes PyTorch can differentiate any number of
        times.
    inputs : sequence of Tensor
        As the quick form had them.
    needed : sequence of bool
        For each whether its gradient is asked for.
    grad : Tensor
        Gradient of what ``function`` returns.

    Returns
    -------
    list of Tensor or None
        A gradient for each input, part of the graph where gradients are recorded.
    """
    wanted = [x for x, is_needed in zip(inputs, needed, strict=True) if is_needed]
    with torch.enable_grad():
        y = function(*inputs)
    grads = iter(
        torch.autograd.grad(y, wanted, grad, create_graph=torch.is_grad_enabled())
    )
    return [next(grads) if is_needed else None for is_needed in needed]
