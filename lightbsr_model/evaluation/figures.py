"""PSNR and SSIM as the field reports them: BasicSR's functions, on Y, leaving out a border as wide as the scale."""

from __future__ import annotations

from typing import NamedTuple

from basicsr.metrics import calculate_metric

from lightbsr_model.data.decoding import RGBImage


class Figures(NamedTuple):
    """Scores of one image, or means over images."""

    psnr_y: float
    """PSNR on Y, in dB."""
    ssim_y: float
    """SSIM on Y, at most 1."""


def measure(image: RGBImage, gt: RGBImage, crop_border: int) -> Figures:
    """Score an image against its GT.

    Args:
        image: (H, W, 3), RGB, 0..255.
        gt: GT image of the same shape.
        crop_border: Number of pixels to leave out at each side: the scale.
    """
    # BasicSR's colour conversion expects BGR.
    pair = {"img": image[:, :, ::-1], "img2": gt[:, :, ::-1]}
    options = {"crop_border": crop_border, "test_y_channel": True}
    return Figures(
        *(float(calculate_metric(pair, {"type": f"calculate_{name}", **options})) for name in ("psnr", "ssim"))
    )


def mean(figures: list[Figures]) -> Figures:
    """Average over images."""
    return Figures(*(sum(values) / len(figures) for values in zip(*figures, strict=True)))
