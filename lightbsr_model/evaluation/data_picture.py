"""A figure of what a network will see: GT patches, their LR images, kernels and noise levels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from lightbsr_model.data.decoding import RGBImage

_GAP, _LINE, _CELL = 8, 22, 192


@dataclass(frozen=True)
class Cell:
    """One image of a row."""

    image: RGBImage
    """(H, W, 3), 0..255, shown enlarged or shrunk by pixel repetition."""
    caption: str
    """The line below."""


def rows_picture(rows: Sequence[tuple[str, Sequence[Cell]]]) -> RGBImage:
    """Lay out rows of images, each with a line of text above it.

    Args:
        rows: Title and cells.

    Returns:
        The figure, (H, W, 3).
    """
    width = max(len(cells) for _, cells in rows) * (_CELL + _GAP) + _GAP
    height = len(rows) * (_CELL + 2 * _LINE + _GAP)
    canvas = Image.new("RGB", (width, height), "white")
    draw = ImageDraw.Draw(canvas)
    font = ImageFont.load_default(size=14)
    for row, (title, cells) in enumerate(rows):
        y = row * (_CELL + 2 * _LINE + _GAP)
        draw.text((_GAP, y + _LINE / 2), title, fill="black", font=font, anchor="lm")
        for column, cell in enumerate(cells):
            x = _GAP + column * (_CELL + _GAP)
            shown = Image.fromarray(cell.image).resize((_CELL, _CELL), Image.Resampling.NEAREST)
            canvas.paste(shown, (x, y + _LINE))
            draw.text((x + _CELL / 2, y + _LINE * 1.5 + _CELL), cell.caption, fill="black", font=font, anchor="mm")
    return np.asarray(canvas)
