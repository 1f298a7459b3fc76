"""LightBSR's SR network, whose blocks are modulated by the codes (LightBSR, section 3)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lightbsr_arch.layers.codes import Codes
from lightbsr_arch.layers.convnext import ConvNeXtTail
from lightbsr_arch.layers.residual_sr import ResidualSR


class CodeModulation(nn.Module):
    """Split the features; the spatial code gates one part per pixel, the channel code the other part per channel.

    Args:
        num_feat: Number of channels of the features.
        num_spatial_feat: Number of channels gated by the spatial code.
        num_channel_code: Length of the channel code.
        num_spatial_code: Number of channels of the spatial code.
    """

    def __init__(self, num_feat: int, num_spatial_feat: int, num_channel_code: int, num_spatial_code: int) -> None:
        super().__init__()
        rest = num_feat - num_spatial_feat
        self.split = [num_spatial_feat, rest]
        self.spatial_gate = nn.Sequential(
            nn.Conv2d(num_spatial_code + num_spatial_feat, num_spatial_feat, 1, bias=False),
            nn.GELU(),
            nn.Conv2d(num_spatial_feat, num_spatial_feat, 3, 1, 1, bias=False),
        )
        self.spatial_conv = nn.Conv2d(num_spatial_feat, num_spatial_feat, 5, 1, 2, bias=False)
        self.channel_gate = nn.Sequential(
            nn.Linear(rest + num_channel_code, rest // 2, bias=False),
            nn.GELU(),
            nn.Linear(rest // 2, rest, bias=False),
        )

    def forward(self, x: Tensor, codes: Codes) -> Tensor:
        """Modulate (N, num_feat, H, W) features by codes of the same N, H and W."""
        x1, x2 = torch.split(x, self.split, dim=1)
        x1 = self.spatial_conv(x1 * torch.sigmoid(self.spatial_gate(torch.cat([codes.spatial, x1], dim=1))))
        gate = torch.sigmoid(self.channel_gate(torch.cat([x2.mean(dim=(2, 3)), codes.channel], dim=1)))
        return torch.cat([x1, x2 * gate[:, :, None, None]], dim=1)


class ModulatedBlock(nn.Module):
    """Modulation, GELU, then a ConvNeXt tail, all in one skip connection. Arguments as in its two parts."""

    def __init__(
        self,
        num_feat: int,
        num_spatial_feat: int,
        num_channel_code: int,
        num_spatial_code: int,
        layer_scale_init: float,
    ) -> None:
        super().__init__()
        self.modulation = CodeModulation(num_feat, num_spatial_feat, num_channel_code, num_spatial_code)
        self.tail = ConvNeXtTail(num_feat, layer_scale_init)

    def forward(self, x: Tensor, codes: Codes) -> Tensor:
        """Return (N, num_feat, H, W)."""
        return x + self.tail.residual(F.gelu(self.modulation(x, codes)))


class CodeRefinement(nn.Module):
    """Refine each code by a small residual network, at the start of a group."""

    def __init__(self, num_channel_code: int, num_spatial_code: int) -> None:
        super().__init__()
        self.channel = nn.Sequential(
            nn.Linear(num_channel_code, 2 * num_channel_code),
            nn.GELU(),
            nn.Linear(2 * num_channel_code, num_channel_code),
            nn.GELU(),
        )
        self.spatial = nn.Sequential(
            nn.Conv2d(num_spatial_code, 2 * num_spatial_code, 3, 1, 1),
            nn.GELU(),
            nn.Conv2d(2 * num_spatial_code, num_spatial_code, 3, 1, 1),
            nn.GELU(),
        )

    def forward(self, codes: Codes) -> Codes:
        """Return refined codes of the same shapes."""
        return Codes(codes.channel + self.channel(codes.channel), codes.spatial + self.spatial(codes.spatial))


class ModulatedGroup(nn.Module):
    """Refine the codes; then modulated blocks, a plain ConvNeXt block and a conv3x3 in one skip connection."""

    def __init__(
        self,
        num_block: int,
        num_feat: int,
        num_spatial_feat: int,
        num_channel_code: int,
        num_spatial_code: int,
        layer_scale_init: float,
    ) -> None:
        super().__init__()
        self.refinement = CodeRefinement(num_channel_code, num_spatial_code)
        self.blocks = nn.ModuleList(
            ModulatedBlock(num_feat, num_spatial_feat, num_channel_code, num_spatial_code, layer_scale_init)
            for _ in range(num_block)
        )
        self.plain_block = ConvNeXtTail(num_feat, layer_scale_init)
        self.conv = nn.Conv2d(num_feat, num_feat, 3, 1, 1)

    def forward(self, x: Tensor, codes: Codes) -> tuple[Tensor, Codes]:
        """Return the features (N, num_feat, H, W) and the refined codes, which the next group starts from."""
        codes = self.refinement(codes)
        features = x
        for block in self.blocks:
            features = block(features, codes)
        return x + self.conv(self.plain_block(features)), codes


class ModulatedSR(ResidualSR):
    """Groups of modulated blocks between a first conv3x3 and an upsampler (LightBSR, section 3).

    Args:
        scale: 2, 3 or 4.
        num_feat: Number of channels of the features.
        num_group: Number of groups.
        num_block: Number of modulated blocks per group.
        num_spatial_feat: Number of channels gated by the spatial code.
        num_channel_code: Length of the channel code.
        num_spatial_code: Number of channels of the spatial code.
        layer_scale_init: Initial value of the layer scale of every block.
    """

    groups: nn.ModuleList

    def __init__(
        self,
        scale: int,
        num_feat: int,
        num_group: int,
        num_block: int,
        num_spatial_feat: int,
        num_channel_code: int,
        num_spatial_code: int,
        layer_scale_init: float,
    ) -> None:
        super().__init__()
        if not 0 < num_spatial_feat < num_feat:
            raise ValueError(f"num_spatial_feat: expected 1 to num_feat - 1 = {num_feat - 1}, got {num_spatial_feat}.")
        self.build(
            scale,
            num_feat,
            lambda: (
                ModulatedGroup(
                    num_block, num_feat, num_spatial_feat, num_channel_code, num_spatial_code, layer_scale_init
                )
                for _ in range(num_group)
            ),
        )

    def run_blocks(self, features: Tensor, code: Codes) -> Tensor:
        """Pass features through the groups; each starts from the codes that the previous one refined."""
        for group in self.groups:
            features, code = group(features, code)
        return features

    def forward(self, lq: Tensor, codes: Codes) -> Tensor:
        """Restore (N, 3, H, W) in [0, 1] to (N, 3, scale * H, scale * W), not clamped."""
        return self.restore(lq, codes)
