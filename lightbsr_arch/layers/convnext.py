"""The ConvNeXt block (arXiv 2201.03545), with or without its skip connection."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class DepthwiseConv2d(nn.Conv2d):
    """A depthwise convolution, which stays in fp32 on a CPU: its gradient takes about 3 times as long in bfloat16 there."""

    def forward(self, x: Tensor) -> Tensor:
        """Return (N, C, H, W)."""
        if x.device.type != "cpu" or not torch.is_autocast_enabled("cpu"):
            return super().forward(x)
        with torch.autocast("cpu", enabled=False):
            return super().forward(x.float())


class ConvNeXtTail(nn.Module):
    """Depthwise 7x7, LayerNorm over channels, a two-layer MLP, layer scale (ConvNeXt, arXiv 2201.03545).

    Used alone it is the plain block at the end of a group; a modulated block puts a modulation before it.

    Args:
        num_feat: Number of channels.
        layer_scale_init: Initial value of the layer scale gamma.
    """

    def __init__(self, num_feat: int, layer_scale_init: float) -> None:
        super().__init__()
        self.dwconv = DepthwiseConv2d(num_feat, num_feat, 7, 1, 3, groups=num_feat)
        self.norm = nn.LayerNorm(num_feat, eps=1e-6)
        self.pwconv1 = nn.Linear(num_feat, 2 * num_feat)
        self.pwconv2 = nn.Linear(2 * num_feat, num_feat)
        self.gamma = nn.Parameter(torch.full((num_feat,), layer_scale_init))

    def residual(self, x: Tensor) -> Tensor:
        """Return the residual branch, (N, num_feat, H, W)."""
        x = self.norm(self.dwconv(x).permute(0, 2, 3, 1))
        x = self.gamma * self.pwconv2(F.gelu(self.pwconv1(x)))
        return x.permute(0, 3, 1, 2)

    def forward(self, x: Tensor) -> Tensor:
        """Return ``x + residual(x)``, (N, num_feat, H, W)."""
        return x + self.residual(x)
