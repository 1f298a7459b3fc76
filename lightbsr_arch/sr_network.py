"""The SR network: restores an LR image under the codes of its degradation."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lightbsr_arch.idr_converters import Codes
from lightbsr_arch.modulation import ModulatedGroup

RGB_MEAN = (0.4488, 0.4371, 0.4040)
"""DIV2K's mean colour in [0, 1], which the network works around."""


class PixelShuffleUpsampler(nn.Sequential):
    """conv3x3 + PixelShuffle: twice by 2 for x4, once by 2 or 3 for x2 and x3.

    Raises:
        ValueError: The scale is none of 2, 3, 4.
    """

    def __init__(self, scale: int, num_feat: int) -> None:
        steps = {2: (2,), 3: (3,), 4: (2, 2)}.get(scale)
        if steps is None:
            raise ValueError(f"scale: expected 2, 3 or 4, got {scale!r}.")
        layers: list[nn.Module] = []
        for step in steps:
            layers += [nn.Conv2d(num_feat, step**2 * num_feat, 3, 1, 1), nn.PixelShuffle(step)]
        super().__init__(*layers)


class SRNetwork(nn.Module):
    """Groups of modulated blocks between a first conv3x3 and an upsampler (LightBSR, section 3).

    Args:
        scale: 2, 3 or 4.
        num_feat: Channels of the features.
        num_group: Groups.
        num_block: Modulated blocks a group.
        num_spatial_feat: Of the ``num_feat`` channels, those that the spatial code gates.
        num_channel_code: Length of the channel code.
        num_spatial_code: Channels of the spatial code.
        layer_scale_init: Where the layer scale of every block starts.
    """

    rgb_mean: Tensor

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
        self.scale = scale
        # A constant of the method: not part of a checkpoint.
        self.register_buffer("rgb_mean", torch.tensor(RGB_MEAN).view(1, 3, 1, 1), persistent=False)
        self.head = nn.Conv2d(3, num_feat, 3, 1, 1)
        self.groups = nn.ModuleList(
            ModulatedGroup(num_block, num_feat, num_spatial_feat, num_channel_code, num_spatial_code, layer_scale_init)
            for _ in range(num_group)
        )
        self.conv = nn.Conv2d(num_feat, num_feat, 3, 1, 1)
        self.upsampler = PixelShuffleUpsampler(scale, num_feat)
        self.last = nn.Conv2d(num_feat, 3, 3, 1, 1)

    def forward(self, lq: Tensor, codes: Codes) -> Tensor:
        """Restore (N, 3, H, W) in [0, 1] to (N, 3, scale * H, scale * W), not clamped."""
        shallow = self.head(lq - self.rgb_mean)
        features = shallow
        for group in self.groups:
            features, codes = group(features, codes)
        features = self.conv(features) + shallow
        return self.last(self.upsampler(features)) + self.rgb_mean
