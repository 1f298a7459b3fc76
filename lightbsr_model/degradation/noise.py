"""Sensor noise and quantisation."""

from __future__ import annotations

import torch
from torch import Tensor


def add_gaussian_noise(images: Tensor, noise_level: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """Add white Gaussian noise, independent in every value.

    Args:
        images: (N, C, H, W) in 0..255.
        noise_level: (N,) standard deviations in 0..255 units; 0 leaves an image as it is.
        generator: On the images' device.

    Returns:
        (N, C, H, W), not clamped.
    """
    noise = torch.randn(images.shape, dtype=images.dtype, device=images.device, generator=generator)
    return images + noise_level.to(images).view(-1, 1, 1, 1) * noise


def quantise(images: Tensor) -> Tensor:
    """Round 0..255 images to integers (ties to even), clamp them to 0..255 and divide by 255."""
    return images.round().clamp(0, 255) / 255
