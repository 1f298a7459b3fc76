"""What a blur kernel looks like, in numbers and as an image."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


class KernelShape(NamedTuple):
    """The Gaussian that has a kernel's second moments."""

    lambda_1: float
    """Standard deviation along the long axis, in pixels."""
    lambda_2: float
    """Standard deviation along the short axis."""
    theta: float
    """Angle of the long axis against the image's x axis, in degrees, 0 to 180."""


def kernel_shape(kernel: Tensor) -> KernelShape:
    """Measure a kernel. Of a wide Gaussian, cut off by the kernel's border, it is less than what it was drawn with.

    Args:
        kernel: (k, k), sums to 1.
    """
    radius = kernel.shape[-1] // 2
    place = torch.arange(-radius, radius + 1, dtype=torch.float64)
    weights = kernel.double()
    variance_x = (weights.sum(0) * place**2).sum().item()
    variance_y = (weights.sum(1) * place**2).sum().item()
    covariance = (weights * place[:, None] * place[None, :]).sum().item()
    middle, spread = (variance_x + variance_y) / 2, math.hypot((variance_x - variance_y) / 2, covariance)
    theta = math.degrees(math.atan2(2 * covariance, variance_x - variance_y) / 2) % 180
    return KernelShape(math.sqrt(middle + spread), math.sqrt(max(0.0, middle - spread)), theta)


def kernel_picture(kernel: Tensor, zoom: int = 9) -> NDArray[np.uint8]:
    """Draw a kernel, its largest value white, and what is below 0 black.

    Args:
        kernel: (k, k).
        zoom: Pixels a value, in both directions.

    Returns:
        (k * zoom, k * zoom), 0..255.
    """
    values = (kernel / kernel.max()).clamp_min(0).mul(255).round().to(torch.uint8).numpy()
    return values.repeat(zoom, axis=0).repeat(zoom, axis=1)
