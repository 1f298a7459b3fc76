"""The body of all SR networks: a conv3x3, blocks, a conv3x3, a long skip connection, upsampling, a conv3x3."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from lightbsr_arch.layers.upsampling_network import UpsamplingNetwork, enlarge

DIV2K_MEAN = (0.4488, 0.4371, 0.4040)
"""DIV2K's mean colour in [0, 1], which most of the networks subtract."""


class ResidualSR(UpsamplingNetwork):
    """An SR network that subtracts the mean colour, and whose blocks are given the degradation's code.

    A subclass calls :meth:`build` in its constructor, after any layers that come before the body, and passes the code of its
    blocks in :meth:`forward`. Weights are named ``head``, ``<body>.<number>``, ``conv``, ``upsampler``, ``last``.
    """

    rgb_mean: Tensor

    def build(
        self,
        scale: int,
        num_feat: int,
        blocks: Callable[[], Iterable[nn.Module]],
        body: str = "groups",
        rgb_mean: tuple[float, float, float] = DIV2K_MEAN,
        white: int = 1,
    ) -> None:
        """Create the layers, in the order of their use.

        Args:
            scale: 2, 3 or 4.
            num_feat: Number of channels of the features.
            blocks: Creates the blocks; each takes features (N, num_feat, H, W) and a code.
            body: Name of the list of blocks.
            rgb_mean: Mean colour in [0, 1].
            white: The value of white inside the network: 1, or 255 if it computes in 0..255.

        Raises:
            ValueError: The scale is not 2, 3 or 4.
        """
        self.scale, self.white, self.body = scale, white, body
        # A constant of the method, not stored in checkpoints.
        # Multiplied on the CPU: on meta, where files are checked, torch would load its compiler for a product (seconds).
        mean = (white * torch.tensor(rgb_mean, device="cpu")).tolist()
        self.register_buffer("rgb_mean", torch.tensor(mean).view(1, 3, 1, 1), persistent=False)
        self.head = nn.Conv2d(3, num_feat, 3, 1, 1)
        self.add_module(body, nn.ModuleList(blocks()))
        self.conv = nn.Conv2d(num_feat, num_feat, 3, 1, 1)
        self.build_end(scale, num_feat)

    def restore(self, lq: Tensor, code: Any) -> Tensor:
        """Restore (N, 3, H, W) in [0, 1] under a code to (N, 3, scale * H, scale * W), not clamped."""
        shallow = self.head((lq if self.white == 1 else self.white * lq) - self.rgb_mean)
        features = self.conv(self.run_blocks(shallow, code)) + shallow
        restored = self.enlarge_features(features)
        if self.image_skip is None:
            restored = restored + self.rgb_mean
        restored = restored if self.white == 1 else restored / self.white
        return restored if self.image_skip is None else restored + enlarge(lq, self.scale)

    def run_blocks(self, features: Tensor, code: Any) -> Tensor:
        """Pass features through the blocks, (N, num_feat, H, W)."""
        for block in self.get_submodule(self.body).children():
            features = block(features, code)
        return features
