"""Optical flow: SpyNet (arXiv 1611.00850), and reading an image where a flow points to.

It has the weights' names of BasicSR's SpyNet, and computes the same; that one fails where the sides are padded to 32.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

_LEVELS = 6
_MULTIPLE = 32
"""Five poolings by two."""
_WIDTHS = (8, 32, 64, 32, 16, 2)


def read_along(images: Tensor, flow: Tensor, padding: str = "zeros") -> Tensor:
    """Read images where a flow points to, bilinearly.

    Args:
        images: (N, C, h, w).
        flow: (N, 2, h, w), x, then y, in pixels.
        padding: What lies outside: ``zeros``, or ``border``, the nearest pixel.

    Returns:
        (N, C, h, w); pixels that lie half outside mix with what lies there.
    """
    height, width = images.shape[2:]
    y, x = (torch.arange(side, dtype=flow.dtype, device=flow.device) for side in (height, width))
    size = flow.new_tensor([width, height])
    places = torch.stack(torch.meshgrid(y, x, indexing="ij")[::-1], dim=-1) + flow.permute(0, 2, 3, 1)
    return F.grid_sample(images, (2 * places + 1) / size - 1, padding_mode=padding, align_corners=False)


class SpyNetLevel(nn.Module):
    """Corrects the flow of one level."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for ins, outs in pairwise(_WIDTHS):
            layers += [nn.Conv2d(ins, outs, 7, 1, 3), nn.ReLU()]
        self.basic_module = nn.Sequential(*layers[:-1])

    def forward(self, x: Tensor) -> Tensor:
        """Return a correction (N, 2, h, w) for (N, 8, h, w): reference, warped image, flow."""
        correction: Tensor = self.basic_module(x)
        return correction


class SpyNet(nn.Module):
    """Estimates the flow between two images from coarse to fine."""

    mean: Tensor
    std: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.basic_module = nn.ModuleList(SpyNetLevel() for _ in range(_LEVELS))
        self.register_buffer("mean", torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1))

    def forward(self, reference: Tensor, moving: Tensor) -> Tensor:
        """Say where the pixels of a reference are found in a moving image.

        Args:
            reference: (N, 3, h, w) in [0, 1].
            moving: The same shape.

        Returns:
            (N, 2, h, w), x, then y, in pixels.
        """
        height, width = reference.shape[2:]
        padded = [side + -side % _MULTIPLE for side in (height, width)]
        pyramids = []
        for images in (reference, moving):
            level = (F.interpolate(images, size=padded, mode="bilinear", align_corners=False) - self.mean) / self.std
            pyramid = [level]
            for _ in range(_LEVELS - 1):
                pyramid.append(F.avg_pool2d(pyramid[-1], 2))
            pyramids.append(pyramid[::-1])
        flow = torch.zeros_like(pyramids[0][0][:, :2])
        for number, (module, first, second) in enumerate(zip(self.basic_module, *pyramids, strict=True)):
            if number:
                flow = 2 * F.interpolate(flow, scale_factor=2, mode="bilinear", align_corners=True)
            flow = flow + module(torch.cat([first, read_along(second, flow, "border"), flow], dim=1))
        flow = F.interpolate(flow, size=(height, width), mode="bilinear", align_corners=False)
        return flow * flow.new_tensor([width / padded[1], height / padded[0]]).view(1, 2, 1, 1)
