"""Blur kernels: the Gaussians of the method, and no blur."""

from __future__ import annotations

import torch
from torch import Tensor

from lightbsr_arch.layers.degradation_prior import KERNEL_SIZE, gaussian_kernels

__all__ = ["KERNEL_SIZE", "anisotropic_gaussian_kernels", "isotropic_gaussian_kernels"]


def isotropic_gaussian_kernels(sigma: Tensor, size: int = KERNEL_SIZE) -> Tensor:
    """Sample normalised isotropic Gaussian kernels. Differentiable in ``sigma`` above 0.05 pixels.

    Args:
        sigma: (N,) standard deviations in HR pixels; 0 gives a single 1 in the middle, which is no blur.
        size: Side of the kernel, odd.

    Returns:
        (N, size, size) kernels that sum to 1, of ``sigma``'s dtype and device.

    Raises:
        ValueError: A negative sigma, or an even size.
    """
    return gaussian_kernels(sigma, sigma, torch.zeros_like(sigma), size)


anisotropic_gaussian_kernels = gaussian_kernels
