"""Shrinking feature maps by bicubic samples that lie corners on corners, for whole images and for tiles of one."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from lightbsr_arch.layers.image import Place

_A = -0.75
"""Of the cubic convolution kernel, as in torch's interpolation."""


def shrink_corners_on_corners(high: Tensor, scale: int, place: Place | None = None) -> Tensor:
    """Sample feature maps at LR pixels, without antialiasing, as torch's ``interpolate(align_corners=True)`` does.

    The samples are off the middles of the LR pixels by up to (scale - 1) / 2 HR pixels, most at the image's borders. So a tile
    must know where it lies, to take the samples that the whole image would take there.

    Args:
        high: (N, C, scale * H, scale * W).
        scale: The factor.
        place: Where the tile lies, whose maps these are; None for a whole image's.

    Returns:
        (N, C, H, W).
    """
    if place is None:
        size = [high.shape[2] // scale, high.shape[3] // scale]
        return F.interpolate(high, size=size, mode="bicubic", align_corners=True)
    low = _sampled(high, 2, scale, place.top, place.height)
    return _sampled(low, 3, scale, place.left, place.width)


def _sampled(high: Tensor, dim: int, scale: int, start: int, whole: int) -> Tensor:
    """Sample a tile along an axis that begins at an LR pixel of an image that has so many."""
    # With the rounding of torch's interpolation, whose positions are float32's at least.
    exact = torch.promote_types(high.dtype, torch.float32)
    pixels = torch.arange(start, start + high.shape[dim] // scale, dtype=exact)
    step = torch.tensor((scale * whole - 1) / max(whole - 1, 1), dtype=exact)
    position = (pixels * step).double() - scale * start
    first = position.floor()
    column = [-1 if axis == dim else 1 for axis in range(4)]

    def part(tap: int) -> Tensor:
        index = (first + tap).long().clamp(0, high.shape[dim] - 1).to(high.device)
        weight = _cubic((position - first - tap).abs()).to(high)
        return weight.view(column) * high.index_select(dim, index)

    return part(-1) + part(0) + part(1) + part(2)


def _cubic(distance: Tensor) -> Tensor:
    """Keys' cubic convolution kernel at distances of 0 to 2."""
    near = (_A + 2) * distance**3 - (_A + 3) * distance**2 + 1
    far = _A * (distance**3 - 5 * distance**2 + 8 * distance - 4)
    return torch.where(distance <= 1, near, far)
