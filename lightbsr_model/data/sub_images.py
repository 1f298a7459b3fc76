"""Overlapping sub-images of large images, cut where BasicSR's ``extract_subimages`` cuts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from lightbsr_arch.errors import OptionError
from lightbsr_model.data.decoding import RGBImage


@dataclass(frozen=True)
class SubImageGrid:
    """Squares of one size at equal steps, and a last one flush with the edge."""

    size: int = 480
    """Side of a sub-image. An image that is smaller in one direction is taken whole in that direction."""
    step: int = 240
    """From one sub-image to the next."""
    threshold: int = 0
    """The last one is left out if it would add at most this number of new pixels."""

    def __post_init__(self) -> None:
        """Check the values.

        Raises:
            OptionError: Naming the value, what came and what was expected.
        """
        if self.size < 1:
            raise OptionError(f"--size: expected 1 or more, got {self.size}.")
        if not self.step >= 1:
            raise OptionError(f"--step: expected 1 or more, got {self.step}.")
        if self.threshold < 0:
            raise OptionError(f"--threshold: expected 0 or more, got {self.threshold}.")

    def starts(self, length: int) -> list[int]:
        """Where sub-images start along a side of ``length`` pixels."""
        if length <= self.size:
            return [0]
        starts = list(range(0, length - self.size + 1, self.step))
        if length - (starts[-1] + self.size) > self.threshold:
            starts.append(length - self.size)
        return starts

    def cut(self, image: RGBImage) -> Iterator[RGBImage]:
        """The sub-images, row by row."""
        for top in self.starts(image.shape[0]):
            for left in self.starts(image.shape[1]):
                yield image[top : top + self.size, left : left + self.size]
