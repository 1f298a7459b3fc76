"""The geometry of pairs that exist already: which crops of an LQ and a GT image belong together."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

from lightbsr_arch.errors import ImageError
from lightbsr_model.data.crops import Crop
from lightbsr_model.data.row_decoding import EncodedImage

MOST_PIXELS, MOST_SHARE = 8, 0.05
"""By how much the sides of an unequal pair may differ, in LQ pixels or of the LQ image's side, whichever is more."""


def draw_pairs_of_crops(
    lq: EncodedImage,
    gt: EncodedImage,
    side: int,
    scale: int,
    may_differ: bool,
    draw: Callable[[tuple[int, int], int], Sequence[Crop]],
) -> list[tuple[Crop, Crop]]:
    """Draw crops of an LQ image, each with its place in the GT image.

    The centres of unequal images are taken for the same point of the scene.

    Args:
        lq: The LQ image.
        gt: The GT image.
        side: Of the LQ crops.
        scale: The factor.
        may_differ: Whether the pair may differ in size.
        draw: Draws crops of a side from an image of a height and width.

    Raises:
        ImageError: The images do not fit each other, or have no such crop in common.
    """
    (height, width), (gt_height, gt_width) = lq.size, gt.size
    if (height * scale, width * scale) == (gt_height, gt_width):
        return [(crop, crop.enlarged(scale)) for crop in draw(lq.size, side)]
    pair = f"{lq.name}: {width}x{height}, times the scale {scale}, is not the {gt_width}x{gt_height} of its GT image {gt.name}"
    if not may_differ:
        raise ImageError(f"{pair}.")
    spans = [_common(*sides, side, scale) for sides in ((height, gt_height), (width, gt_width))]
    if not are_near(lq.size, gt.size, scale):
        raise ImageError(
            f"{pair}, and differs by more than {MOST_PIXELS} LQ pixels or {MOST_SHARE:.0%} a side: a pair of another scale, or "
            "of another scene; leave it out, or correct scale."
        )
    if any(last < first for first, last in spans):
        raise ImageError(f"{pair}, and they share no crop of {side} LQ pixels: leave the pair out, or lower gt_size.")
    (top, last_top), (left, last_left) = spans
    drawn = draw((last_top - top + side, last_left - left + side), side)
    crops = [replace(crop, top=crop.top + top, left=crop.left + left) for crop in drawn]
    return [
        (
            crop,
            replace(
                crop,
                top=_place(crop.top, height, gt_height, scale),
                left=_place(crop.left, width, gt_width, scale),
                size=side * scale,
            ),
        )
        for crop in crops
    ]


def are_near(lq_size: tuple[int, int], gt_size: tuple[int, int], scale: int) -> bool:
    """Whether a GT image is the LQ image times the scale but for what may be cropped or moved."""
    return all(
        abs(high / scale - low) <= max(MOST_PIXELS, MOST_SHARE * low)
        for low, high in zip(lq_size, gt_size, strict=True)
    )


def _place(start: int, low: int, high: int, scale: int) -> int:
    """Where a crop that starts at an LQ pixel starts in the GT image."""
    return start * scale + (high - low * scale) // 2


def _common(low: int, high: int, side: int, scale: int) -> tuple[int, int]:
    """The first and the last LQ pixel at which a crop can start that lies within both images."""
    before = (high - low * scale) // 2
    return max(0, math.ceil(-before / scale)), min(low - side, (high - before) // scale - side)
