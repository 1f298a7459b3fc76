"""MATLAB's bicubic interpolation, the baseline of super-resolution and the start of networks that add a residue to it."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

_MARGIN = 3
"""Pixels around an image; they keep torch's own treatment of borders out of the result."""


def bicubic_upsample(images: Tensor, scale: int) -> Tensor:
    """Upscale like MATLAB's ``imresize(image, scale)`` (a = -0.5), with clamped borders.

    Args:
        images: (N, C, H, W) of any range.
        scale: An integer >= 1.

    Returns:
        (N, C, scale * H, scale * W), not clamped.
    """
    padded = F.pad(images, (_MARGIN,) * 4, mode="replicate")
    size = [scale * side for side in padded.shape[2:]]
    # With antialias, torch uses MATLAB's a = -0.5.
    large = F.interpolate(padded, size=size, mode="bicubic", antialias=True, align_corners=False)
    cut = _MARGIN * scale
    return large[..., cut:-cut, cut:-cut]
