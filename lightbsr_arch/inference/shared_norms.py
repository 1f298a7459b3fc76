"""GroupNorm in tiles by the statistics of the whole image."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode


class Moments(NamedTuple):
    """What a GroupNorm subtracts and divides by."""

    mean: Tensor
    """(1, groups, 1), float32."""
    variance: Tensor
    """(1, groups, 1), float32."""


class SharedNorms(TorchFunctionMode):
    """While active, ``group_norm`` of (N, C, H, W) takes the statistics of one image.

    The batch is taken for N patches of that image, whose statistics are taken together. All that are seen are kept, in order.

    Args:
        given: Statistics to take instead, in the order of the calls.
    """

    def __init__(self, given: Sequence[Moments] = ()) -> None:
        super().__init__()
        self.given = given
        self.values: list[Moments] = []

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if func not in (F.group_norm, torch.group_norm):
            return func(*args, **(kwargs or {}))
        return self._normalised(*args, **(kwargs or {}))

    def _normalised(
        self,
        input: Tensor,
        num_groups: int,
        weight: Tensor | None = None,
        bias: Tensor | None = None,
        eps: float = 1e-5,
        cudnn_enabled: bool = True,
    ) -> Tensor:
        channels = input.shape[1]
        if len(self.values) < len(self.given):
            moments = self.given[len(self.values)]
        else:
            grouped = input.unflatten(1, (num_groups, -1)).float()
            variance, mean = torch.var_mean(grouped, dim=(0, 2, 3, 4), correction=0)
            moments = Moments(mean.view(1, -1, 1), variance.view(1, -1, 1))
        self.values.append(moments)
        # One factor and one summand per channel.
        factor = (moments.variance + eps).rsqrt().expand(1, num_groups, channels // num_groups).flatten()
        mean = moments.mean.expand(1, num_groups, channels // num_groups).flatten()
        factor = factor if weight is None else factor * weight.float()
        summand = -mean * factor if bias is None else bias.float() - mean * factor
        return torch.addcmul(summand.to(input.dtype)[:, None, None], input, factor.to(input.dtype)[:, None, None])
