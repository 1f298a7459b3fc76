"""What can be read off a network's representation of a degradation by a straight line, stored with the network."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

_WORDS = {
    "sigma": ("a Gaussian blur of sigma {value:.1f} pixels of the sharp picture", "blur"),
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
        if not self.weights or not all(isinstance(value, (int, float)) and np.isfinite(value) for value in values):
            raise ValueError("expected finite numbers in a probe.")


@dataclass(frozen=True)
class DegradationProbe:
    """Readings by the name of their quantity: ``sigma``, ``noise_level``."""

    readings: Mapping[str, Reading]
    """What can be read."""

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
        try:
            return cls(
                {
                    str(name): Reading(**{**reading, "weights": tuple(reading["weights"])})
                    for name, reading in json.loads(text).items()
                }
            )
        except (TypeError, KeyError, AttributeError) as error:
            raise ValueError(f"not a degradation probe ({error}).") from error
