"""What networks do to images: check their input, crop a map to an image's size, and know where a tile lies."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class Place(NamedTuple):
    """Where a tile lies in the image that it is a part of, in LR pixels."""

    top: int
    left: int
    height: int
    """Of the whole image."""
    width: int


def check_image(lq: Tensor) -> None:
    """Check that a tensor is a batch of RGB images.

    Raises:
        ValueError: It is not a float batch (N, 3, H, W) with at least one pixel.
    """
    if lq.dim() != 4 or lq.shape[1] != 3 or not lq.is_floating_point() or 0 in lq.shape:
        raise ValueError(
            f"lq: expected a float image batch (N, 3, H, W) in [0, 1] with H and W >= 1, "
            f"got {tuple(lq.shape)} of {lq.dtype}."
        )


def crop(x: Tensor, height: int, width: int) -> Tensor:
    """The top left part of (N, C, H, W), (N, C, height, width)."""
    if isinstance(height, torch.SymInt):
        # An exported graph with a slice would only hold for sizes at which there is something, or nothing, to cut off.
        for dim, size in ((2, height), (3, width)):
            x = x.index_select(dim, torch.arange(size, device=x.device))
        return x
    return x[:, :, :height, :width]


def reflected(lq: Tensor, multiple: int) -> Tensor:
    """Pad (N, C, H, W) at the bottom and on the right by reflection, so that its sides are multiples of a number."""
    for dim in (2, 3):
        side = lq.shape[dim]
        missing = -side % multiple
        if missing:
            # As often back and forth as it takes, for images that are smaller than what is missing.
            period = max(2 * side - 2, 1)
            place = torch.arange(side + missing, device=lq.device) % period
            lq = lq.index_select(dim, torch.minimum(place, period - place if side > 1 else place))
    return lq
