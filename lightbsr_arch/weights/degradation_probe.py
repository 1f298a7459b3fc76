"""What can be read off a network's representation of a degradation by a straight line, stored with the network."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightbsr_arch.display import printable

_WORDS = {
    "sigma": ("a Gaussian blur of sigma {value:.1f} pixels of the sharp image", "blur"),
    "noise_level": ("noise of standard deviation {value:.0f} (of 255)", "noise"),
}
"""How a quantity is put, and what it is of."""


@dataclass(frozen=True)
class Reading:
    """How one quantity is read: ``representation @ weights + bias``."""

    weights: tuple[float, ...]
    """One a value of the representation."""
    bias: float
    """The constant."""
    low: float
    """Smallest value that the probe was made with."""
    high: float
    """Largest one."""
    error: float
    """Root mean square error on images that the probe did not see."""
    r2: float
    """R^2 on those images."""

    def __post_init__(self) -> None:
        """Check what a file may hold."""
        values = (*self.weights, self.bias, self.low, self.high, self.error, self.r2)
        # A float's range first: numpy knows no integer of three hundred digits.
        if not self.weights or not all(
            isinstance(value, (int, float)) and abs(value) <= sys.float_info.max for value in values
        ):
            raise ValueError("expected finite numbers in a probe.")
        if self.low > self.high:
            raise ValueError("expected the smallest value of a probe below the largest.")


@dataclass(frozen=True)
class DegradationProbe:
    """Readings by the name of their quantity: ``sigma``, ``noise_level``."""

    readings: Mapping[str, Reading]
    """What can be read."""

    def __post_init__(self) -> None:
        """Check what a file may hold."""
        if not all(re.fullmatch(r"\w{1,40}", name) for name in self.readings):
            raise ValueError("expected words as the names of a probe's quantities.")

    def fits(self, channels: int) -> bool:
        """Whether it reads representations with this number of channels."""
        return all(len(reading.weights) == channels for reading in self.readings.values())

    def read(self, representation: NDArray[np.float32]) -> dict[str, float]:
        """The quantities, kept in the range that the probe was made with.

        Args:
            representation: (channels,), an image's, see ``LightBSR.represent``.
        """
        return {
            name: float(np.clip(representation @ np.asarray(reading.weights) + reading.bias, reading.low, reading.high))
            for name, reading in self.readings.items()
        }

    def describe(self, values: Mapping[str, float]) -> str:
        """What was read, in plain words, with how far it may be off."""
        parts = []
        for name, value in values.items():
            reading = self.readings[name]
            words = _WORDS.get(name, (f"{name} {{value:.2g}}", name))[0].format(value=value)
            at_most = " or more" if value >= reading.high else " or less" if value <= reading.low else ""
            parts.append(f"{words}{at_most}, give or take {reading.error:.1g}")
        return "looks like " + " and ".join(parts)

    def to_json(self) -> str:
        """As text."""
        return json.dumps({name: asdict(reading) for name, reading in self.readings.items()})

    @classmethod
    def from_json(cls, text: str) -> DegradationProbe:
        """From text.

        Raises:
            ValueError: It is no probe.
        """
        return cls.of(json.loads(text))

    @classmethod
    def of(cls, readings: Any) -> DegradationProbe:
        """From what JSON gave.

        Raises:
            ValueError: It is no probe.
        """
        try:
            return cls({name: Reading(**{**one, "weights": tuple(one["weights"])}) for name, one in readings.items()})
        except (TypeError, KeyError, AttributeError) as error:
            raise ValueError(f"not a degradation probe ({printable(error, 80)}).") from error
