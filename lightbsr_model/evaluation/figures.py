"""PSNR and SSIM as the field reports them: BasicSR's own functions, on Y, without a border of the scale's width."""

from __future__ import annotations

from typing import NamedTuple

from basicsr.metrics import calculate_metric

from lightbsr_model.data.decoding import RGBImage


class Figures(NamedTuple):
    """What one picture, or a mean over pictures, scores."""

    psnr_y: float
    """In dB."""
    ssim_y: float
    """Up to 1."""


def measure(image: RGBImage, gt: RGBImage, crop_border: int) -> Figures:
    """Score an image against its GT.

    Args:
        image: (H, W, 3), RGB, 0..255.
        gt: Of the same shape.
        crop_border: Pixels to leave out at each side: the scale.
    """
    # BasicSR's colour conversion expects BGR.
    pair = {"img": image[:, :, ::-1], "img2": gt[:, :, ::-1]}
    options = {"crop_border": crop_border, "test_y_channel": True}
    return Figures(
        *(float(calculate_metric(pair, {"type": f"calculate_{name}", **options})) for name in ("psnr", "ssim"))
    )


def mean(figures: list[Figures]) -> Figures:
    """Average over pictures."""
    return Figures(*(sum(values) / len(figures) for values in zip(*figures, strict=True)))
