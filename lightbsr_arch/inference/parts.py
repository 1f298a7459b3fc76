"""Parts of an image that stand for the whole of it: all of them, or a sample."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from torch import Tensor

from lightbsr_arch.inference.source import Source
from lightbsr_arch.layers.image import Place

_PATCH = 128
"""Side of the patches that stand for an image which is too large to be averaged over as a whole, in LR pixels."""

_STRIDES = (1, 2, 4, 8, 16)
"""Ratios of an image's size to that of a feature map."""


@dataclass(frozen=True)
class Part:
    """A part of an image with what surrounds it."""

    pixels: Tensor
    """(1, 3, rows, columns) in [0, 1], its surroundings included."""
    above: int
    """Rows above the part itself."""
    before: int
    """Columns left of it."""
    height: int
    width: int
    place: Place
    """Where the pixels lie in the image."""

    def inner(self, feature_map: Tensor) -> Tensor:
        """What a feature map of ``pixels`` shows of the part itself; all of a map whose stride cannot be found."""
        rows, columns = self.pixels.shape[2:]
        size = tuple(feature_map.shape[2:])
        for stride in _STRIDES:
            if size == (-(-rows // stride), -(-columns // stride)):
                top, left = self.above // stride, self.before // stride
                bottom, right = top + -(-self.height // stride), left + -(-self.width // stride)
                return feature_map[:, :, top:bottom, left:right]
        return feature_map


def parts(source: Source, tile: int, context: int, alignment: int) -> Iterator[Part]:
    """Cut a whole image into parts that do not overlap, each with its surroundings.

    Args:
        source: The image.
        tile: Side of a part with its surroundings, in LR pixels.
        context: LR pixels around a part, a multiple of ``alignment``.
        alignment: Parts begin at multiples of it, so that the grid of a strided network is the same in all of them.
    """
    step = max(tile - 2 * context, alignment) // alignment * alignment
    for top in range(0, source.height, step):
        bottom = min(top + step, source.height)
        for left in range(0, source.width, step):
            right = min(left + step, source.width)
            above, before = min(top, context), min(left, context)
            pixels = source.piece(top - above, bottom + context, left - before, right + context)
            place = Place(top - above, left - before, source.height, source.width)
            yield Part(pixels, above, before, bottom - top, right - left, place)


def sample(source: Source, tile: int) -> Iterator[Part]:
    """The whole image where it has no more pixels than a tile, else patches that have as many together, spread over it.

    Args:
        source: The image.
        tile: Side of a tile, in LR pixels.
    """
    if source.height * source.width <= tile**2:
        yield _alone(source, 0, source.height, 0, source.width)
        return
    height, width = min(_PATCH, source.height), min(_PATCH, source.width)
    wanted = max(tile**2 // (height * width), 1)
    # As many rows to columns as the image's sides, with their middles evenly spread.
    rows = max(1, min(round(math.sqrt(wanted * source.height / source.width)), source.height // height))
    columns = max(1, min(wanted // rows, source.width // width))
    for row in range(rows):
        top = _position(row, rows, source.height, height)
        for column in range(columns):
            left = _position(column, columns, source.width, width)
            yield _alone(source, top, top + height, left, left + width)


def _alone(source: Source, top: int, bottom: int, left: int, right: int) -> Part:
    """A part without surroundings."""
    place = Place(top, left, source.height, source.width)
    return Part(source.piece(top, bottom, left, right), 0, 0, bottom - top, right - left, place)


def _position(number: int, count: int, length: int, size: int) -> int:
    middle = (number + 0.5) * length / count
    return min(max(round(middle - size / 2), 0), length - size)
