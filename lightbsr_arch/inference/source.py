"""An image in the computer's memory, from which a network takes pieces."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lightbsr_arch.inference.tiles import Canvas, Span
from lightbsr_arch.layers.image import Place


@dataclass(frozen=True)
class Source:
    """An image that stays where it is; only pieces of it go to the device, as floats."""

    pixels: Canvas
    """(H, W, channels)."""
    device: torch.device
    """Where the pieces go."""

    @property
    def height(self) -> int:
        """Rows."""
        return self.pixels.shape[0]

    @property
    def width(self) -> int:
        """Columns."""
        return self.pixels.shape[1]

    def piece(self, top: int, bottom: int, left: int, right: int) -> Tensor:
        """A part of the image, (1, channels, rows, columns) in [0, 1]; cut off where the image ends."""
        part = self.pixels[top:bottom, left:right]
        # torch takes neither negative strides nor memory that must not be written.
        # (numpy calls an array contiguous whatever the stride of a side of length 1.)
        part = part.copy() if not part.flags.writeable or min(part.strides) < 0 else np.ascontiguousarray(part)
        floats = torch.from_numpy(part).to(torch.float32).to(self.device).permute(2, 0, 1)[None]
        return floats if part.dtype == np.float32 else floats / np.iinfo(part.dtype).max


@dataclass(frozen=True)
class Orientation:
    """One of the eight ways to turn and mirror an image."""

    turns: int
    """Quarter turns, counterclockwise."""
    mirrored: bool
    """Left and right change places after turning."""

    def apply(self, image: Any) -> Any:
        """The image (H, W, channels) that way; a view."""
        turned = np.rot90(image, self.turns)
        return turned[:, ::-1] if self.mirrored else turned

    def place(self, row: Span, column: Span, height: int, width: int) -> Place:
        """Where a tile of an upright image, of this height and width, lies in the image that way."""
        top, bottom, left, right = row.start, row.stop, column.start, column.stop
        for _ in range(self.turns % 4):
            top, bottom, left, right = width - right, width - left, top, bottom
            height, width = width, height
        return Place(top, width - right if self.mirrored else left, height, width)

    def undo(self, image: Any) -> Any:
        """The image as it was; a view."""
        return np.rot90(image[:, ::-1] if self.mirrored else image, -self.turns)


UPRIGHT = (Orientation(0, False),)
"""As it is."""

ORIENTATIONS = tuple(Orientation(turns, mirrored) for mirrored in (False, True) for turns in range(4))
"""All eight, as it is first: a self-ensemble averages over them (EDSR, arXiv 1707.02921, section 3.4)."""
