"""One image through one network: as a whole or in tiles, once or in eight orientations."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor

from lightbsr_arch.inference.lightbsr.network import InferenceLightBSR
from lightbsr_arch.inference.lightbsr.whole_image import WholeImage, look_at
from lightbsr_arch.inference.source import UPRIGHT, Orientation, Source
from lightbsr_arch.inference.tiles import Canvas, Span, join_tiles, spans
from lightbsr_arch.layers.codes import Codes

Progress = Callable[[float], None]
"""Is told the share of an image that is done, from 0 to 1."""


class NotFiniteError(ArithmeticError):
    """A network gave NaN or infinity."""


def restore(
    net: InferenceLightBSR,
    pixels: Canvas,
    canvas: Canvas,
    tile: int | None,
    orientations: Sequence[Orientation] = UPRIGHT,
    progress: Progress | None = None,
) -> None:
    """Super-resolve an image.

    In tiles, the representation of the degradation is that of the whole image, and so are the averages that the channel
    gates see (of a sample of it, where it is larger than a tile): all tiles are restored by one and the same function.

    Args:
        net: The network.
        pixels: The image, (H, W, 3); stays where it is.
        canvas: Where the output goes, (scale * H, scale * W, 3).
        tile: Side of a tile in LR pixels; None takes the image whole.
        orientations: The outputs of all of these are averaged.
        progress: Is told what is done.

    Raises:
        NotFiniteError: The network gave NaN or infinity.
    """
    device = net.head.weight.device
    source = Source(pixels, device)
    side = max(source.height, source.width) if tile is None else tile
    rows, columns = spans(source.height, side), spans(source.width, side)
    shared: list[WholeImage | None] = [None] * len(orientations)
    if len(rows) * len(columns) > 1:
        shared = [look_at(net, Source(way.apply(pixels), device), side) for way in orientations]
    computed, total = 0, len(rows) * len(columns) * len(orientations)

    def compute(row: Span, column: Span) -> Any:
        nonlocal computed
        part = pixels[row.start : row.stop, column.start : column.stop]
        outputs: Any = 0
        for way, whole in zip(orientations, shared, strict=True):
            turned = Source(way.apply(part), device)
            output = _restore_piece(net, turned.piece(0, turned.height, 0, turned.width), whole)
            if not bool(output.isfinite().all()):
                raise NotFiniteError
            outputs = outputs + way.undo(output[0].permute(1, 2, 0).float().cpu().numpy())
            computed += 1
            if progress is not None:
                progress(computed / total)
        return outputs if len(orientations) == 1 else outputs / len(orientations)

    join_tiles(canvas, rows, columns, net.scale, compute)


def _restore_piece(net: InferenceLightBSR, piece: Tensor, whole: WholeImage | None) -> Tensor:
    if whole is None:
        return net(piece)
    spatial = net.spatial_code(net.idr(piece), (piece.shape[2], piece.shape[3]))
    return net.restore(piece, Codes(whole.channel_code, spatial), whole.feature_means)
