"""IDR converters: the two compact codes that modulate the SR network."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor, nn
from torch.nn import functional as F

from lightbsr_arch.layers.image import crop


class Codes(NamedTuple):
    """The codes of a degradation that the SR network is given, before any refinement."""

    channel: Tensor
    """(N, num_channel_code): one vector per image."""
    spatial: Tensor
    """(N, num_spatial_code, H, W): one vector per pixel of the LR image."""


class IDRConverters(nn.Module):
    """Convert an IDR map to the channel code and the spatial code (LightBSR, section 3).

    Args:
        idr_channels: Number of channels of the encoder's map; a multiple of 16, since PixelShuffle(4) spreads them over pixels.
        num_channel_code: Length of the channel code.

    Raises:
        ValueError: ``idr_channels`` is not a multiple of 16.
    """

    def __init__(self, idr_channels: int = 128, num_channel_code: int = 48) -> None:
        super().__init__()
        if idr_channels % 16:
            raise ValueError(
                f"idr_channels: expected a multiple of 16 (PixelShuffle(4) turns 16 channels into one), "
                f"got {idr_channels}. It is 4 * num_encoder_feat: use a multiple of 4 for num_encoder_feat."
            )
        self.num_spatial_code = idr_channels // 16
        self.channel = nn.Linear(idr_channels, num_channel_code, bias=False)
        self.spatial = nn.Conv2d(self.num_spatial_code, self.num_spatial_code, 3, 1, 1)

    def forward(self, idr: Tensor, size: tuple[int, int]) -> Codes:
        """Convert an IDR map.

        Args:
            idr: (N, idr_channels, ceil(H / 4), ceil(W / 4)).
            size: (H, W) of the LR image.
        """
        height, width = size
        channel = F.gelu(self.channel(idr.mean(dim=(2, 3))))
        spatial = F.gelu(self.spatial(crop(F.pixel_shuffle(idr, 4), height, width)))
        return Codes(channel, spatial)
