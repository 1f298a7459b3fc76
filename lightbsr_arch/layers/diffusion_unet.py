"""A U-Net that is told the step of a diffusion."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class GroupNorm(nn.GroupNorm):
    """torch's, which refuses a single value per channel, for an image of one pixel too."""

    def forward(self, input: Tensor) -> Tensor:
        """(N, C, H, W), the same shape."""
        return torch.group_norm(input, self.num_groups, self.weight, self.bias, self.eps)


def group_norm(channels: int) -> GroupNorm:
    """GroupNorm of 32 groups where they divide the channels, else of 8.

    Raises:
        ValueError: 8 does not divide them either.
    """
    groups = 32 if channels % 32 == 0 else 8
    if channels % groups:
        raise ValueError(f"num_feat: expected a multiple of 8, got {channels} channels.")
    return GroupNorm(groups, channels)


class TimeEmbedding(nn.Module):
    """Cosines and sines of a step, through two linear layers.

    Args:
        channels: Number of cosines and sines together; the embedding has four times as many values.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels = channels
        self.layers = nn.Sequential(nn.Linear(channels, 4 * channels), nn.SiLU(), nn.Linear(4 * channels, 4 * channels))

    def forward(self, t: Tensor) -> Tensor:
        """(N,) steps to (N, 4 * channels)."""
        half = self.channels // 2
        rates = torch.exp(-math.log(10000) * torch.arange(half, device=t.device, dtype=torch.float32) / half)
        angles = t[:, None].float() * rates
        waves = torch.cat([angles.cos(), angles.sin()], dim=1)
        embedding: Tensor = self.layers(waves.to(cast(nn.Linear, self.layers[0]).weight.dtype))
        return embedding


class ResidualBlock(nn.Module):
    """Two convolutions, between which the step scales and shifts the features; it starts as its skip."""

    def __init__(self, in_channels: int, channels: int, time_channels: int) -> None:
        super().__init__()
        self.norm1, self.conv1 = group_norm(in_channels), nn.Conv2d(in_channels, channels, 3, 1, 1)
        self.time = nn.Linear(time_channels, 2 * channels)
        self.norm2, self.conv2 = group_norm(channels), nn.Conv2d(channels, channels, 3, 1, 1)
        self.skip = nn.Identity() if in_channels == channels else nn.Conv2d(in_channels, channels, 1)
        nn.init.zeros_(self.conv2.weight)
        nn.init.zeros_(cast(Tensor, self.conv2.bias))

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        """(N, in_channels, H, W) and an embedding to (N, channels, H, W)."""
        h = self.conv1(F.silu(self.norm1(x)))
        scale, shift = self.time(F.silu(time))[:, :, None, None].chunk(2, dim=1)
        h = self.conv2(F.silu(self.norm2(h) * (1 + scale) + shift))
        return h + self.skip(x)


class DiffusionUNet(nn.Module):
    """Residual blocks at several resolutions, with skips from each layer on the way down; its output starts at zero.

    Args:
        in_channels: Of the input.
        out_channels: Of the output.
        num_feat: Channels at full resolution, a multiple of 8.
        mult: Channels of each level as multiples of ``num_feat``.
        num_block: Blocks per level on the way down; one more on the way up.

    Raises:
        ValueError: Channels that no GroupNorm divides.
    """

    def __init__(self, in_channels: int, out_channels: int, num_feat: int, mult: Sequence[int], num_block: int) -> None:
        super().__init__()
        widths = [num_feat * factor for factor in mult]
        self.stride = 2 ** (len(widths) - 1)
        self.time = TimeEmbedding(num_feat)
        embedding = 4 * num_feat
        self.head = nn.Conv2d(in_channels, num_feat, 3, 1, 1)
        self.down, self.shrink = nn.ModuleList(), nn.ModuleList()
        skips, width = [num_feat], num_feat
        for level, channels in enumerate(widths):
            blocks = nn.ModuleList()
            for _ in range(num_block):
                blocks.append(ResidualBlock(width, channels, embedding))
                width = channels
                skips.append(width)
            self.down.append(blocks)
            if level < len(widths) - 1:
                self.shrink.append(nn.Conv2d(width, width, 3, 2, 1))
                skips.append(width)
        self.middle = nn.ModuleList(ResidualBlock(width, width, embedding) for _ in range(2))
        self.up, self.grow = nn.ModuleList(), nn.ModuleList()
        for level, channels in reversed(list(enumerate(widths))):
            blocks = nn.ModuleList()
            for _ in range(num_block + 1):
                blocks.append(ResidualBlock(width + skips.pop(), channels, embedding))
                width = channels
            self.up.append(blocks)
            if level:
                self.grow.append(nn.Conv2d(width, width, 3, 1, 1))
        self.norm, self.last = group_norm(width), nn.Conv2d(width, out_channels, 3, 1, 1)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(cast(Tensor, self.last.bias))

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        """Of (N, in_channels, H, W) at (N,) steps, (N, out_channels, H, W); sides are multiples of :attr:`stride`."""
        time = self.time(t)
        x = self.head(x)
        skips = [x]
        for level, blocks in enumerate(self.down):
            for block in cast(nn.ModuleList, blocks):
                x = block(x, time)
                skips.append(x)
            if level < len(self.shrink):
                x = self.shrink[level](x)
                skips.append(x)
        for block in self.middle:
            x = block(x, time)
        for level, blocks in enumerate(self.up):
            for block in cast(nn.ModuleList, blocks):
                x = block(torch.cat([x, skips.pop()], dim=1), time)
            if level < len(self.grow):
                x = self.grow[level](F.interpolate(x, scale_factor=2.0, mode="nearest"))
        output: Tensor = self.last(F.silu(self.norm(x)))
        return output
