"""From sRGB to what a camera's sensor measures, and back (unprocessing, arXiv 1811.11127).

All values are in [0, 1]. Linear images are in the camera's own colours, before white balance.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

_XYZ_TO_CAMERA = (
    ((1.0234, -0.2969, -0.2266), (-0.5625, 1.6328, -0.0469), (-0.0703, 0.2188, 0.6406)),
    ((0.4913, -0.0541, -0.0202), (-0.613, 1.3513, 0.2906), (-0.1564, 0.2151, 0.7183)),
    ((0.838, -0.263, -0.0639), (-0.2887, 1.0725, 0.2496), (-0.0627, 0.1427, 0.5438)),
    ((0.6596, -0.2079, -0.0562), (-0.4782, 1.3016, 0.1933), (-0.097, 0.1581, 0.5181)),
)
"""Of four cameras."""
RGB_TO_XYZ = ((0.4124564, 0.3575761, 0.1804375), (0.2126729, 0.7151522, 0.0721750), (0.0193339, 0.1191920, 0.9503041))
CAMERAS = len(_XYZ_TO_CAMERA)
_GAMMA, _DARKEST = 2.2, 1e-8
_BRIGHT = 0.9
"""Mean of the channels above which highlights lose their colour."""


def camera_matrix(weights: Tensor) -> Tensor:
    """The matrix from linear sRGB to the colours of a mixture of cameras, (3, 3), float64; its rows sum to 1.

    Args:
        weights: (4,), >= 0, not all 0.
    """
    cameras = torch.tensor(_XYZ_TO_CAMERA, dtype=torch.float64)
    weights = weights.double()
    mixture = ((weights / weights.sum()).view(-1, 1, 1) * cameras).sum(dim=0)
    matrix = mixture @ torch.tensor(RGB_TO_XYZ, dtype=torch.float64)
    return matrix / matrix.sum(dim=1, keepdim=True)


def linear_of_srgb(srgb: Tensor) -> Tensor:
    """Undo the tone curve and the gamma of sRGB, of any shape; in linear light, still in sRGB's colours."""
    toned = 0.5 - torch.sin(torch.asin(1 - 2 * srgb.clamp(0, 1)) / 3)
    return toned.clamp_min(_DARKEST) ** _GAMMA


def srgb_of_linear(linear: Tensor) -> Tensor:
    """Gamma and tone curve; undoes :func:`linear_of_srgb`."""
    gamma = linear.clamp_min(_DARKEST) ** (1 / _GAMMA)
    return 3 * gamma**2 - 2 * gamma**3


@dataclass(frozen=True)
class Colours:
    """A camera's colours for each image of a batch."""

    matrix: Tensor
    """(N, 3, 3): from linear sRGB to the camera's colours."""
    gains: Tensor
    """(N, 3): brightness, red and blue, by which the camera's colours are multiplied on the way to sRGB."""

    @classmethod
    def of(cls, vector: Tensor | None, number: int) -> Colours:
        """From a (N, 12) vector of matrix and gains, as batches have it; None changes no colours."""
        if vector is None:
            vector = torch.cat([torch.eye(3).flatten(), torch.ones(3)]).expand(number, 12)
        return cls(vector[:, :9].reshape(-1, 3, 3), vector[:, 9:])

    @property
    def vector(self) -> Tensor:
        """(N, 12)."""
        return torch.cat([self.matrix.flatten(1), self.gains], dim=1)

    def _channel_gains(self, image: Tensor) -> Tensor:
        brightness, red, blue = self.gains.to(image).unbind(1)
        return torch.stack([brightness * red, brightness, brightness * blue], dim=1)[:, :, None, None]

    def to_linear(self, srgb: Tensor) -> Tensor:
        """SRGB (N, 3, H, W) to linear camera RGB, clamped to [0, 1]."""
        image = torch.einsum("nij,njhw->nihw", self.matrix.to(srgb), linear_of_srgb(srgb))
        gains = 1 / self._channel_gains(image)
        grey = image.mean(dim=1, keepdim=True)
        # Highlights are white whatever the gains: they were clipped.
        white = (((grey - _BRIGHT).clamp_min(0)) / (1 - _BRIGHT)) ** 2
        return (image * torch.maximum(white + (1 - white) * gains, gains)).clamp(0, 1)

    def to_srgb(self, linear: Tensor) -> Tensor:
        """Linear camera RGB (N, 3, H, W) to sRGB, clamped to [0, 1]."""
        image = (linear * self._channel_gains(linear)).clamp(0, 1)
        # On the host: not every device has float64.
        inverse = torch.linalg.inv(self.matrix.cpu().double()).to(image)
        return srgb_of_linear(torch.einsum("nij,njhw->nihw", inverse, image).clamp(0, 1)).clamp(0, 1)


PATTERNS = {"RGGB": (0, 0), "GRBG": (0, 1), "GBRG": (1, 0), "BGGR": (1, 1)}
"""Colours of a Bayer sensor's first four pixels, row by row: how far down and right of the first pixel the red one lies."""
_PACKED = ((0, 0), (0, 1), (1, 0), (1, 1))
"""Where R, Gr, Gb and B lie in RGGB."""


def mosaic(rgb: Tensor) -> Tensor:
    """What an RGGB sensor sees of images (..., 3, 2h, 2w): packed R, Gr, Gb, B, (..., 4, h, w)."""
    colours = (0, 1, 1, 2)
    planes = (rgb[..., colour, y::2, x::2] for colour, (y, x) in zip(colours, _PACKED, strict=True))
    return torch.stack(list(planes), dim=-3)


def pack(bayer: Tensor, pattern: str = "RGGB") -> Tensor:
    """Sensor values (..., H, W) as packed R, Gr, Gb, B, (..., 4, h, w).

    With another pattern than RGGB the first row or column, or both, and the last are left out, so that red comes first.

    Raises:
        ValueError: An unknown pattern, or less than two pixels are left.
    """
    if pattern not in PATTERNS:
        raise ValueError(f"expected one of {', '.join(PATTERNS)}, got {pattern!r}.")
    down, right = PATTERNS[pattern]
    height, width = ((side - first) // 2 for side, first in zip(bayer.shape[-2:], (down, right), strict=True))
    if height < 1 or width < 1:
        raise ValueError(f"{bayer.shape[-1]}x{bayer.shape[-2]} pixels have no whole {pattern} square.")
    inner = bayer[..., down : down + 2 * height, right : right + 2 * width]
    return torch.stack([inner[..., y::2, x::2] for y, x in _PACKED], dim=-3)


def colours_of_packed(packed: Tensor) -> Tensor:
    """Packed R, Gr, Gb, B (..., 4, h, w) as RGB of half the sensor's size, (..., 3, h, w)."""
    red, green, other_green, blue = packed.unbind(-3)
    return torch.stack([red, (green + other_green) / 2, blue], dim=-3)
