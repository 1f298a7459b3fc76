"""Pictures that put several versions of one image side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

RGBImage = NDArray[np.uint8]
"""(H, W, 3), 0 to 255."""


class Box(NamedTuple):
    """A part of an image, in pixels."""

    left: int
    top: int
    width: int
    height: int


@dataclass(frozen=True)
class Panel:
    """One version of the image."""

    image: RGBImage
    """(H, W, 3), 0..255; the same H and W in all panels of an image."""
    title: str
    """The line above."""
    caption: str = ""
    """The line below."""


def side_by_side(
    panels: Sequence[Panel], crop: int = 200, zoom: int = 2, box: Box | None = None, columns: int | None = None
) -> RGBImage:
    """Show the same part of each panel, enlarged by pixel repetition, with its title and caption.

    Args:
        panels: From left to right.
        crop: Side of the middle that is shown, in pixels; less where the image is smaller.
        zoom: Pixel repetition.
        box: The part that is shown instead of the middle.
        columns: So many panels a row; more begin another row. None puts all in one.

    Returns:
        The image, (H, W, 3).

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
    columns = min(columns or len(panels), len(panels))
    rows = -(-len(panels) // columns)
    row_height = tile_height + 2 * line
    canvas = Image.new("RGB", (columns * (tile_width + gap) - gap, rows * row_height), "white")
    draw = ImageDraw.Draw(canvas)
    font = ImageFont.load_default(size=18)
    for number, panel in enumerate(panels):
        x, y = number % columns * (tile_width + gap), number // columns * row_height
        part = panel.image[box.top : box.top + box.height, box.left : box.left + box.width]
        canvas.paste(Image.fromarray(part.repeat(zoom, axis=0).repeat(zoom, axis=1)), (x, y + line))
        for text, below in ((panel.title, 0), (panel.caption, line + tile_height)):
            draw.text((x + tile_width / 2, y + below + line / 2), text, fill="black", font=font, anchor="mm")
    return np.asarray(canvas)
