"""Random crops of an image, flipped and turned, decoded as far as they need."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from lightbsr_model.data.row_decoding import EncodedImage


@dataclass(frozen=True)
class Crop:
    """A square of an image, and how it is laid out."""

    top: int
    left: int
    size: int
    flip: bool = False
    """Mirror it left to right, before turning."""
    turns: int = 0
    """Quarter turns counterclockwise."""

    def enlarged(self, scale: int) -> Crop:
        """The same place in an image that is ``scale`` times as large."""
        return replace(self, top=self.top * scale, left=self.left * scale, size=self.size * scale)


def draw_crop(
    image_size: tuple[int, int], size: int, use_hflip: bool, use_rot: bool, generator: torch.Generator
) -> Crop:
    """Draw a crop, every offset, flip and turn equally likely.

    Args:
        image_size: Height and width of the image, ``size`` at least.
        size: Side of the crop.
        use_hflip: Flip at random.
        use_rot: Turn at random.
        generator: As many values are drawn from it whatever is switched on.
    """
    limits = (*(side - size + 1 for side in image_size), 2, 4)
    top, left, flip, turns = (int(torch.randint(0, limit, (), generator=generator)) for limit in limits)
    return Crop(top, left, size, bool(flip and use_hflip), turns if use_rot else 0)


def cut_crops(image: EncodedImage, crops: Sequence[Crop]) -> Tensor:
    """Cut crops of one size out of an image.

    Returns:
        (crops, 3, size, size), uint8.

    Raises:
        ImageError: The file cannot be read as far down as they reach.
    """
    first = min(crop.top for crop in crops)
    band = image.rows(first, max(crop.top + crop.size for crop in crops))
    patches = []
    for crop in crops:
        patch = band[crop.top - first : crop.top - first + crop.size, crop.left : crop.left + crop.size]
        patches.append(np.rot90(patch[:, ::-1] if crop.flip else patch, crop.turns).transpose(2, 0, 1))
    return torch.from_numpy(np.stack(patches))
