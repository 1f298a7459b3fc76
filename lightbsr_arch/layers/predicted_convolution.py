"""A depthwise convolution whose kernels are predicted from each sample's code (arXiv 2104.00416, 2211.16928)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class PredictedDepthwiseConv(nn.Module):
    """Depthwise 3x3 convolution; Linear, LeakyReLU(0.1), Linear (both without bias) predict its kernels from the code.

    Args:
        num_feat: Number of channels of the features, and length of the code.
    """

    def __init__(self, num_feat: int) -> None:
        super().__init__()
        self.kernel = nn.Sequential(
            nn.Linear(num_feat, num_feat, bias=False),
            nn.LeakyReLU(0.1),
            nn.Linear(num_feat, 9 * num_feat, bias=False),
        )

    def forward(self, x: Tensor, code: Tensor) -> Tensor:
        """Filter (N, num_feat, H, W) features with the kernels of (N, num_feat) codes; zero padding."""
        samples, channels, height, width = x.shape
        predicted = self.kernel(code)
        if isinstance(samples, torch.SymInt):
            return _as_shifted_sum(x, predicted.view(samples, channels, 9, 1, 1))
        kernels = predicted.view(samples * channels, 1, 3, 3)
        # All channels of all samples side by side: one grouped convolution for the batch.
        filtered = F.conv2d(x.reshape(1, -1, height, width), kernels, padding=1, groups=samples * channels)
        return filtered.view(samples, channels, height, width)


def _as_shifted_sum(x: Tensor, kernels: Tensor) -> Tensor:
    """The same for an exported graph: its convolutions have a fixed number of groups, which here depends on the batch."""
    height, width = x.shape[2:]
    padded = F.pad(x, (1, 1, 1, 1))
    total = torch.zeros_like(x)
    for row in range(3):
        for column in range(3):
            shifted = padded[:, :, row : row + height, column : column + width]
            total = total + shifted * kernels[:, :, 3 * row + column]
    return total
