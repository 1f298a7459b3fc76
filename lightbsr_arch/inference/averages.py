"""The averages over all pixels that a network takes inside, made those of a whole image.

A channel gate, or a code that is a map's average, sees an image as a whole; a tile's own average would be another one, and
tiles would differ in brightness or sharpness where they meet.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from lightbsr_arch.inference.parts import Part


class SharedAverages(TorchFunctionMode):
    """While active, ``x.mean(dim=(2, 3))`` and ``AdaptiveAvgPool2d(1)`` of (N, C, H, W) are averages of one image.

    The batch is taken for N patches of that image. All that are seen are kept, in order.

    Args:
        given: The first averages, (1, C) each, in the order in which the network takes them; later ones are taken over the
            batch and its pixels together.
        part: Takes averages over this part of its surroundings alone.
    """

    def __init__(self, given: Sequence[Tensor] = (), part: Part | None = None) -> None:
        super().__init__()
        self.given, self.part = given, part
        self.values: list[Tensor] = []
        self.cells: list[int] = []
        """Number of cells that each value is the average of; 0 for those that were given."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        keeps_dims = _keeps_dims(func, *args, **kwargs)
        if keeps_dims is None:
            return func(*args, **kwargs)
        x: Tensor = args[0] if args else kwargs["input"]
        if len(self.values) < len(self.given):
            mean, cells = self.given[len(self.values)], 0
        else:
            inner = x if self.part is None else self.part.inner(x)
            mean = inner.mean(dim=(0, 2, 3), dtype=torch.float32)[None]
            cells = inner.shape[0] * inner.shape[2] * inner.shape[3]
        self.values.append(mean)
        self.cells.append(cells)
        together = mean.to(x.dtype).expand(x.shape[0], -1)
        return together[:, :, None, None] if keeps_dims else together


def _keeps_dims(func: Callable[..., Any], *args: Any, **kwargs: Any) -> bool | None:
    """Whether an average over all pixels keeps its dimensions; None for any other call."""
    if func in (torch.mean, torch.Tensor.mean):
        return _mean_keeps_dims(*args, **kwargs)
    if func is F.adaptive_avg_pool2d:
        return _pool_keeps_dims(*args, **kwargs)
    return None


def _mean_keeps_dims(input: Tensor, dim: Any = None, keepdim: bool = False, **_: Any) -> bool | None:
    is_of_pixels = input.dim() == 4 and isinstance(dim, (tuple, list)) and {axis % 4 for axis in dim} == {2, 3}
    return keepdim if is_of_pixels else None


def _pool_keeps_dims(input: Tensor, output_size: Any) -> bool | None:
    return True if input.dim() == 4 and output_size in (1, (1, 1), [1, 1]) else None
