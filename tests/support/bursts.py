"""Bursts of a photo, for tests of networks that restore them."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from lightbsr_model.degradation.burst import BurstParams, camera_of


def photo(side: int) -> Tensor:
    """The middle of a photo, (3, side, side), float32 in [0, 1]."""
    import skimage.data

    image = torch.from_numpy(skimage.data.astronaut()[20:460, 20:460].copy()).permute(2, 0, 1)[None].float() / 255
    return F.interpolate(image, size=(side, side), mode="bicubic", antialias=True)[0].clamp(0, 1)


def burst_of_photo(camera: str, frames: int, gt_size: int, seed: int = 0) -> tuple[Tensor, Tensor, Tensor, BurstParams]:
    """A burst of that photo as a batch of one: frames, GT image, flow, and what was drawn."""
    generator = torch.Generator().manual_seed(seed)
    taker = camera_of(camera)
    params = taker.draw(frames, generator)
    middle = photo(gt_size + 2 * taker.cut)
    taken = taker.take(middle, params, lambda shape: torch.randn(shape, generator=generator, dtype=torch.float64))
    return (*(value.float()[None] for value in taken), params)
