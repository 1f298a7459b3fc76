"""Bicubic interpolation of whole images, part by part: of alpha, for comparison, and to shrink before restoring."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch.nn import functional as F

from lightbsr_arch.inference.source import Source
from lightbsr_arch.inference.tiles import Canvas, Span, join_tiles, spans

_CPU = torch.device("cpu")
_TILE = 1024


def enlarge(pixels: Canvas, scale: int) -> Canvas:
    """Bicubic interpolation (a = -0.75, as in most viewers) of (H, W, channels) by a whole factor."""
    height, width, channels = pixels.shape
    canvas = np.empty((height * scale, width * scale, channels), dtype=pixels.dtype)
    if (pixels == pixels[0, 0]).all():  # opaque alpha above all
        canvas[...] = pixels[0, 0]
        return canvas
    source = Source(pixels, _CPU)

    def compute(row: Span, column: Span) -> Any:
        piece = source.piece(row.start, row.stop, column.start, column.stop)
        return F.interpolate(piece, scale_factor=scale, mode="bicubic")[0].permute(1, 2, 0).numpy()

    join_tiles(canvas, spans(height, _TILE), spans(width, _TILE), scale, compute)
    return canvas


def shrink(pixels: Canvas, factor: float) -> Canvas:
    """Antialiased bicubic interpolation of (H, W, channels) by ``1 / factor``, to one pixel a side or more."""
    height, width = (max(1, round(side / factor)) for side in pixels.shape[:2])
    floats = Source(pixels, _CPU).piece(0, pixels.shape[0], 0, pixels.shape[1])
    small = F.interpolate(floats, (height, width), mode="bicubic", antialias=True)[0].permute(1, 2, 0).clamp_(0, 1)
    if pixels.dtype == np.float32:
        return small.numpy()
    return np.rint(small.numpy() * np.iinfo(pixels.dtype).max).astype(pixels.dtype)


_BAND = 256
"""Rows of a shrunk image that are computed at a time."""

_REACH = 4
"""Rows of a shrunk image, on each side, that its filter reaches further than; it needs two."""


def shrink_by_bands(pixels: Canvas, factor: int) -> Canvas:
    """As :func:`shrink`, by a whole factor that divides the sides, with less memory for large images."""
    height = pixels.shape[0] // factor
    bands = []
    for top in range(0, height, _BAND):
        above, bottom = min(top, _REACH), min(top + _BAND, height)
        piece = pixels[(top - above) * factor : (bottom + _REACH) * factor]
        bands.append(shrink(piece, factor)[above : above + bottom - top])
    return np.concatenate(bands)
