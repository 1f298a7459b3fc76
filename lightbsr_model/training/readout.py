"""Reading the degradation off a representation while the network trains: ``train.degradation_opt``."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from lightbsr_arch.errors import OptionError
from lightbsr_model.degradation.base import Degradation, Params


class DegradationReadout(nn.Module):
    """A linear map from a representation to the true quantities of its degradation.

    Args:
        channels: Length of the representation.
        ranges: Ranges of the quantities, see :meth:`Degradation.quantities`.
    """

    middle: Tensor
    half_range: Tensor

    def __init__(self, channels: int, ranges: Mapping[str, tuple[float, float]]) -> None:
        super().__init__()
        self.linear = nn.Linear(channels, len(ranges))
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)
        ends = torch.tensor(list(ranges.values()))
        self.register_buffer("middle", ends.mean(dim=1))
        self.register_buffer("half_range", (ends[:, 1] - ends[:, 0]) / 2)

    def forward(self, representation: Tensor) -> Tensor:
        """Read (N, channels) as (N, number of quantities), each from -1 to 1 over its range."""
        reading: Tensor = self.linear(representation)
        return reading

    def normalised(self, values: Tensor) -> Tensor:
        """Quantities in plain units, (N, number of quantities), as :meth:`forward` reads them."""
        return (values - self.middle) / self.half_range


def build_readout(net: Any, degradation: Degradation) -> DegradationReadout:
    """The read-out of a network's representation of the degradations that it trains on.

    Raises:
        OptionError: The network does not estimate the degradation from an LR image, or nothing about it varies.
    """
    if not hasattr(net, "represent") or len(inspect.signature(net.represent).parameters) != 1:
        raise OptionError(
            "train.degradation_opt",
            f"{type(net).__name__} does not estimate the degradation from the LR image alone: leave it out.",
        )
    ranges = degradation.quantities()
    if not ranges:
        raise OptionError(
            "train.degradation_opt", "nothing varies in the degradations of datasets.train: there is nothing to read."
        )
    device = next(net.parameters()).device
    was_training = net.training
    with torch.no_grad():
        channels = net.eval().represent(torch.zeros(1, 3, 16, 16, device=device)).shape[1]
    net.train(was_training)
    return DegradationReadout(channels, ranges).to(device)


def true_quantities(degradation: Degradation, params: Params | None) -> Tensor:
    """The true quantities of a batch.

    Raises:
        OptionError: The batch does not say how it was degraded.
    """
    if params is None or any(name not in params for name in degradation.names):
        raise OptionError(
            "train.degradation_opt",
            f"a batch has no {', '.join(degradation.names)}: take BlindDegradationPairedDataset with a preset.",
        )
    return degradation.measure(params)
