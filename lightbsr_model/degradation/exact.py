"""The degradation of test images: the same bits everywhere."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from lightbsr_model.degradation.jpeg import encode_and_decode_jpeg
from lightbsr_model.degradation.noise import quantise
from lightbsr_model.degradation.operators import SNAP
from lightbsr_model.degradation.pipeline import blur_and_downsample
from lightbsr_model.degradation.resize import Border


def benchmark_lq(
    gt: Tensor, kernel: Tensor, noise_level: float, scale: int, border: Border, seed: int, jpeg_quality: int = 0
) -> Tensor:
    """Degrade one HR image so that every machine, thread count and device gives the same bits.

    The arithmetic is float64, and values are snapped to a grid of 2^-20 grey levels before the noise and the rounding,
    so that sums taken in another order do not fall on the other side of a half. The noise is NumPy's ``RandomState``,
    whose stream NumPy's compatibility policy freezes. JPEG is a real encoder's (Pillow's), as in the files that users have;
    training has BasicSR's DiffJPEG on the device instead, see :mod:`lightbsr_model.degradation.jpeg`. Its bits are those of the
    libjpeg-turbo that Pillow brings: the same on every machine with one version of it.

    Args:
        gt: (3, H, W), 0..255.
        kernel: (21, 21), float64.
        noise_level: In 0..255 units.
        scale: The factor.
        border: What the downsampling sees outside the image, see :mod:`lightbsr_model.degradation.resize`.
        seed: Of the noise.
        jpeg_quality: 1 to 100; 0 is no JPEG.

    Returns:
        (3, H / scale, W / scale), float32 in [0, 1], multiples of 1/255.
    """
    low = blur_and_downsample(gt[None].double(), kernel[None].to(gt.device), scale, border)[0]
    low = (low * SNAP).round() / SNAP
    if noise_level > 0:
        noise = np.random.RandomState(seed).standard_normal(tuple(low.shape))
        low = low + noise_level * torch.from_numpy(noise).to(low.device)
    lq = quantise(low).float()
    if jpeg_quality:
        pixels = (lq * 255).round().to(torch.uint8).permute(1, 2, 0).cpu().numpy()
        decoded = encode_and_decode_jpeg(pixels, jpeg_quality)
        lq = torch.from_numpy(decoded.transpose(2, 0, 1).copy()).to(lq) / 255
    return lq
