"""A loss of detail that needs no network's weights: differences of wavelet coefficients."""

from __future__ import annotations

import torch
from basicsr.utils.registry import LOSS_REGISTRY
from torch import Tensor, nn
from torch.nn import functional as F


def haar(images: Tensor) -> tuple[Tensor, Tensor]:
    """One level of the orthonormal Haar transform.

    Args:
        images: (N, C, H, W), sides of at least 2; an odd side loses its last row or column.

    Returns:
        The low band (N, C, H / 2, W / 2), and the three bands of detail (N, 3, C, H / 2, W / 2): horizontal, vertical and
        diagonal differences. The sum of squares of all is that of the images.
    """
    height, width = (side // 2 * 2 for side in images.shape[2:])
    # (N, 4, C, H / 2, W / 2): the pixels of each 2x2 block, in rows.
    a, b, c, d = F.pixel_unshuffle(images[:, :, :height, :width], 2).unflatten(1, (-1, 4)).unbind(2)
    low, horizontal, vertical, diagonal = a + b + c + d, a - b + c - d, a + b - c - d, a - b - c + d
    return low / 2, torch.stack([horizontal, vertical, diagonal], dim=1) / 2


def detail_map(images: Tensor) -> Tensor:
    """Where images have detail: the norm of the details of each 2x2 block, over bands and colours, from 0 to 1 in each image.

    Args:
        images: (N, C, H, W).

    Returns:
        (N, 1, H, W); the same for all pixels of a block. An odd side counts as if its last row or column were there twice; an
        image without any difference has none.
    """
    height, width = images.shape[2:]
    even = F.pad(images, (0, width % 2, 0, height % 2), mode="replicate")
    norm = haar(even)[1].square().sum(dim=(1, 2)).sqrt()
    low, high = norm.amin(dim=(1, 2), keepdim=True), norm.amax(dim=(1, 2), keepdim=True)
    spread = torch.where(high > low, high - low, torch.ones_like(high))
    blocks = ((norm - low) / spread)[:, None]
    return blocks.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)[:, :, :height, :width]


@LOSS_REGISTRY.register()
class HighFrequencyWeightedL1Loss(nn.Module):
    """L1 distance, each pixel weighted by the detail of the target there (LWay, arXiv 2403.02601).

    Args:
        loss_weight: Multiplies the loss.
    """

    def __init__(self, loss_weight: float = 1.0) -> None:
        super().__init__()
        self.loss_weight = loss_weight

    def forward(self, restored: Tensor, gt: Tensor, weight: Tensor | None = None) -> Tensor:
        """Return the loss of (N, C, H, W) images of any range.

        Args:
            restored: What learns.
            gt: The target.
            weight: (N, 1, H, W); without it the target's own :func:`detail_map`. For crops, that of the whole image.
        """
        weight = detail_map(gt) if weight is None else weight
        return self.loss_weight * (weight * (restored - gt).abs()).mean()


@LOSS_REGISTRY.register()
class WaveletLoss(nn.Module):
    """L1 distance between the details of images: Haar coefficients without the low band, averaged over the levels.

    It asks for the detail of the GT image at its place, as a perceptual loss does, without a network's weights.

    Args:
        loss_weight: Multiplies the loss.
        levels: Number of levels of the transform, at least 1: level 1 is of 2x2 pixels, level 2 of 4x4.

    Raises:
        ValueError: No level; or in :meth:`forward`, images that are too small for them.
    """

    def __init__(self, loss_weight: float = 1.0, levels: int = 2) -> None:
        super().__init__()
        if levels < 1:
            raise ValueError(f"levels: expected at least 1, got {levels}.")
        self.loss_weight, self.levels = loss_weight, levels

    def forward(self, restored: Tensor, gt: Tensor) -> Tensor:
        """Return the loss of (N, C, H, W) images of any range."""
        if min(restored.shape[2:]) < 2**self.levels:
            raise ValueError(
                f"WaveletLoss of {self.levels} levels needs images of at least {2**self.levels} pixels a side, got "
                f"{restored.shape[3]}x{restored.shape[2]}."
            )
        # The transform is linear: that of the difference is the difference of the transforms.
        rest, loss = restored.float() - gt.float(), torch.zeros((), device=gt.device)
        for _ in range(self.levels):
            rest, detail = haar(rest)
            loss = loss + detail.abs().mean()
        return self.loss_weight * loss / self.levels
