"""Where tiles lie in an image, and how their outputs are joined without a seam."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

ALIGNMENT = 4
"""Tiles begin at multiples of the degradation encoder's stride, so that its grid is the same in all of them."""

OVERLAP = 32
"""LR pixels that a tile shares with the next one."""

UNTRUSTED = 8
"""LR pixels next to a tile's inner edges that are not used: there the convolutions see padding instead of the image."""

SMALLEST_TILE = 3 * OVERLAP
"""Below it, most of what is computed would be overlap."""


@dataclass(frozen=True)
class Grid:
    """How the tiles of a network lie, in LR pixels."""

    alignment: int = ALIGNMENT
    """Tiles begin at multiples of it."""
    overlap: int = OVERLAP
    """What a tile shares with the next one."""
    untrusted: int = UNTRUSTED
    """Pixels next to a tile's inner edges that are not used."""


@dataclass(frozen=True)
class Span:
    """A tile's place along one axis, in LR pixels."""

    start: int
    """First pixel."""
    stop: int
    """Behind the last pixel."""
    ramp_in: tuple[int, int] | None
    """Where its weight rises from 0 to 1; None at the image's edge."""
    ramp_out: tuple[int, int] | None
    """Where its weight falls from 1 to 0; None at the image's edge."""

    @property
    def final(self) -> int:
        """Up to here no later tile changes the output."""
        return self.stop if self.ramp_out is None else self.ramp_out[0]

    def weights(self, scale: int) -> NDArray[np.float32]:
        """The weight of each of its output pixels; those of all spans sum to 1 everywhere."""
        at = (np.arange(self.start * scale, self.stop * scale, dtype=np.float32) + 0.5) / scale
        weights = np.ones_like(at)
        for ramp, sign in ((self.ramp_in, 1), (self.ramp_out, -1)):
            if ramp is not None:
                first, last = ramp
                rising = np.clip((at - first) / (last - first), 0, 1)
                weights *= rising if sign > 0 else 1 - rising
        return weights.astype(np.float32, copy=False)


def spans(length: int, tile: int, grid: Grid = Grid()) -> list[Span]:
    """Cut an axis into overlapping tiles.

    Args:
        length: Pixels of the axis.
        tile: Pixels of a tile, ``SMALLEST_TILE`` or more; the last one may have up to the grid's alignment more.
        grid: How the tiles lie.

    Returns:
        One span if the axis is not longer than a tile; else as few as cover it.

    Raises:
        ValueError: A tile below ``SMALLEST_TILE``.
    """
    if length <= tile:
        return [Span(0, length, None, None)]
    if tile < SMALLEST_TILE:
        raise ValueError(f"tile: expected {SMALLEST_TILE} or more, got {tile}.")
    tile -= tile % grid.alignment
    count = -(-(length - grid.overlap) // (tile - grid.overlap))
    ideal = [number * (length - tile) / (count - 1) for number in range(count)]
    starts = [int(start) // grid.alignment * grid.alignment for start in ideal]
    stops = [*(start + tile for start in starts[:-1]), length]
    half = grid.overlap // 2 - grid.untrusted
    middles = [(start + stop) // 2 for start, stop in zip(starts[1:], stops[:-1], strict=True)]
    ramps = [None, *((middle - half, middle + half) for middle in middles), None]
    return [Span(*place) for place in zip(starts, stops, ramps[:-1], ramps[1:], strict=True)]


Canvas = NDArray[Any]
"""An image (H, W, channels): uint8 or uint16 over their whole range, or float32 in [0, 1]."""

Compute = Callable[[Span, Span], NDArray[np.float32]]
"""Gives the output of the tile at a row and a column, (scale * height, scale * width, channels), about [0, 1]."""


def join_tiles(canvas: Canvas, rows: list[Span], columns: list[Span], scale: int, compute: Compute) -> None:
    """Compute all tiles and blend them where they overlap.

    No more than one row of tiles is held as floats at a time.

    Args:
        canvas: Where the output goes, (scale * H, scale * W, channels). Integers are rounded; all is clipped to [0, 1].
        rows: Of the image's height.
        columns: Of the image's width.
        scale: The factor between the network's input and its output.
        compute: Called once for each tile, row by row. What it returns is changed.
    """
    across = [column.weights(scale)[:, None] for column in columns]
    carried = np.zeros((0, *canvas.shape[1:]), dtype=np.float32)
    top = 0
    for row in rows:
        # What the row above has finished is not touched again: there this row's weight is 0.
        finished = top - row.start * scale
        band = np.zeros((row.stop * scale - top, *canvas.shape[1:]), dtype=np.float32)
        band[: len(carried)] = carried
        down = row.weights(scale)[finished:, None, None]
        for column, weights in zip(columns, across, strict=True):
            output = compute(row, column)[finished:]
            output *= down
            output *= weights
            band[:, column.start * scale : column.stop * scale] += output
        bottom = row.final * scale
        store(band[: bottom - top], canvas[top:bottom])
        carried, top = band[bottom - top :].copy(), bottom


def store(band: NDArray[np.float32], target: Canvas) -> None:
    """Write an output, about [0, 1], to a canvas of its shape: clipped, and integers rounded. The output is changed."""
    np.clip(band, 0, 1, out=band)
    if target.dtype == np.float32:
        target[...] = band
    else:
        band *= np.iinfo(target.dtype).max
        target[...] = np.rint(band, out=band)
