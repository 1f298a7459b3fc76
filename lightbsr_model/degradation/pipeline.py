"""From HR patches to LR patches: blur, bicubic downsampling, noise, JPEG, rounding (LightBSR, section 2)."""

from __future__ import annotations

import torch
from torch import Tensor

from lightbsr_model.degradation.blur import blur
from lightbsr_model.degradation.jpeg import compress_jpeg
from lightbsr_model.degradation.noise import add_gaussian_noise, quantise
from lightbsr_model.degradation.resize import Border, bicubic_downsample
from lightbsr_model.degradation.structured import LONGEST_SIDE, structured_blur_and_downsample


def blur_and_downsample(
    gt: Tensor, kernels: Tensor, scale: int, border: Border = "clamp", separable: bool = False
) -> Tensor:
    """Blur and shrink, without rounding in between or after. Linear in the images and in the kernels.

    Training patches in float32 go through small matrix products (:mod:`lightbsr_model.degradation.structured`); all else,
    and whatever needs a gradient, through the blur and the downsampling one after the other.

    Args:
        gt: (N, C, H, W) in 0..255; H and W multiples of ``scale``. uint8 is taken as it is.
        kernels: (N, k, k), float; decides the dtype.
        scale: The factor.
        border: See :data:`~lightbsr_model.degradation.resize.Border`. The blur reflects in both cases.
        separable: Every kernel is the outer product of a column and a row, as isotropic Gaussians are: fewer steps.

    Returns:
        (N, C, H / scale, W / scale) in about 0..255.

    Raises:
        ValueError: An image too small for the kernel, or a size that is no multiple of the scale.
    """
    height, width = gt.shape[-2:]
    fits = kernels.shape[-1] // 2 < min(height, width) and height % scale == width % scale == 0
    learns = torch.is_grad_enabled() and (gt.requires_grad or kernels.requires_grad)
    if kernels.dtype == torch.float32 and scale > 1 and fits and max(height, width) <= LONGEST_SIDE and not learns:
        return structured_blur_and_downsample(gt, kernels, scale, border, separable)
    return bicubic_downsample(blur(gt.to(kernels.dtype), kernels), scale, border)


def degrade(
    gt: Tensor,
    kernels: Tensor,
    noise_level: Tensor | None,
    scale: int,
    border: Border = "clamp",
    generator: torch.Generator | None = None,
    separable: bool = False,
    jpeg_quality: Tensor | None = None,
) -> Tensor:
    """Degrade HR images; the views of a sample share its parameters, and have noise of their own.

    Args:
        gt: (N, C, H, W) or (N, V, C, H, W) in 0..255, uint8 or float.
        kernels: (N, k, k), normalised.
        noise_level: (N,) in 0..255 units, or None for no noise.
        scale: The factor.
        border: What the downsampling sees outside the image.
        generator: Of the noise, on ``gt``'s device.
        separable: Every kernel is an outer product, see :func:`blur_and_downsample`.
        jpeg_quality: (N,), 1 to 100, 0 for none; or None for none at all. Images are RGB then.

    Returns:
        LR images in [0, 1], multiples of 1/255, of ``kernels``' dtype: (N, C, H / scale, W / scale), or with V.

    Raises:
        ValueError: Shapes that do not fit.
    """
    views = gt.shape[1] if gt.dim() == 5 else 1
    # The views of a sample are more channels of it.
    planes = gt.flatten(1, 2) if gt.dim() == 5 else gt
    low = blur_and_downsample(planes, kernels, scale, border, separable)
    low = low.unflatten(1, (views, -1)).flatten(0, 1) if gt.dim() == 5 else low
    if noise_level is not None:
        low = add_gaussian_noise(low, noise_level.repeat_interleave(views, dim=0), generator)
    low = quantise(low)
    if jpeg_quality is not None:
        # What is compressed has 8 bits already.
        low = quantise(compress_jpeg(low * 255, jpeg_quality.repeat_interleave(views, dim=0)))
    return low.unflatten(0, (-1, views)) if gt.dim() == 5 else low
