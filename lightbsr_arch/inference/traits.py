"""What running a network asks for and its class does not say: its scale, the sizes that it takes, the memory it needs.

Found out by running it on a few pixels.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from lightbsr_arch.errors import RAISED_BY_NETWORKS, OptionError
from lightbsr_arch.inference.averages import SharedAverages

_MULTIPLES = (1, 2, 3, 4, 6, 7, 8, 12, 16, 24, 32, 48, 64)
"""What sides may have to be multiples of: window sizes, and powers of 2."""

_TIMES = 5
"""Sides are tried at this many times a multiple: that is a multiple of none of the larger ones."""


@dataclass(frozen=True)
class Traits:
    """What is known of a network."""

    scale: int
    """The factor between its input and its output."""
    size_multiple: int
    """What its input's sides must be multiples of."""
    averages: int
    """Number of averages over all pixels that it takes inside."""
    values_per_pixel: int
    """Most values that it holds at a time, for each pixel of its input."""


def find_traits(net: nn.Module, scale: int | None = None, size_multiple: int | None = None) -> Traits:
    """Find out what is not stated.

    Args:
        net: From (N, 3, H, W) to (N, 3, scale * H, scale * W), on the CPU, in evaluation mode.
        scale: As stated; None finds it out.
        size_multiple: As stated; None finds it out.

    Raises:
        OptionError: A number that is none, a scale that is another than the network's, or a network that does not map an
            RGB image to a larger one.
    """
    for name, value in (("scale", scale), ("size_multiple", size_multiple)):
        if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < 1):
            raise OptionError(f"{name}: expected an integer >= 1, got {value!r}.")
    first = ""
    for multiple in _MULTIPLES if size_multiple is None else (size_multiple,):
        try:
            traits = _run(net, multiple)
        except RAISED_BY_NETWORKS as error:
            first = first or (str(error).partition("\n")[0] or type(error).__name__)
            continue
        if scale not in (None, traits.scale):
            raise OptionError(f"scale: {scale} is stated, but this network enlarges by {traits.scale}; correct it.")
        return traits
    tried = (
        f"of up to {_TIMES * _MULTIPLES[-1]} pixels" if size_multiple is None else f"of {_TIMES * size_multiple} pixels"
    )
    raise OptionError(
        f"{type(net).__name__}: expected a network from one RGB image to one that is 1, 2, 3, ... times as large; given "
        f"squares {tried}, it says: {first}"
    )


def _run(net: nn.Module, multiple: int) -> Traits:
    side = _TIMES * multiple
    with torch.no_grad(), LiveValues() as live, SharedAverages() as averages:
        output = net(torch.full((1, 3, side, side), 0.5))
    if not isinstance(output, Tensor):
        raise ValueError(f"output of type {type(output).__name__}")
    scale = output.shape[-1] // side
    if scale < 1 or tuple(output.shape) != (1, 3, scale * side, scale * side):
        raise ValueError(f"output {tuple(output.shape)} for input (1, 3, {side}, {side})")
    return Traits(scale, multiple, len(averages.values), -(-live.most // side**2))


class LiveValues(TorchFunctionMode):
    """While active, counts the values that functions' results hold, in float32's size; what they hold inside is not seen."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.most = 0
        self._known: set[int] = set()

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
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
