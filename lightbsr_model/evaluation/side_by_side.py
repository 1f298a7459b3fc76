"""Pictures that put several versions of one image side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from lightbsr_model.data.decoding import RGBImage


class Box(NamedTuple):
    """A part of an image, in pixels."""

    left: int
    """From the left edge."""
    top: int
    """From the upper edge."""
    width: int
    """Columns."""
    height: int
    """Rows."""


@dataclass(frozen=True)
class Panel:
    """One version of the image."""

    image: RGBImage
    """(H, W, 3), 0..255; the same H and W in all panels of a picture."""
    title: str
    """The line above."""
    caption: str = ""
    """The line below."""


def side_by_side(panels: Sequence[Panel], crop: int = 200, zoom: int = 2, box: Box | None = None) -> RGBImage:
    """Show the same part of each panel, enlarged by pixel repetition, with its title and caption.

    Args:
        panels: From left to right.
        crop: Side of the middle that is shown, in pixels; less where the image is smaller.
        zoom: Pixel repetition.
        box: The part that is shown instead of the middle.

    Returns:
        The picture, (H, W, 3).

    Raises:
        ValueError: Panels of different sizes.
    """
    shapes = {panel.image.shape for panel in panels}
    if len(shapes) != 1:
        raise ValueError(f"panels: expected images of one size, got {sorted(shapes)}.")
    height, width = next(iter(shapes))[:2]
    if box is None:
        crop_height, crop_width = min(crop, height), min(crop, width)
        box = Box((width - crop_width) // 2, (height - crop_height) // 2, crop_width, crop_height)
    tile_width, tile_height, gap, line = box.width * zoom, box.height * zoom, 8, 26
    canvas = Image.new("RGB", (len(panels) * (tile_width + gap) - gap, tile_height + 2 * line), "white")
    draw = ImageDraw.Draw(canvas)
    font = ImageFont.load_default(size=18)
    for number, panel in enumerate(panels):
        x = number * (tile_width + gap)
        part = panel.image[box.top : box.top + box.height, box.left : box.left + box.width]
        canvas.paste(Image.fromarray(part.repeat(zoom, axis=0).repeat(zoom, axis=1)), (x, line))
        for text, y in ((panel.title, 0), (panel.caption, line + tile_height)):
            draw.text((x + tile_width / 2, y + line / 2), text, fill="black", font=font, anchor="mm")
    return np.asarray(canvas)
