"""One image through one network: as a whole or in tiles, once or in eight orientations."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor

from lightbsr_arch.inference.source import UPRIGHT, Orientation, Source
from lightbsr_arch.inference.tiled_network import TiledNetwork
from lightbsr_arch.inference.tiles import Canvas, Span, join_tiles, spans

Progress = Callable[[float], None]
"""Called with the share of an image that is done, from 0 to 1."""


class NotFiniteError(ArithmeticError):
    """A network gave NaN or infinity."""


def restore(
    net: TiledNetwork,
    pixels: Canvas,
    canvas: Canvas,
    tile: int | None,
    orientations: Sequence[Orientation] = UPRIGHT,
    progress: Progress | None = None,
    shift: Tensor | None = None,
) -> None:
    """Super-resolve an image.

    Tiles share what the network makes of the image as a whole, such as the representation of its degradation: all of them
    are restored by one and the same function.

    Args:
        net: The network.
        pixels: The image, (H, W, 3); stays where it is.
        canvas: Where the output goes, (scale * H, scale * W, 3).
        tile: Side of a tile in LR pixels; None takes the image whole.
        orientations: The outputs of all of these are averaged.
        progress: Called with the share that is done.
        shift: (1, channels), added to the representation of the image's degradation.

    Raises:
        NotFiniteError: The network gave NaN or infinity.
    """
    source = Source(pixels, net.device)
    side = max(source.height, source.width) if tile is None else tile
    rows, columns = spans(source.height, side, net.grid), spans(source.width, side, net.grid)
    shared: list[Any] = [None] * len(orientations)
    tiled = len(rows) * len(columns) > 1
    if tiled:
        shared = [net.look_at(Source(way.apply(pixels), net.device), side, shift) for way in orientations]
    computed, total = 0, len(rows) * len(columns) * len(orientations)

    def compute(row: Span, column: Span) -> Any:
        nonlocal computed
        part = pixels[row.start : row.stop, column.start : column.stop]
        outputs: Any = 0
        for way, whole in zip(orientations, shared, strict=True):
            turned = Source(way.apply(part), net.device)
            given = None
            if tiled:
                given = net.share_of(whole, way.place(row, column, source.height, source.width))
            output = net(turned.piece(0, turned.height, 0, turned.width), given, shift)
            if not bool(output.isfinite().all()):
                raise NotFiniteError
            outputs = outputs + way.undo(output[0].permute(1, 2, 0).float().cpu().numpy())
            computed += 1
            if progress is not None:
                progress(computed / total)
        return outputs if len(orientations) == 1 else outputs / len(orientations)

    join_tiles(canvas, rows, columns, net.scale, compute)


def halves(progress: Progress | None) -> tuple[Progress | None, Progress | None]:
    """The progress of the first and the second of two restorations of one image."""
    if progress is None:
        return None, None
    whole = progress
    return lambda share: whole(share / 2), lambda share: whole((1 + share) / 2)
