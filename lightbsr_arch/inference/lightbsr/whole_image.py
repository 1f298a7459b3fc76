"""What the tiles of one image share: the representation of its degradation, and the averages that channel gates see."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from lightbsr_arch.inference.lightbsr.network import InferenceLightBSR
from lightbsr_arch.inference.source import Source
from lightbsr_arch.inference.tiles import ALIGNMENT
from lightbsr_arch.layers.codes import Codes

_CONTEXT = 12
"""LR pixels around a part of an image that its representation depends on (11), as a multiple of the encoder's stride."""

_PATCH = 128
"""Side of the patches that stand for an image which is too large to be averaged over as a whole, in LR pixels."""


@dataclass(frozen=True)
class WholeImage:
    """What a network makes of an image as a whole."""

    representation: Tensor
    """The implicit degradation representation, (1, 4 * num_encoder_feat)."""
    channel_code: Tensor
    """(1, num_channel_code)."""
    feature_means: list[Tensor]
    """One a modulated block."""


def represent(net: InferenceLightBSR, source: Source, tile: int) -> Tensor:
    """The representation of a whole image, computed part by part: exact, as the encoder sees 11 pixels far.

    Args:
        net: The network.
        source: The image.
        tile: Side of the parts, in LR pixels.

    Returns:
        (1, 4 * num_encoder_feat).
    """
    step = max(tile - 2 * _CONTEXT, ALIGNMENT) // ALIGNMENT * ALIGNMENT
    total, cells = torch.zeros(()), 0
    for top, bottom in _parts(source.height, step):
        for left, right in _parts(source.width, step):
            above, before = min(top, _CONTEXT), min(left, _CONTEXT)
            idr = net.idr(source.piece(top - above, bottom + _CONTEXT, left - before, right + _CONTEXT))
            rows, columns = -(-(bottom - top) // ALIGNMENT), -(-(right - left) // ALIGNMENT)
            first_row, first_column = above // ALIGNMENT, before // ALIGNMENT
            part = idr[:, :, first_row : first_row + rows, first_column : first_column + columns]
            total = total + part.sum(dim=(2, 3), dtype=torch.float32).cpu()
            cells += rows * columns
    return (total / cells).to(source.device, net.dtype)


def _parts(length: int, step: int) -> Iterator[tuple[int, int]]:
    return ((start, min(start + step, length)) for start in range(0, length, step))


def look_at(net: InferenceLightBSR, source: Source, tile: int) -> WholeImage:
    """What the tiles of an image share.

    The averages are those of the whole image where it has no more pixels than a tile, else of as many patches spread over it.

    Args:
        net: The network.
        source: The image.
        tile: Side of a tile, in LR pixels: so much is computed at a time.
    """
    representation = represent(net, source, tile)
    channel = net.channel_code(representation)
    patches = torch.cat(list(_sample(source, tile)))
    idr = net.idr(patches)
    spatial = net.spatial_code(idr, (patches.shape[2], patches.shape[3]))
    codes = Codes(channel.expand(len(patches), -1), spatial)
    return WholeImage(representation, channel, net.feature_means(patches, codes))


def _sample(source: Source, tile: int) -> Iterator[Tensor]:
    if source.height * source.width <= tile**2:
        yield source.piece(0, source.height, 0, source.width)
        return
    height, width = min(_PATCH, source.height), min(_PATCH, source.width)
    wanted = max(tile**2 // (height * width), 1)
    # As many rows to columns as the image's sides, with their middles evenly spread.
    rows = max(1, min(round(math.sqrt(wanted * source.height / source.width)), source.height // height))
    columns = max(1, min(wanted // rows, source.width // width))
    for row in range(rows):
        top = _place(row, rows, source.height, height)
        for column in range(columns):
            left = _place(column, columns, source.width, width)
            yield source.piece(top, top + height, left, left + width)


def _place(number: int, count: int, length: int, size: int) -> int:
    middle = (number + 0.5) * length / count
    return min(max(round(middle - size / 2), 0), length - size)
