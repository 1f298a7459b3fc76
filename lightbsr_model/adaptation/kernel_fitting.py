"""The kernel of a blur and downsampling, fitted to pairs of images by least squares."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

_MOST_PIXELS = 2000
"""LR pixels of a pair that count, at random places."""

_RIDGE, _SMOOTH = 1e-3, 1e-1
"""Weights of the kernel's squares and of those of its differences, by the mean square of an HR pixel; a noisy fit has more."""


def fit_kernel(
    hr: Sequence[Tensor],
    lq: Sequence[Tensor],
    scale: int,
    size: int,
    generator: torch.Generator,
    regularisation: float = 1.0,
) -> Tensor:
    """The kernel that, applied with a stride, comes closest to LR images.

    Args:
        hr: Each (1, 3, scale * H, scale * W).
        lq: Each (1, 3, H, W).
        scale: The stride.
        size: Side of the kernel, an odd number for an odd scale or even.
        generator: Of the places.
        regularisation: Multiplies what is asked of the kernel: small, smooth values.

    Returns:
        (size, size), which sums to 1.
    """
    taps = size * size
    device = hr[0].device
    # In double precision: the system is badly conditioned where images are smooth.
    system = torch.zeros(taps, taps, dtype=torch.float64, device=device)
    target = torch.zeros(taps, dtype=torch.float64, device=device)
    count = 0
    for large, small in zip(hr, lq, strict=True):
        rows, columns = ((side - size) // scale + 1 for side in large.shape[2:])
        top, left = ((side - inner) // 2 for side, inner in zip(small.shape[2:], (rows, columns), strict=True))
        places = torch.randperm(rows * columns, generator=generator)[:_MOST_PIXELS].to(device)
        seen = small[0, :, top : top + rows, left : left + columns].flatten(1)[:, places]
        for plane, values in zip(large[0], seen, strict=True):
            windows = plane.unfold(0, size, scale).unfold(1, size, scale).reshape(rows * columns, taps)[places]
            # Without their means, so that the sum is free; it is 1 in the end.
            mean = windows.mean(dim=1, keepdim=True)
            centred = windows - mean
            system += (centred.t() @ centred).double()
            target += (centred.t() @ (values - mean[:, 0])).double()
            count += len(values)
    system, target = system / count, target / count
    unit = system.diagonal().mean() * regularisation
    asked = _RIDGE * torch.eye(taps, dtype=torch.float64, device=device) + _SMOOTH * _roughness(size).to(system)
    kernel = torch.linalg.solve(system + unit * asked, target).float().view(size, size)
    return kernel + (1 - kernel.sum()) / taps


def _roughness(size: int) -> Tensor:
    """The quadratic form of the sum of squared differences between neighbouring taps."""
    differences = torch.eye(size)[1:] - torch.eye(size)[:-1]
    one = differences.t() @ differences
    return torch.kron(one, torch.eye(size)) + torch.kron(torch.eye(size), one)


def smoothed(images: Tensor, sigma: float) -> Tensor:
    """Blur (N, C, H, W) images a little, by a Gaussian of 7 taps."""
    axis = torch.arange(-3.0, 4.0)
    line = torch.exp(-axis.square() / (2 * sigma**2))
    kernel = torch.outer(line, line) / line.sum() ** 2
    channels = images.shape[1]
    weight = kernel.to(images).expand(channels, 1, 7, 7)
    return F.conv2d(F.pad(images, (3,) * 4, mode="reflect"), weight, groups=channels)
