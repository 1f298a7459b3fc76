"""Fourier transforms of feature maps, in float32 at least whatever the network computes in.

A spectrum is a real tensor (N, C, H, W // 2 + 1, 2), the real and the imaginary part in its last dimension: rows hold the
frequencies 0, 1, ..., -1 of the height, columns the frequencies from 0 up of the width. Transforms are orthonormal, so that
amplitudes of noise and texture do not depend on the image's size.
"""

from __future__ import annotations

import math
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def full_precision(device: torch.device) -> AbstractContextManager[object]:
    """A context without autocast: 16 bits would round a spectrum's mean, which is far larger than all else in it."""
    kind = device.type
    if torch.amp.is_autocast_available(kind) and torch.is_autocast_enabled(kind):
        return torch.autocast(kind, enabled=False)
    return nullcontext()


def at_least_float32(x: Tensor) -> Tensor:
    """The same values; those of 16 bits as float32."""
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


class FullPrecisionConv2d(nn.Conv2d):
    """A convolution that computes in its input's precision, whatever its weights are stored in."""

    def forward(self, x: Tensor) -> Tensor:
        """(N, in_channels, H, W) to (N, out_channels, H', W'), outside autocast."""
        bias = None if self.bias is None else self.bias.to(x.dtype)
        return F.conv2d(x, self.weight.to(x.dtype), bias, self.stride, self.padding)


def spectrum(x: Tensor) -> Tensor:
    """The spectrum of (N, C, H, W): (N, C, H, W // 2 + 1, 2), as ``torch.fft.rfft2`` with ``norm="ortho"``."""
    x = at_least_float32(x)
    if not torch.compiler.is_exporting():
        return torch.view_as_real(torch.fft.rfft2(x, norm="ortho"))
    height, width = x.shape[2:]
    cos, sin = _waves(width, width // 2 + 1, x)
    real, imaginary = x @ cos, -(x @ sin)
    cos, sin = _waves(height, height, x)
    return torch.stack([cos @ real + sin @ imaginary, cos @ imaginary - sin @ real], dim=-1)


def from_spectrum(values: Tensor, width: int) -> Tensor:
    """The feature map (N, C, H, width) of a spectrum, as ``torch.fft.irfft2`` with ``norm="ortho"``.

    Args:
        values: (N, C, H, width // 2 + 1, 2).
        width: An even number.
    """
    height = values.shape[2]
    if not torch.compiler.is_exporting():
        complex_values = torch.view_as_complex(values.contiguous())
        return torch.fft.irfft2(complex_values, s=(height, width), norm="ortho")
    real, imaginary = values.unbind(-1)
    cos, sin = _waves(height, height, values)
    real, imaginary = cos @ real - sin @ imaginary, cos @ imaginary + sin @ real
    cos, sin = _waves(width, width // 2 + 1, values)
    # Frequencies that are left out are the conjugates of these; 0 and the highest one have none.
    frequency = torch.arange(width // 2 + 1, device=values.device)
    twice = 2 - ((frequency == 0) | (frequency == width // 2)).to(values.dtype)
    return (twice * real) @ cos.t() - (twice * imaginary) @ sin.t()


def _waves(side: int, frequencies: int, like: Tensor) -> tuple[Tensor, Tensor]:
    """Cosines and sines (side, frequencies): a transform as a product of matrices.

    For exported graphs: onnxruntime's DFT fails on maps whose size is free.
    """
    place, frequency = (torch.arange(number, device=like.device) for number in (side, frequencies))
    # A tensor: the exporter cannot take a remainder by a size that is free.
    length = place[-1] + 1
    # Modulo in integers: angles of thousands of turns would be rounded.
    turns = (place[:, None] * frequency[None]).remainder(length).to(like.dtype) / length
    angle, norm = 2 * math.pi * turns, length.to(like.dtype).rsqrt()
    return norm * angle.cos(), norm * angle.sin()
