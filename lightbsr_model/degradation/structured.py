"""Blur and bicubic downsampling as small matrix products, for training patches.

Both steps are linear, and along each axis alone they are matrices. A blur kernel that is the outer product of a column and a
row, as every isotropic Gaussian is, blurs and shrinks a plane ``x`` as ``A x B^T``, where ``A`` and ``B`` are the products of
the downsampling matrix and a banded blur matrix. Any kernel is a sum of such products, by its singular value decomposition;
an anisotropic Gaussian is one of five to six on the average, to rounding errors of float32.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from lightbsr_model.degradation.blur import circular_convolution
from lightbsr_model.degradation.resize import Border, bicubic_downsample

LONGEST_SIDE = 512
"""Of an image for which the matrices are worth their memory, in pixels."""

_TOLERANCE = 1e-6
"""Frobenius norm of what is left out of a kernel. At 255 grey levels it shows as some 1e-4 of one."""

_COLUMNS, _ROWS = 16, 64
"""LR pixels that are made at a time: a window of the matrices, which are zero elsewhere."""


def structured_blur_and_downsample(
    planes: Tensor, kernels: Tensor, scale: int, border: Border, separable: bool
) -> Tensor:
    """Blur and shrink planes by the kernel of their sample.

    Args:
        planes: (N, M, H, W), M planes of a sample, in 0..255, uint8 or float32; H and W from ``k // 2 + 1`` to
            :data:`LONGEST_SIDE`, multiples of ``scale``.
        kernels: (N, k, k), float32.
        scale: The factor.
        border: See :data:`~lightbsr_model.degradation.resize.Border`.
        separable: Every kernel is an outer product. On the CPU it is found out anyway.

    Returns:
        (N, M, H / scale, W / scale), float32.
    """
    down, across = (_axis_basis(side, kernels.shape[-1], scale, border, planes.device) for side in planes.shape[-2:])
    radius = kernels.shape[-1] // 2
    if separable:
        # The factors of an outer product that sums to 1 are its sums. In float64, where a sum is as good as its terms.
        exact = kernels.double()
        rows = exact.sum(1) / exact.sum((1, 2))[:, None]
        left, right = _matrices(exact.sum(2), down), _matrices(rows, across)
        if not _is_on_cpu(planes):
            return left[:, None] @ (planes.float() @ right[:, None].mT)
        factors = zip(planes, left[:, None], right[:, None], strict=True)
        return torch.stack([_shrink(*matrices, scale, radius) for matrices in factors])
    if not _is_on_cpu(planes):
        return _by_fourier_transform(planes.float(), kernels, scale, border)
    shrunk = []
    for x, kernel in zip(planes, kernels, strict=True):
        terms = _separable_terms(kernel)
        shrunk.append(_shrink(x, _matrices(terms.columns, down), _matrices(terms.rows, across), scale, radius))
    return torch.stack(shrunk)


def _is_on_cpu(planes: Tensor) -> bool:
    """Whether small steps, one after the other, cost little and leave out much. Tests ask for the other way too."""
    return planes.device.type == "cpu"


class _Terms(NamedTuple):
    columns: Tensor
    """(r, k)"""
    rows: Tensor
    """(r, k)"""


def _separable_terms(kernel: Tensor) -> _Terms:
    """The fewest outer products that sum up to a kernel, but for the tolerance."""
    u, values, v = torch.linalg.svd(kernel.double())
    left_out = values.square().flip(0).cumsum(0).flip(0).sqrt()
    rank = max(1, int((left_out > _TOLERANCE).sum()))
    return _Terms((u[:, :rank] * values[:rank]).mT, v[:rank])


@lru_cache(maxsize=32)
def _axis_basis(side: int, kernel_size: int, scale: int, border: Border, device: torch.device) -> Tensor:
    """For each of a 1-D kernel's values, the matrix of blurring and shrinking by that value alone: (k, side / scale, side)."""
    radius = kernel_size // 2
    identity = torch.eye(side, dtype=torch.float64)
    # Rows are what reaches each pixel from all others: shrinking works on them as on the rows of an image.
    padded = F.pad(identity[None], (radius, radius), mode="reflect")[0]
    shifted = torch.stack([padded[:, 2 * radius - place :][:, :side] for place in range(kernel_size)])
    # One row of an image for each source pixel and value; its height is of no account, so it is `scale` equal rows.
    rows = shifted.reshape(-1, 1, 1, side).expand(-1, 1, scale, side)
    shrunk = bicubic_downsample(rows.contiguous(), scale, border)[:, 0, 0]
    return shrunk.reshape(kernel_size, side, -1).mT.float().contiguous().to(device)


def _matrices(profiles: Tensor, basis: Tensor) -> Tensor:
    """1-D kernels (r, k) to matrices (r, h, H)."""
    return (profiles.to(basis) @ basis.flatten(1)).unflatten(1, basis.shape[1:])


def _shrink(planes: Tensor, left: Tensor, right: Tensor, scale: int, radius: int) -> Tensor:
    """Sum of ``left[t] @ plane @ right[t].T`` over the terms t, without the zeros of the matrices.

    Args:
        planes: (M, H, W).
        left: (r, h, H).
        right: (r, w, W).
        scale: The factor.
        radius: Of the kernel.
    """
    count, height, width = planes.shape
    terms, low_height, _ = left.shape
    low_width = right.shape[1]
    # A row of a matrix reaches two LR pixels and the kernel's radius beyond its own place.
    reach = radius + 2 * scale
    rows = planes.reshape(count * height, width).float()
    stacked = left.permute(1, 2, 0).reshape(low_height, height * terms)
    result = rows.new_empty(count, low_height, low_width)
    for x in range(0, low_width, _COLUMNS):
        start, stop = max(0, x * scale - reach), min(width, (x + _COLUMNS) * scale + reach)
        window = right[:, x : x + _COLUMNS, start:stop].flatten(0, 1)
        # (planes, H * terms, columns): the terms of a row lie together, as in `stacked`.
        narrow = (rows[:, start:stop] @ window.mT).view(count, height * terms, -1)
        for y in range(0, low_height, _ROWS):
            first, last = max(0, y * scale - reach), min(height, (y + _ROWS) * scale + reach)
            part = stacked[y : y + _ROWS, first * terms : last * terms]
            result[:, y : y + _ROWS, x : x + _COLUMNS] = part @ narrow[:, first * terms : last * terms]
    return result


def _by_fourier_transform(planes: Tensor, kernels: Tensor, scale: int, border: Border) -> Tensor:
    radius = kernels.shape[-1] // 2
    padded = F.pad(planes, (radius,) * 4, mode="reflect")
    blurred = circular_convolution(padded, kernels)[..., 2 * radius :, 2 * radius :]
    return bicubic_downsample(blurred, scale, border)
