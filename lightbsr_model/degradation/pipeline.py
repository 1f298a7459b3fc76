"""From HR patches to LR patches: blur, bicubic downsampling, noise, rounding (LightBSR, section 2)."""

from __future__ import annotations

import torch
from torch import Tensor

from lightbsr_model.degradation.blur import blur
from lightbsr_model.degradation.noise import add_gaussian_noise, quantise
from lightbsr_model.degradation.resize import Border, bicubic_downsample


def blur_and_downsample(gt: Tensor, kernels: Tensor, scale: int, border: Border = "clamp") -> Tensor:
    """Blur and shrink, without rounding in between or after. Linear in the images and in the kernels.

    Args:
        gt: (N, C, H, W) in 0..255, float; H and W multiples of ``scale``.
        kernels: (N, k, k).
        scale: The factor.
        border: See :data:`~lightbsr_model.degradation.resize.Border`. The blur reflects in both cases.

    Returns:
        (N, C, H / scale, W / scale) in about 0..255.

    Raises:
        ValueError: An image too small for the kernel, or a size that is no multiple of the scale.
    """
    return bicubic_downsample(blur(gt, kernels), scale, border)


def degrade(
    gt: Tensor,
    kernels: Tensor,
    noise_level: Tensor | None,
    scale: int,
    border: Border = "clamp",
    generator: torch.Generator | None = None,
) -> Tensor:
    """Degrade HR images; the views of a sample share a kernel and a noise level, and have noise of their own.

    Args:
        gt: (N, C, H, W) or (N, V, C, H, W) in 0..255, uint8 or float.
        kernels: (N, k, k), normalised.
        noise_level: (N,) in 0..255 units, or None for no noise.
        scale: The factor.
        border: What the downsampling sees outside the image.
        generator: Of the noise, on ``gt``'s device.

    Returns:
        LR images in [0, 1], multiples of 1/255, of ``kernels``' dtype: (N, C, H / scale, W / scale), or with V.

    Raises:
        ValueError: Shapes that do not fit.
    """
    views = gt.shape[1] if gt.dim() == 5 else 1
    images = gt.flatten(0, 1) if gt.dim() == 5 else gt
    images = images.to(kernels.dtype)
    low = blur_and_downsample(images, kernels.repeat_interleave(views, dim=0), scale, border)
    if noise_level is not None:
        low = add_gaussian_noise(low, noise_level.repeat_interleave(views, dim=0), generator)
    low = quantise(low)
    return low.unflatten(0, (-1, views)) if gt.dim() == 5 else low
