"""A loss of colours: what is left of images without their detail."""

from __future__ import annotations

import torch
from basicsr.utils.registry import LOSS_REGISTRY
from torch import Tensor, nn
from torch.nn import functional as F

_RADIUS = 10


@LOSS_REGISTRY.register()
class LowPassL1Loss(nn.Module):
    """L1 distance between images after a 21x21 Gaussian blur with reflected borders.

    Images with a side of less than 11 pixels are blurred by as much of the kernel as their border can reflect.

    Args:
        loss_weight: Multiplies the loss.
        sigma: Standard deviation of the Gaussian in pixels, above 0.

    Raises:
        ValueError: A sigma that is not positive.
    """

    def __init__(self, loss_weight: float = 1.0, sigma: float = 4.0) -> None:
        super().__init__()
        if sigma <= 0:
            raise ValueError(f"sigma: expected more than 0, got {sigma}.")
        self.loss_weight, self.sigma = loss_weight, sigma

    def forward(self, images: Tensor, target: Tensor) -> Tensor:
        """Return the loss of (N, C, H, W) images of any range."""
        # The blur is linear: that of the difference is the difference of the blurred images.
        difference = images.float() - target.float()
        radius = min(_RADIUS, *(side - 1 for side in difference.shape[2:]))
        places = torch.arange(-radius, radius + 1, device=images.device, dtype=torch.float32)
        kernel = torch.exp(-places.square() / (2 * self.sigma**2))
        kernel = (kernel / kernel.sum()).expand(difference.shape[1], 1, 1, -1)
        padded = F.pad(difference, (radius,) * 4, mode="reflect")
        rows = F.conv2d(padded, kernel, groups=len(kernel))
        return self.loss_weight * F.conv2d(rows, kernel.transpose(2, 3), groups=len(kernel)).abs().mean()
