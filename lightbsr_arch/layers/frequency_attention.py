"""Convolutions and attention on the spectra of feature maps: each of their values depends on the whole image."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lightbsr_arch.layers.spectrum import (
    FullPrecisionConv2d,
    at_least_float32,
    from_spectrum,
    full_precision,
    spectrum,
)

GRID = (32, 17)
"""Cells of the spectrum, rows and columns, in which frequencies are weighed at every image size."""


class FrequencyFeatures(nn.Module):
    """Features of an image, plus what two conv1x1 with a GELU between them make of their spectrum.

    Real and imaginary parts are channels of their own.
    """

    def __init__(self, num_feat: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, num_feat, 3, 1, 1)
        self.mix = nn.Sequential(
            FullPrecisionConv2d(2 * num_feat, 2 * num_feat, 1),
            nn.GELU(),
            FullPrecisionConv2d(2 * num_feat, 2 * num_feat, 1),
        )

    def forward(self, image: Tensor) -> Tensor:
        """(N, 3, H, W) to (N, num_feat, H, W); W is even."""
        features = self.conv(image)
        with full_precision(image.device):
            mixed = self.mix(torch.cat(spectrum(features).unbind(-1), dim=1))
            change = from_spectrum(torch.stack(mixed.chunk(2, dim=1), dim=-1), features.shape[3])
        return features + change.to(features.dtype)


class FrequencySpatialAttention(nn.Module):
    """Weighs the frequencies of feature maps, all channels alike, by factors from 0 to 2; then a conv1x1.

    The factors come from a map of the spectrum's amplitudes of fixed size, so that they mean the same frequencies in patches
    and in images; a new network weighs all by 1.
    """

    def __init__(self, num_feat: int, num_hidden: int = 8) -> None:
        super().__init__()
        self.first = FullPrecisionConv2d(2, num_hidden, 7, 1, 3)
        self.last = FullPrecisionConv2d(num_hidden, 1, 7, 1, 3)
        self.conv = nn.Conv2d(num_feat, num_feat, 1)
        nn.init.zeros_(self.last.weight)
        if self.last.bias is not None:
            nn.init.zeros_(self.last.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Return (N, num_feat, H, W); W is even."""
        with full_precision(x.device):
            values = spectrum(x)
            filtered = from_spectrum(values * self.factors(values)[..., None], x.shape[3])
        return self.conv(filtered.to(x.dtype))

    def factors(self, values: Tensor) -> Tensor:
        """The factors of a spectrum (N, C, H, W // 2 + 1, 2): (N, 1, H, W // 2 + 1), each from 0 to 2."""
        amplitude = torch.log1p(torch.linalg.vector_norm(at_least_float32(values), dim=-1))
        maps = torch.stack([amplitude.mean(dim=1), amplitude.amax(dim=1)], dim=1)
        height, width = maps.shape[2:]
        # Frequency 0 comes to the middle of the rows.
        rows, columns = (torch.arange(side, device=maps.device) for side in (height, width))
        rows = (rows + height // 2).remainder(rows[-1] + 1)
        cells = _averaging(rows, GRID[0], maps.dtype) @ maps @ _averaging(columns, GRID[1], maps.dtype).t()
        factors = 2 * torch.sigmoid(self.last(F.gelu(self.first(cells))))
        return _interpolation(rows, GRID[0], maps.dtype) @ factors @ _interpolation(columns, GRID[1], maps.dtype).t()


def _averaging(places: Tensor, cells: int, dtype: torch.dtype) -> Tensor:
    """Adaptive average pooling along a side as a matrix (cells, side).

    A product has the same gradient in every run, and takes any size in an exported graph; torch's pooling has neither.

    Args:
        places: (side,), the place of each value along the side.
        cells: Number of averages.
        dtype: Of the matrix.
    """
    side = places.shape[0]
    cell = torch.arange(cells, device=places.device)
    first, stop = cell * side // cells, ((cell + 1) * side + cells - 1) // cells
    inside = (places[None] >= first[:, None]) & (places[None] < stop[:, None])
    return inside.to(dtype) / (stop - first)[:, None].to(dtype)


def _interpolation(places: Tensor, cells: int, dtype: torch.dtype) -> Tensor:
    """Bilinear interpolation along a side as a matrix (side, cells); arguments as in :func:`_averaging`."""
    source = ((places.to(dtype) + 0.5) * cells / places.shape[0] - 0.5).clamp(0, cells - 1)
    cell = torch.arange(cells, device=places.device, dtype=dtype)
    return (1 - (source[:, None] - cell[None]).abs()).clamp(min=0)
