"""The residual block that several networks are made of."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F


class ResidualBlock(nn.Module):
    """conv3x3, activation, conv3x3, with a skip connection.

    Args:
        num_feat: Number of channels.
        slope: Of LeakyReLU; 0 is ReLU.
    """

    def __init__(self, num_feat: int, slope: float = 0.0) -> None:
        super().__init__()
        self.slope = slope
        self.conv1 = nn.Conv2d(num_feat, num_feat, 3, 1, 1)
        self.conv2 = nn.Conv2d(num_feat, num_feat, 3, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return (N, num_feat, H, W)."""
        inner = self.conv1(x)
        return x + self.conv2(F.leaky_relu(inner, self.slope) if self.slope else F.relu(inner))
