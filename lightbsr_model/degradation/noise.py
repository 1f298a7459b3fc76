"""Gaussian and Poisson noise, and quantisation."""

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


def add_grey_or_colour_noise(
    images: Tensor, noise_level: Tensor, grey: Tensor, generator: torch.Generator | None = None
) -> Tensor:
    """Add white Gaussian noise, of some images equal in all channels.

    Args:
        images: (N, C, H, W) in 0..255.
        noise_level: (N,) standard deviations in 0..255 units.
        grey: (N,), bool on the host: where the channels share their noise.
        generator: On the images' device.

    Returns:
        (N, C, H, W), not clamped.
    """
    result = images.clone()
    for is_grey in (False, True):
        chosen = grey if is_grey else ~grey
        if bool(chosen.any()):
            some = images[chosen]
            shape = (len(some), 1 if is_grey else some.shape[1], *some.shape[2:])
            noise = torch.randn(shape, dtype=some.dtype, device=some.device, generator=generator)
            result[chosen] = some + noise_level[chosen].to(some).view(-1, 1, 1, 1) * noise
    return result


def add_poisson_noise(
    images: Tensor, noise_scale: Tensor, grey: Tensor, generator: torch.Generator | None = None
) -> Tensor:
    """Add Poisson (shot) noise, of some images equal in all channels.

    As BasicSR's ``add_poisson_noise_pt``, which draws from torch's global generator: an image is counted in
    ``2^ceil(log2(u))`` levels, u being the number of different values that it has in 8 bits, and the noise is scaled. At 256
    levels and a scale of 1 its standard deviation is about ``sqrt(v)`` for a value v in 0..255.

    Args:
        images: (N, 3, H, W), RGB in 0..255.
        noise_scale: (N,) factors of the noise.
        grey: (N,), bool on the host: where the noise is that of the grey image, in all channels.
        generator: On the images' device.

    Returns:
        (N, 3, H, W), not clamped.
    """
    result = images.clone()
    for is_grey in (False, True):
        chosen = grey if is_grey else ~grey
        if bool(chosen.any()):
            some = images[chosen]
            noise = _shot_noise(luma(some) if is_grey else some, generator)
            result[chosen] = some + noise_scale[chosen].to(some).view(-1, 1, 1, 1) * noise
    return result


def _shot_noise(images: Tensor, generator: torch.Generator | None) -> Tensor:
    """The noise of counting (N, C, H, W) in 0..255."""
    values = images.round().clamp(0, 255)
    levels = count_levels(values)
    rates = values / 255 * levels
    return (torch.poisson(rates, generator=generator) / levels * 255) - values


def count_levels(values: Tensor) -> Tensor:
    """The power of two that is no less than the number of different values in each image.

    Args:
        values: (N, C, H, W), integers in 0..255.

    Returns:
        (N, 1, 1, 1), of the same dtype.
    """
    index = values.flatten(1).long()
    seen = torch.zeros(len(values), 256, dtype=values.dtype, device=values.device).scatter_(1, index, 1)
    return torch.exp2(seen.sum(1).log2().ceil()).view(-1, 1, 1, 1)


def luma(images: Tensor) -> Tensor:
    """(N, 1, H, W) of (N, 3, H, W) RGB, as torchvision's rgb_to_grayscale."""
    red, green, blue = images.unbind(1)
    return (0.2989 * red + 0.587 * green + 0.114 * blue)[:, None]
