"""MATLAB's antialiased bicubic downsampling, and resizing to any size."""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor
from torch.nn import functional as F

Border = Literal["clamp", "symmetric"]
"""``clamp`` repeats the edge pixel, as the published code does; ``symmetric`` mirrors the image with its edge, as MATLAB
and BasicSR do."""


def bicubic_downsample(images: Tensor, scale: int, border: Border = "clamp") -> Tensor:
    """Shrink images by an integer factor, as MATLAB's ``imresize(image, 1 / scale)`` (a = -0.5, antialiased). Linear.

    Args:
        images: (N, C, H, W), H and W multiples of ``scale``.
        scale: 1 or more; 1 returns the images as they are.
        border: What lies outside the image.

    Returns:
        (N, C, H / scale, W / scale), not clamped.

    Raises:
        ValueError: A size that is no multiple of the scale, or an unknown border.
    """
    height, width = images.shape[-2:]
    if border not in get_args(Border):
        raise ValueError(f"border: expected clamp or symmetric, got {border!r}.")
    if scale < 1 or height % scale or width % scale:
        raise ValueError(
            f"an image of {width}x{height} cannot be shrunk by {scale}: crop it to a multiple of it first."
        )
    if scale == 1:
        return images
    # torch's own border treatment renormalises the cut-off window; a margin of more than the window's half (2 * scale),
    # cut off again afterwards, keeps it out of the result.
    margin = 3 * scale
    if border == "clamp":
        padded = F.pad(images, (margin,) * 4, mode="replicate")
    else:
        rows, columns = (_mirrored(size, margin, images.device) for size in (height, width))
        padded = images[..., rows, :][..., columns]
    shrunk = F.interpolate(
        padded,
        size=(height // scale + 6, width // scale + 6),
        mode="bicubic",
        antialias=True,
        align_corners=False,
    )
    return shrunk[..., 3:-3, 3:-3]


def _mirrored(size: int, margin: int, device: torch.device) -> Tensor:
    """Indices of a symmetric extension by ``margin`` on both sides: 1 0 | 0 1 2 ... n-1 | n-1 n-2."""
    index = torch.arange(-margin, size + margin, device=device).remainder(2 * size)
    return torch.minimum(index, 2 * size - 1 - index)


Mode = Literal["area", "bilinear", "bicubic"]


def resize(images: Tensor, size: tuple[int, int], mode: Mode, antialias: bool = False) -> Tensor:
    """Resize images up or down, or leave them as they are (torch's ``interpolate``, corners not aligned).

    Args:
        images: (N, C, H, W).
        size: Height and width of the result, each >= 1.
        mode: ``area`` averages what a new pixel covers.
        antialias: Widen the window of ``bilinear`` and ``bicubic`` when shrinking, as Pillow and MATLAB do; without it, as
            OpenCV and BasicSR's Real-ESRGAN, pixels in between are not seen.

    Returns:
        (N, C, *size), not clamped.

    Raises:
        ValueError: An unknown mode.
    """
    if mode not in get_args(Mode):
        raise ValueError(f"mode: expected {', '.join(get_args(Mode))}, got {mode!r}.")
    if tuple(images.shape[-2:]) == tuple(size):
        return images
    if mode == "area":
        return F.interpolate(images, size=size, mode="area")
    return F.interpolate(images, size=size, mode=mode, align_corners=False, antialias=antialias)
