"""The blur kernels of real-world degradations: Gaussians, generalised ones, plateaus and sincs (arXiv 2107.10833, section 3).

BasicSR's makers (``basicsr/data/degradations.py``) make one kernel at a time in NumPy; these make a batch on its device, equal
to them within rounding errors (``tests/model/degradation/test_mixed_kernels.py``).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

KERNELS = (
    *("iso", "aniso", "generalized_iso", "generalized_aniso", "plateau_iso", "plateau_aniso"),
    "sinc",
)
"""Kinds of kernels by BasicSR's names. Of the ``iso`` kinds both axes are equal."""


def mixed_kernels(
    kind: Tensor, size: Tensor, sigma_x: Tensor, sigma_y: Tensor, rotation: Tensor, beta: Tensor, cutoff: Tensor
) -> Tensor:
    """Make kernels, each of its own kind and size, zero beyond it.

    With the squared distance ``d = p^T S^-1 p`` of a pixel, ``S`` having ``sigma_x`` and ``sigma_y`` as standard deviations and
    turned by ``rotation``: generalised Gaussians are ``exp(-d^beta / 2)``, Gaussians those of ``beta = 1``, plateaus
    ``1 / (1 + d^beta)``. A sinc is the ideal low-pass filter ``cutoff J1(cutoff r) / (2 pi r)``.

    Args:
        kind: (N,), the place in :data:`KERNELS`.
        size: (N,), odd: the side of each kernel.
        sigma_x: (N,) in pixels, above 0.
        sigma_y: As ``sigma_x``.
        rotation: (N,) in radians.
        beta: (N,), above 0.
        cutoff: (N,) in radians per pixel, above 0 and at most pi.

    Returns:
        (N, K, K) with K the largest size, each with the sum 1, in float64.
    """
    side = int(size.max()) if size.numel() else 1
    place = torch.arange(side, device=kind.device, dtype=torch.float64) - side // 2
    y, x = place[None, :, None], place[None, None, :]
    column = [value.double().view(-1, 1, 1) for value in (size, sigma_x, sigma_y, rotation, beta, cutoff)]
    sizes, width_x, width_y, angle, power, omega = column
    along, across = x * angle.cos() + y * angle.sin(), y * angle.cos() - x * angle.sin()
    distance = (along / width_x) ** 2 + (across / width_y) ** 2
    kinds = kind.view(-1, 1, 1)
    is_plain = kinds <= KERNELS.index("aniso")
    powered = torch.where(is_plain, distance, distance**power)
    gaussian, plateau = torch.exp(-powered / 2), 1 / (1 + powered)
    is_plateau = (kinds == KERNELS.index("plateau_iso")) | (kinds == KERNELS.index("plateau_aniso"))
    kernels = torch.where(is_plateau, plateau, gaussian)
    radius = torch.sqrt(x**2 + y**2)
    ring = omega * torch.special.bessel_j1(omega * radius) / (2 * math.pi * radius)
    sinc = torch.where(radius == 0, omega**2 / (4 * math.pi), ring)
    kernels = torch.where(kinds == KERNELS.index("sinc"), sinc, kernels)
    reach = torch.maximum(x.abs(), y.abs())
    kernels = torch.where(reach <= (sizes - 1) / 2, kernels, 0.0)
    return kernels / kernels.sum(dim=(1, 2), keepdim=True)


def equivalent_sigma(kernels: Tensor) -> Tensor:
    """The width of any kernel in one number: of the Gaussian that lets as much white noise through.

    Unlike second moments it is defined for sinc kernels too. It is ``1 / sqrt(4 pi sum(k^2))``: 0.28 without blur, sigma for
    a Gaussian of more than half a pixel, ``1 / cutoff`` for a sinc.

    Args:
        kernels: (N, k, k), each with the sum 1.

    Returns:
        (N,) in pixels.
    """
    return 1 / (4 * math.pi * kernels.square().sum(dim=(1, 2))).sqrt()


NO_BLUR = 1 / math.sqrt(4 * math.pi)
"""The :func:`equivalent_sigma` of a kernel that blurs nothing."""
