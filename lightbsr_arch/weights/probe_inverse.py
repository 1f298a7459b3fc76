"""From a degradation to the representation that a network makes of images under it, stored with the network."""

from __future__ import annotations

import json
import math
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations_with_replacement
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightbsr_arch.display import printable


def terms(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """All products of at most two of a sample's values: (samples, values) to (samples, terms), the constant first."""
    count = values.shape[1]
    products = [values[:, one] * values[:, other] for one, other in combinations_with_replacement(range(count), 2)]
    return np.stack([np.ones(len(values)), *values.T, *products], axis=1)


@dataclass(frozen=True)
class ProbeInverse:
    """The mean representation of images under a degradation: a polynomial of degree 2 in the degradation's quantities.

    It is fitted on representations, not solved from a probe's weights: a step along those weights changes what the probe reads,
    and nothing of what the SR network does, since most of them stand for small differences between representations
    (docs/steering.md has the figures).
    """

    ranges: Mapping[str, tuple[float, float]]
    """Smallest and largest value that it was fitted on, by the quantity's name."""
    weights: tuple[tuple[float, ...], ...]
    """One row per term, one value per channel of the representation."""

    def __post_init__(self) -> None:
        """Check what a file may hold."""
        count = len(self.ranges)
        if not count or not all(re.fullmatch(r"\w{1,40}", name) for name in self.ranges):
            raise ValueError("expected words as the names of a probe inverse's quantities.")
        numbers = [value for row in self.weights for value in row] + [
            end for ends in self.ranges.values() for end in ends
        ]
        if not all(isinstance(value, (int, float)) and abs(value) <= sys.float_info.max for value in numbers):
            raise ValueError("expected finite numbers in a probe inverse.")
        if not all(low < high for low, high in self.ranges.values()):
            raise ValueError("expected the smallest value of a probe inverse below the largest.")
        if len(self.weights) != math.comb(count + 2, 2) or len({len(row) for row in self.weights}) != 1:
            raise ValueError(f"expected {math.comb(count + 2, 2)} rows of one length in a probe inverse.")

    def fits(self, channels: int) -> bool:
        """Whether it gives representations with this number of channels."""
        return len(self.weights[0]) == channels

    def representation(self, values: Mapping[str, float]) -> NDArray[np.float32]:
        """The mean representation under a degradation, (channels,).

        Args:
            values: Every one of its quantities, in its range.
        """
        scaled = [[2 * (values[name] - low) / (high - low) - 1 for name, (low, high) in self.ranges.items()]]
        return (terms(np.array(scaled, dtype=np.float64)) @ np.array(self.weights))[0].astype(np.float32)

    @classmethod
    def fit(
        cls,
        ranges: Mapping[str, tuple[float, float]],
        values: NDArray[np.float64],
        representations: NDArray[np.float64],
    ) -> ProbeInverse:
        """Fit it by least squares.

        Args:
            ranges: By the quantities' names.
            values: (samples, quantities), in the ranges' order.
            representations: (samples, channels).
        """
        low, high = (np.array([ends[end] for ends in ranges.values()]) for end in (0, 1))
        weights, *_ = np.linalg.lstsq(terms(2 * (values - low) / (high - low) - 1), representations, rcond=None)
        # Six digits: the file stays small, and the rest is noise.
        return cls(dict(ranges), tuple(tuple(float(f"{value:.6g}") for value in row) for row in weights))

    def to_json(self) -> str:
        """As text."""
        return json.dumps({"ranges": {name: list(ends) for name, ends in self.ranges.items()}, "weights": self.weights})

    @classmethod
    def of(cls, content: Any) -> ProbeInverse:
        """From what JSON gave.

        Raises:
            ValueError: It is no inverse of a probe.
        """
        try:
            ranges = {name: (low, high) for name, (low, high) in content["ranges"].items()}
            return cls(ranges, tuple(tuple(row) for row in content["weights"]))
        except (TypeError, KeyError, AttributeError) as error:
            raise ValueError(f"not the inverse of a probe ({printable(error, 80)}).") from error
