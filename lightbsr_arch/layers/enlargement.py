"""Bicubic enlargement whose gradient is the same in every run."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from lightbsr_arch.layers.spectrum import at_least_float32, full_precision

_A = -0.75
"""The cubic's parameter in torch and OpenCV."""
_REACH = 2
"""Pixels that the cubic reaches on each side."""


def bicubic_enlarge(images: Tensor, scale: int) -> Tensor:
    """Enlarge images as ``F.interpolate(mode="bicubic", align_corners=False)`` does, in float32 at least.

    A convolution and a pixel shuffle: the gradient of torch's own is summed in another order at every run on CUDA.

    Args:
        images: (N, C, H, W) of any range.
        scale: An integer >= 1.

    Returns:
        (N, C, scale * H, scale * W) of the images' dtype, not clamped.
    """
    with full_precision(images.device):
        planes = at_least_float32(images)
        for dim in (2, 3):
            side = planes.shape[dim]
            place = torch.arange(-_REACH, side + _REACH, device=planes.device).clamp(0, side - 1)
            planes = planes.index_select(dim, place)
        weights = _weights(scale, planes)
        kernels = (weights[:, None, :, None] * weights[None, :, None, :]).flatten(0, 1)
        large = F.pixel_shuffle(F.conv2d(planes.flatten(0, 1)[:, None], kernels[:, None]), scale)
        return large.unflatten(0, images.shape[:2])[:, :, 0].to(images.dtype)


def _weights(scale: int, like: Tensor) -> Tensor:
    """Weights (scale, 2 * _REACH + 1) of the pixels around, for each place of an enlarged pixel within one."""
    taps = torch.arange(-_REACH, _REACH + 1, device=like.device, dtype=like.dtype)
    places = (torch.arange(scale, device=like.device, dtype=like.dtype) + 0.5) / scale - 0.5
    d = (taps[None] - places[:, None]).abs()
    near = ((_A + 2) * d - (_A + 3)) * d * d + 1
    far = ((_A * d - 5 * _A) * d + 8 * _A) * d - 4 * _A
    return torch.where(d <= 1, near, torch.where(d < _REACH, far, torch.zeros_like(d)))
