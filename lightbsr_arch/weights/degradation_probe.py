"""What can be read off a network's representation of a degradation by a straight line, stored with the network."""

from __future__ import annotations

import json
import math
import re
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightbsr_arch.display import printable
from lightbsr_arch.weights.probe_inverse import ProbeInverse

_WORDS = {
    "sigma": "a Gaussian blur of sigma {value:.1f} pixels of the sharp image",
    "noise_level": "noise of standard deviation {value:.0f} (of 255)",
    "jpeg_quality": "JPEG of quality {value:.0f}",
}
"""How a quantity is put in words."""

TOGETHER = (("sigma_1", "sigma_2"), ("stretch_x", "stretch_y"))
"""Quantities of anisotropic blur that mean something in pairs: the widths, and their difference towards the axes."""


@dataclass(frozen=True)
class Reading:
    """How one quantity is read: ``representation @ weights + bias``."""

    weights: tuple[float, ...]
    """One a value of the representation."""
    bias: float
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
    """Readings by the name of their quantity, such as ``sigma`` or ``noise_level``."""

    readings: Mapping[str, Reading]
    inverse: ProbeInverse | None = None
    """From quantities that it reads to the representation of images that have them; older files have none."""

    def __post_init__(self) -> None:
        """Check what a file may hold."""
        if not all(re.fullmatch(r"\w{1,40}", name) for name in self.readings):
            raise ValueError("expected words as the names of a probe's quantities.")
        if self.inverse is not None and not all(name in self.readings for name in self.inverse.ranges):
            raise ValueError("expected an inverse of quantities that the probe reads.")

    def fits(self, channels: int) -> bool:
        """Whether it reads representations with this number of channels."""
        if self.inverse is not None and not self.inverse.fits(channels):
            return False
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
        parts = [self._blur(values)] if all(name in values for name in TOGETHER[0]) else []
        for name, value in values.items():
            if any(name in pair for pair in TOGETHER):
                continue
            reading = self.readings[name]
            if name == "noise_level" and value <= 0:
                parts.append(f"no noise above {reading.error:.1g} (of 255)")
            elif name == "jpeg_quality" and value >= 100:
                parts.append("no JPEG artefacts")
            else:
                words = _WORDS.get(name, f"{name} {{value:.2g}}").format(value=value)
                at_most = " or more" if value >= reading.high else " or less" if value <= reading.low else ""
                parts.append(f"{words}{at_most}, give or take {reading.error:.1g}")
        return "looks like " + (" and ".join(parts) or "nothing that this probe can name")

    def _blur(self, values: Mapping[str, float]) -> str:
        """An anisotropic blur: its widths, and the angle where it is not as good as round."""
        widths = sorted(((values[name], self.readings[name].error) for name in TOGETHER[0]), reverse=True)
        (wide, wide_error), (narrow, narrow_error) = widths
        words = (
            f"a Gaussian blur of sigma {wide:.1f} pixels of the sharp image, give or take {wide_error:.1g}, along its wider "
            f"axis and {narrow:.1f}, give or take {narrow_error:.1g}, across it"
        )
        if not all(name in values for name in TOGETHER[1]):
            return words
        x, y = (values[name] for name in TOGETHER[1])
        length, error = math.hypot(x, y), math.hypot(*(self.readings[name].error for name in TOGETHER[1]))
        if length <= error:
            return words
        angle, off = math.degrees(math.atan2(y, x) / 2) % 180, math.degrees(math.atan2(error, length) / 2)
        return f"{words}, the wider axis {angle:.0f} degrees clockwise from horizontal, give or take {off:.0f}"

    def to_json(self) -> str:
        """The readings as text; the inverse has its own."""
        return json.dumps({name: asdict(reading) for name, reading in self.readings.items()})

    @classmethod
    def from_json(cls, text: str) -> DegradationProbe:
        """From text.

        Raises:
            ValueError: It is no probe.
        """
        return cls.of(json.loads(text))

    @classmethod
    def of(cls, readings: Any, inverse: Any = None) -> DegradationProbe:
        """From what JSON gave; an inverse from what it gave of that.

        Raises:
            ValueError: It is no probe.
        """
        try:
            return cls(
                {name: Reading(**{**one, "weights": tuple(one["weights"])}) for name, one in readings.items()},
                None if inverse is None else ProbeInverse.of(inverse),
            )
        except (TypeError, KeyError, AttributeError) as error:
            raise ValueError(f"not a degradation probe ({printable(error, 80)}).") from error
