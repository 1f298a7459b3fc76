"""MATLAB's bicubic interpolation, the baseline of super-resolution."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from lightbsr_arch.methods.base import Method
from lightbsr_arch.methods.sizes import Sizes


class BicubicUpsampler(nn.Module):
    """Upscale images like MATLAB's ``imresize(image, scale)`` (a = -0.5), with clamped borders. Has no parameters.

    Args:
        scale: An integer >= 1.
    """

    def __init__(self, scale: int = 4) -> None:
        super().__init__()
        self.scale = scale

    def forward(self, lq: Tensor) -> Tensor:
        """Upscale (N, C, H, W) to (N, C, scale * H, scale * W), not clamped."""
        # With antialias, torch uses MATLAB's a = -0.5; the margin keeps its own border treatment out of the result.
        margin = 3
        padded = F.pad(lq, (margin,) * 4, mode="replicate")
        size = [self.scale * side for side in padded.shape[2:]]
        large = F.interpolate(padded, size=size, mode="bicubic", antialias=True, align_corners=False)
        cut = margin * self.scale
        return large[..., cut:-cut, cut:-cut]


def _sizes(_: Sizes) -> dict[str, Any]:
    raise ValueError("bicubic interpolation has no weights.")


METHOD = Method(
    name="bicubic interpolation",
    paper="R. Keys, IEEE TASSP 1981",
    networks={"BicubicUpsampler": BicubicUpsampler},
    sizes=_sizes,
)
