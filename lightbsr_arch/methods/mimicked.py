"""Mimicked alignment (ACCV 2024, arXiv 2410.05410): the auxiliary network that makes LR images of HR's geometry."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lightbsr_arch.layers.image import check_image
from lightbsr_arch.methods.base import Method
from lightbsr_arch.methods.published_layout import PublishedLayout, renames
from lightbsr_arch.methods.sizes import Sizes

SMALLEST_SIDE = 7
"""Of the LR image: the guide's first convolution has no padding."""


class Guide(nn.Module):
    """Sees both images, and gives each channel one factor."""

    def __init__(self, num_feat: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(6, num_feat, 7, 2)
        self.convs = nn.Sequential(
            nn.Conv2d(num_feat, num_feat, 3, 1, 1),
            nn.ReLU(),
            nn.Conv2d(num_feat, num_feat, 3, 1, 1),
            nn.ReLU(),
            nn.Conv2d(num_feat, num_feat, 3, 1, 1),
        )
        self.last = nn.Conv2d(num_feat, num_feat, 1)

    def forward(self, images: Tensor) -> Tensor:
        """Return (N, num_feat, 1, 1) for (N, 6, h, w)."""
        features: Tensor = self.convs(F.relu(self.first(images)))
        gate: Tensor = self.last(features.mean(dim=(2, 3), keepdim=True))
        return gate


class MimicNet(nn.Module):
    """Makes of the downsampled HR image what the LR image has and it has not: blur, noise, compression.

    It moves nothing: the result stays where the HR image is. It is used in training alone.

    Args:
        num_feat: Number of channels of the features.
    """

    def __init__(self, num_feat: int = 64) -> None:
        super().__init__()
        self.options: dict[str, Any] = {"num_feat": num_feat}
        self.embed = nn.Conv2d(3, num_feat, 1)
        self.guide = Guide(num_feat)
        self.spatial = _activated(num_feat, (7, 5, 3))
        self.pixelwise = _activated(num_feat, (1, 1, 1))
        self.last = nn.Conv2d(num_feat, 3, 1)

    def start_at_zero(self) -> None:
        """Let it add nothing at first."""
        nn.init.zeros_(self.last.weight)
        if self.last.bias is not None:
            nn.init.zeros_(self.last.bias)

    def forward(self, gt_low: Tensor, lq: Tensor) -> Tensor:
        """Return what must be added, (N, 3, h, w).

        Args:
            gt_low: The HR image at LR size, (N, 3, h, w) in [0, 1].
            lq: The LR image, which may be somewhere else by some pixels; the same shape.

        Raises:
            ValueError: Other shapes, or sides of less than 7 pixels.
        """
        check_image(lq)
        if gt_low.shape != lq.shape or min(lq.shape[2:]) < SMALLEST_SIDE:
            raise ValueError(
                f"expected two image batches of one shape with sides of at least {SMALLEST_SIDE} pixels, got "
                f"{tuple(gt_low.shape)} and {tuple(lq.shape)}."
            )
        embedded = F.relu(self.embed(gt_low))
        features = embedded * self.guide(torch.cat([gt_low, lq], dim=1)) + embedded
        added: Tensor = self.last(self.pixelwise(self.spatial(features)) + embedded)
        return added


def _activated(num_feat: int, kernels: tuple[int, ...]) -> nn.Sequential:
    layers: list[nn.Module] = []
    for kernel in kernels:
        layers += [nn.Conv2d(num_feat, num_feat, kernel, 1, kernel // 2), nn.ReLU()]
    return nn.Sequential(*layers)


def _sizes(sizes: Sizes) -> dict[str, Any]:
    return {"type": "MimicNet", "num_feat": sizes.shape("embed.weight")[0]}


METHOD = Method(
    name="Mimicked alignment",
    paper="ACCV 2024, arXiv 2410.05410",
    networks={},
    helpers={"MimicNet": MimicNet},
    sizes=_sizes,
    published=PublishedLayout(
        rgb_mean=(0.0, 0.0, 0.0),  # no layer of it shifts colours
        renames=renames(
            (r"head\.0\.", "embed."),
            (r"guide_net\.0\.0\.", "guide.first."),
            (r"guide_net\.1\.", "guide.convs."),
            (r"guide_net\.3\.", "guide.last."),
            (r"conv_7x7\.0\.", "spatial.0."),
            (r"conv_5x5\.0\.", "spatial.2."),
            (r"conv_3x3\.0\.", "spatial.4."),
            (r"conv_1x1\.", "pixelwise."),
            (r"tail\.", "last."),
        ),
    ),
)
