"""Alignment of features by a modulated deformable convolution whose offsets follow a flow (BasicVSR++, arXiv 2104.13371)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lightbsr_arch.layers.optical_flow import read_along

KERNEL = 3
_TAPS = KERNEL * KERNEL
PER_GROUP = 3 * _TAPS
"""Values that a group's taps take: two offsets and a mask each."""


class DeformableAlignment(nn.Module):
    """Lays features over those of a base frame: each tap reads where the flow points to, and up to ``max_residue`` beside.

    Args:
        num_feat: Number of channels.
        deform_groups: Number of groups of channels with offsets of their own; a divisor of ``num_feat``.
        max_residue: Largest correction of the flow along each axis, in pixels.

    Raises:
        ValueError: The groups do not divide the channels.
    """

    max_residue: Tensor
    """A buffer, since a checkpoint does not show it otherwise."""

    def __init__(self, num_feat: int, deform_groups: int, max_residue: float) -> None:
        super().__init__()
        if deform_groups < 1 or num_feat % deform_groups:
            raise ValueError(f"deform_groups: expected a divisor of num_feat {num_feat}, got {deform_groups}.")
        self.weight = nn.Parameter(torch.empty(num_feat, num_feat, KERNEL, KERNEL))
        self.bias = nn.Parameter(torch.zeros(num_feat))
        # As torch draws a convolution's.
        nn.init.kaiming_uniform_(self.weight, a=5**0.5)
        self.register_buffer("max_residue", torch.tensor(float(max_residue)))
        self.offsets = nn.Sequential(
            nn.Conv2d(2 * num_feat + 2, num_feat, 3, 1, 1),
            nn.LeakyReLU(0.1),
            nn.Conv2d(num_feat, num_feat, 3, 1, 1),
            nn.LeakyReLU(0.1),
            nn.Conv2d(num_feat, num_feat, 3, 1, 1),
            nn.LeakyReLU(0.1),
            nn.Conv2d(num_feat, PER_GROUP * deform_groups, 3, 1, 1),
        )
        last = self.offsets[-1]
        for value in last.parameters():
            nn.init.zeros_(value)

    def forward(self, features: Tensor, base: Tensor, flow: Tensor) -> Tensor:
        """Return the features at the base's places, (N, C, h, w).

        Args:
            features: Those of the other frame, (N, C, h, w).
            base: Those of the base frame, the same shape.
            flow: Where the base's pixels are found in the other frame, (N, 2, h, w), x, then y, in pixels.
        """
        # torchvision compiles its operators when it is imported, which other networks do not need.
        from torchvision.ops import deform_conv2d

        # In mixed precision too: 16 bits do not tell places apart.
        with torch.autocast(features.device.type, enabled=False):
            warped = read_along(features.float(), flow.float())
        first, second, mask = self.offsets(torch.cat([warped, base, flow], dim=1)).chunk(3, dim=1)
        residue = self.max_residue * torch.tanh(torch.cat([first, second], dim=1).float())
        offsets = residue + flow.flip(1).repeat(1, residue.shape[1] // 2, 1, 1)
        with torch.autocast(features.device.type, enabled=False):
            mask = torch.sigmoid(mask.float())
            aligned: Tensor = deform_conv2d(
                *(features.float(), offsets.float(), self.weight, self.bias), padding=KERNEL // 2, mask=mask
            )
        return aligned
