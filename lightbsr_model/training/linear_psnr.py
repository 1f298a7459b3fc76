"""PSNR of images in linear light, in floating point: what burst super-resolution is measured by.

BasicSR's validation gives its metrics 8-bit sRGB images. A model with linear ones leaves them here first.
"""

from __future__ import annotations

from typing import Any

import torch
from basicsr.utils.registry import METRIC_REGISTRY
from torch import Tensor

from lightbsr_arch.errors import OptionError

LEVELS = 2**14
"""Of the camera: what both images are rounded to."""


class LinearPair:
    """The linear images of the pair that validation is about to measure."""

    def __init__(self) -> None:
        self._pair: tuple[Tensor, Tensor] | None = None

    def leave(self, restored: Tensor, gt: Tensor) -> None:
        """Keep a pair, (1, 3, H, W) each, until it is measured."""
        self._pair = restored, gt

    def take(self) -> tuple[Tensor, Tensor]:
        """The pair.

        Raises:
            OptionError: No model left one.
        """
        if self._pair is None:
            raise OptionError(
                "val.metrics: calculate_psnr_linear measures linear images, which this model_type does not have: "
                "take calculate_psnr."
            )
        return self._pair


LINEAR_PAIR = LinearPair()


def psnr_linear(restored: Tensor, gt: Tensor, crop_border: int = 40) -> float:
    """PSNR in dB of images (..., H, W) in [0, 1], clamped and rounded to 14 bits; infinite for equal ones.

    Args:
        restored: In linear light.
        gt: The same shape.
        crop_border: Pixels that are left out at each side; of small images at most a quarter.

    Raises:
        ValueError: Two shapes.
    """
    if restored.shape != gt.shape:
        raise ValueError(f"expected images of one shape, got {tuple(restored.shape)} and {tuple(gt.shape)}.")
    border = min(crop_border, min(gt.shape[-2:]) // 4)
    rows, columns = (slice(border, side - border) for side in gt.shape[-2:])
    inner = (image[..., rows, columns].double().clamp(0, 1) for image in (restored, gt))
    one, other = ((image * LEVELS).round() / LEVELS for image in inner)
    return float(-10 * torch.log10((one - other).square().mean()))


@METRIC_REGISTRY.register()  # type: ignore[untyped-decorator]
def calculate_psnr_linear(img: Any, img2: Any, crop_border: int = 40, **_: Any) -> float:
    """:func:`psnr_linear` of the pair whose sRGB images BasicSR passes.

    Args:
        img: Not used.
        img2: Not used.
        crop_border: Pixels that are left out at each side.
    """
    return psnr_linear(*LINEAR_PAIR.take(), crop_border)
