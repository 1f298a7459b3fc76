"""The middle of an image alone, restored as it would be in the whole."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from lightbsr_arch.inference.source import UPRIGHT, Source
from lightbsr_arch.inference.tiled_network import TiledNetwork
from lightbsr_arch.inference.tiles import Canvas, Grid, Span, store


def restore_middle(net: TiledNetwork, pixels: Canvas, side: int, shift: Tensor | None = None) -> Canvas:
    """The middle of an image, restored as a tile of it.

    Args:
        net: The network.
        pixels: The image, (H, W, 3).
        side: Side of the part in LR pixels; less where the image is smaller.
        shift: As for :func:`restore`.

    Returns:
        (scale * side, scale * side, 3), in the image's type.
    """
    source = Source(pixels, net.device)
    middle = [_middle(length, side, net.grid) for length in (source.height, source.width)]
    (row, top, bottom), (column, left, right) = middle
    shared = net.look_at(source, row.stop - row.start, shift)
    place = UPRIGHT[0].place(row, column, source.height, source.width)
    output = net(source.piece(row.start, row.stop, column.start, column.stop), net.share_of(shared, place), shift)
    output = output[:, :, (top - row.start) * net.scale : (bottom - row.start) * net.scale]
    output = output[:, :, :, (left - column.start) * net.scale : (right - column.start) * net.scale]
    part = np.empty((*output.shape[2:], 3), dtype=pixels.dtype)
    store(output[0].permute(1, 2, 0).float().cpu().numpy(), part)
    return part


def _middle(length: int, side: int, grid: Grid) -> tuple[Span, int, int]:
    """The tile around the middle of a side, and where the middle begins and ends."""
    side = min(side, length)
    begin = (length - side) // 2
    start = max(0, begin - grid.overlap) // grid.alignment * grid.alignment
    return Span(start, min(length, begin + side + grid.overlap), None, None), begin, begin + side
