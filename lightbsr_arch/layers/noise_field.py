"""Normal noise as a function of a seed and of the place in an image: every part of an image has the noise of the whole."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

_MASK = 0xFFFFFFFF
_STEP = 0x9E3779B9
"""Odd, so that multiples of it are all different in 32 bits."""


def normal_noise(
    seeds: Tensor,
    channels: Sequence[int],
    height: int,
    width: int,
    top: int = 0,
    left: int = 0,
) -> Tensor:
    """Draw standard normal noise.

    The values at a place depend on the seed, the channel, the row and the column alone, on any device up to rounding.
    They are hashes (two rounds of multiplying and xor-shifting 32 bits per coordinate) that Box and Muller's formula
    turns into normal values of at most 5.8.

    Args:
        seeds: (N,) int64, one an image.
        channels: Numbers of the channels, such as ``range(3)``.
        height: Number of rows.
        width: Number of columns.
        top: The first row's place in its image.
        left: The first column's.

    Returns:
        (N, channels, height, width), float32, on the device of the seeds.
    """
    rows = torch.arange(height, device=seeds.device) + top
    columns = torch.arange(width, device=seeds.device) + left
    key = _mixed((seeds >> 32 & _MASK) ^ _mixed(seeds & _MASK))
    cells = _mixed(_mixed(key[:, None] + rows * _STEP & _MASK)[:, :, None] + columns * _STEP & _MASK)
    # 24 bits are what float32 holds.
    radius, angle = (
        (_mixed(cells[:, None] + numbers[:, None, None] * _STEP & _MASK) >> 8).to(torch.float32)
        for numbers in (torch.tensor(channels, device=seeds.device) * 2 + part for part in (1, 2))
    )
    return (-2 * ((radius + 1) / 2**24).log()).sqrt() * (angle * (math.tau / 2**24)).cos()


def _mixed(x: Tensor) -> Tensor:
    """A permutation of 32-bit numbers each of whose output bits depends on all input bits."""
    x = (x ^ (x >> 16)) * 0x7FEB352D & _MASK
    x = (x ^ (x >> 15)) * 0x846CA68B & _MASK  # the product's bits above 64 are lost, and not needed
    return x ^ (x >> 16)
