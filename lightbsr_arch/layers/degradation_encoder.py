"""The degradation encoder: from an LR image to its implicit degradation representation (IDR)."""

from __future__ import annotations

from torch import Tensor, nn


def _conv_norm_act(in_channels: int, out_channels: int, stride: int = 1) -> list[nn.Module]:
    return [
        nn.Conv2d(in_channels, out_channels, 3, stride, 1),
        nn.BatchNorm2d(out_channels),
        nn.LeakyReLU(0.1),
    ]


class DegradationEncoder(nn.Module):
    """Six conv3x3 + BatchNorm + LeakyReLU(0.1) layers, two of them with stride 2 (LightBSR, section 3).

    Args:
        in_channels: 3 for the student, 3 + prior_channels for the teacher.
        num_feat: Number of channels of the first two layers; the map has four times as many.

    Shape:
        (N, in_channels, H, W), image channels in [0, 1], to
        (N, 4 * num_feat, ceil(H / 4), ceil(W / 4)).
    """

    def __init__(self, in_channels: int = 3, num_feat: int = 32) -> None:
        super().__init__()
        self.out_channels = 4 * num_feat
        self.layers = nn.Sequential(
            *_conv_norm_act(in_channels, num_feat),
            *_conv_norm_act(num_feat, num_feat),
            *_conv_norm_act(num_feat, 2 * num_feat, stride=2),
            *_conv_norm_act(2 * num_feat, 2 * num_feat),
            *_conv_norm_act(2 * num_feat, 4 * num_feat, stride=2),
            *_conv_norm_act(4 * num_feat, 4 * num_feat),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return the IDR as a feature map (N, 4 * num_feat, ceil(H / 4), ceil(W / 4))."""
        return self.layers(x)
