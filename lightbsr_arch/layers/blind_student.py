"""What students share that estimate a degradation and then restore under it."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn


class BlindStudent(nn.Module):
    """Restores an LR image under the code that it estimates from that image: ``encode``, then ``restore``."""

    encode: Any
    restore: Any

    def encode_and_restore(self, lq: Tensor) -> tuple[Any, Tensor]:
        """What ``encode`` gives for (N, 3, H, W), and the restored images: a learning pass of the joint phase."""
        code = self.encode(lq)
        return code, self.restore(lq, code)

    def forward(self, lq: Tensor) -> Tensor:
        """Super-resolve (N, 3, H, W) in [0, 1] to (N, 3, scale * H, scale * W), not clamped.

        Raises:
            ValueError: ``lq`` is not a float batch of RGB images.
        """
        restored: Tensor = self.restore(lq, self.encode(lq))
        return restored
