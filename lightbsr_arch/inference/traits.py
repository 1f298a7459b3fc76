"""What running a network asks for and its class does not say: its scale, the sizes that it takes, the memory it needs.

Found out by running it on the ``meta`` device, where nothing is computed and no memory is taken.
"""

from __future__ import annotations

import copy
import weakref
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from lightbsr_arch.errors import OptionError
from lightbsr_arch.inference.averages import SharedAverages

_MULTIPLES = (1, 2, 3, 4, 6, 7, 8, 12, 16, 24, 32, 48, 64)
"""What sides may have to be multiples of: window sizes, and powers of 2."""

_ODD = 13
"""Sides are tried at this many times a multiple, which is no multiple of a larger one."""

_RAISED_BY_NETWORKS = (
    *(ArithmeticError, AssertionError, AttributeError, LookupError, MemoryError, RuntimeError, TypeError, ValueError),
)
"""What anyone's network may raise for a size that it cannot take, or on a device that does not compute."""


@dataclass(frozen=True)
class Traits:
    """What is known of a network."""

    scale: int
    """The factor between its input and its output."""
    size_multiple: int = 1
    """What its input's sides must be multiples of."""
    averages: int | None = None
    """Number of averages over all pixels that it takes inside; None where it is not known."""
    values_per_pixel: int | None = None
    """Most values that it holds at a time, for each pixel of its input; None where it is not known."""


def find_traits(net: nn.Module, scale: int | None = None, size_multiple: int | None = None) -> Traits:
    """Find out what is not stated.

    Args:
        net: From (N, 3, H, W) to (N, 3, scale * H, scale * W).
        scale: As stated; None takes that of the network's ``scale`` or ``upscale``, else finds it out.
        size_multiple: As stated; None finds it out.

    Raises:
        OptionError: A number that is none, a scale that cannot be found out, or that is another than the network's.
    """
    for name, value in (("scale", scale), ("size_multiple", size_multiple)):
        if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < 1):
            raise OptionError(f"{name}: expected an integer >= 1, got {value!r}.")
    on_meta = _on_meta(net)
    for multiple in _MULTIPLES if size_multiple is None else (size_multiple,):
        traits = None if on_meta is None else _run(on_meta, multiple)
        if traits is not None:
            if scale not in (None, traits.scale):
                raise OptionError(f"scale: {scale} is stated, but this network enlarges by {traits.scale}; correct it.")
            return traits
    said = scale if scale is not None else getattr(net, "scale", getattr(net, "upscale", None))
    if not isinstance(said, int) or said < 1:
        raise OptionError(
            f"scale: not stated, and {type(net).__name__} does not show it: give scale, the factor between its input and "
            "its output; it must map one RGB image to one."
        )
    return Traits(said, size_multiple or _window(net) or 1)


def _on_meta(net: nn.Module) -> nn.Module | None:
    """A copy of a network without values; None if it cannot be copied so."""
    tensors = [*net.parameters(), *net.buffers()]
    memo: dict[int, Any] = {id(tensor): _like(tensor) for tensor in tensors}
    try:
        return copy.deepcopy(net, memo)
    except _RAISED_BY_NETWORKS:
        return None


def _like(tensor: Tensor) -> Tensor:
    empty = torch.empty_like(tensor, device="meta")
    return nn.Parameter(empty, requires_grad=False) if isinstance(tensor, nn.Parameter) else empty


def _run(on_meta: nn.Module, multiple: int) -> Traits | None:
    """What a network shows when it runs; None if it does not take a square of a side of this multiple, or not enlarge it."""
    side = _ODD * multiple
    lq = torch.empty(1, 3, side, side, device="meta")
    try:
        with torch.no_grad(), LiveValues() as live, SharedAverages() as averages:
            output = on_meta(lq)
    except _RAISED_BY_NETWORKS:
        return None
    if not isinstance(output, Tensor) or output.dim() != 4:
        return None
    scale = output.shape[2] // side
    if scale < 1 or tuple(output.shape) != (1, 3, scale * side, scale * side):
        return None
    return Traits(scale, multiple, len(averages.values), -(-live.most // side**2))


def _window(net: nn.Module) -> int | None:
    size = getattr(net, "window_size", None)
    return size if isinstance(size, int) and size > 0 else None


class LiveValues(TorchDispatchMode):
    """While active, counts the values that operations' results hold, in float32's size."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.most = 0
        self._known: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for tensor in _tensors(result):
            storage = tensor.untyped_storage()
            if id(storage) not in self._known:
                size = storage.nbytes() // 4
                self._known.add(id(storage))
                self.now += size
                self.most = max(self.most, self.now)
                weakref.finalize(storage, self._forget, id(storage), size)
        return result

    def _forget(self, number: int, size: int) -> None:
        self._known.discard(number)
        self.now -= size


def _tensors(result: Any) -> Iterator[Tensor]:
    if isinstance(result, Tensor):
        yield result
    elif isinstance(result, (tuple, list)):
        for one in result:
            yield from _tensors(one)
