"""MATLAB's bicubic interpolation, the baseline of super-resolution."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from lightbsr_arch.layers.upsampling import bicubic_upsample
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
        return bicubic_upsample(lq, self.scale)


def _sizes(_: Sizes) -> dict[str, Any]:
    raise ValueError("bicubic interpolation has no weights.")


METHOD = Method(
    name="bicubic interpolation",
    paper="R. Keys, IEEE TASSP 1981",
    networks={"BicubicUpsampler": BicubicUpsampler},
    sizes=_sizes,
)
