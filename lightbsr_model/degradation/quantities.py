"""What a degradation amounts to in plain units: blur widths in HR pixels, noise in 0..255, JPEG quality."""

from __future__ import annotations

import functools

import torch
from torch import Tensor

_WIDEST = 12.0
"""Largest sigma in HR pixels that a kernel is read as; a 21x21 kernel hardly tells wider ones apart."""


def gaussian_axes(kernel: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The standard deviations that Gaussian kernels were drawn with, and the direction of the wider axis.

    From second moments, which a kernel's border cuts off: they are turned back into the sigma that gives them. Exact for
    isotropic kernels, to a few percent for rotated ones that are wider than a third of the kernel. Runs without a host sync.

    Args:
        kernel: (N, k, k), each sums to 1; k is odd.

    Returns:
        ``sigma_1`` >= ``sigma_2`` in HR pixels, and cosine and sine of twice the angle between the first axis and the
        image's x axis, each (N,) float32. Isotropic kernels have an arbitrary angle.
    """
    weights = kernel.double()
    radius = kernel.shape[-1] // 2
    position = torch.arange(-radius, radius + 1, dtype=torch.float64, device=kernel.device)
    x, y = position.view(1, 1, -1), position.view(1, -1, 1)
    xx, yy, xy = ((weights * product).sum((1, 2)) for product in (x * x, y * y, x * y))
    middle, across = (xx + yy) / 2, (xx - yy) / 2
    spread = torch.hypot(across, xy)
    sigma_1, sigma_2 = (_sigma(moment, radius) for moment in (middle + spread, (middle - spread).clamp(min=0)))
    safe = spread.clamp(min=1e-12)
    return sigma_1.float(), sigma_2.float(), (across / safe).float(), (xy / safe).float()


def _sigma(moment: Tensor, radius: int) -> Tensor:
    """The sigma of a sampled Gaussian, cut off at a radius, that has a second moment; linear between the table's entries."""
    sigmas, moments = (values.to(moment.device) for values in _moments(radius))
    above = torch.bucketize(moment, moments).clamp(1, len(moments) - 1)
    low, high = moments[above - 1], moments[above]
    share = ((moment - low) / (high - low).clamp(min=1e-12)).clamp(0, 1)
    return sigmas[above - 1] + share * (sigmas[above] - sigmas[above - 1])


@functools.cache
def _moments(radius: int) -> tuple[Tensor, Tensor]:
    sigmas = torch.arange(0.0, _WIDEST, 0.01, dtype=torch.float64)
    squares = torch.arange(-radius, radius + 1, dtype=torch.float64).square()
    weights = torch.exp(-squares / (2 * sigmas.clamp(min=1e-3).square()).unsqueeze(1))
    return sigmas, (weights * squares).sum(1) / weights.sum(1)
