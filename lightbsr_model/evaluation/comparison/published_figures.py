"""Figures that papers report, to stand beside measured ones, marked as published.

x4, isotropic blur, PSNR-Y in dB; from CDFormer's and DASR's tables (LightBSR's own were not at hand). They were measured by
others, on their own LR images: no interval and no equality of inputs can be claimed for them.
"""

from __future__ import annotations

_PRESETS = ("iso_1.2", "iso_2.4", "iso_3.6")
_ROWS = {
    "IKC": "31.77 30.56 29.23 | 28.45 28.16 26.81 | 27.43 27.27 26.33 | 25.63 25.00 24.06",
    "DASR": "31.92 31.75 30.59 | 28.45 28.28 27.45 | 27.52 27.43 26.83 | 25.69 25.44 24.66",
    "KDSR": "32.34 32.13 31.02 | 28.66 28.55 27.80 | 27.67 27.60 26.98 | 26.29 26.06 25.21",
    "DCLS": "32.35 32.19 31.14 | 28.66 28.57 27.78 | 27.73 27.65 27.02 | 26.50 26.24 25.34",
    "CDFormer": "32.65 32.24 31.33 | 28.99 28.75 27.93 | 27.86 27.76 27.12 | 27.06 26.66 25.72",
}
_SETS = ("Set5", "Set14", "B100", "Urban100")


def _parse(row: str) -> dict[tuple[str, str], float]:
    figures = [[float(value) for value in cell.split()] for cell in row.split("|")]
    return {
        (name, preset): figures[place][number]
        for place, name in enumerate(_SETS)
        for number, preset in enumerate(_PRESETS)
    }


PUBLISHED: dict[str, dict[tuple[str, str], float]] = {method: _parse(row) for method, row in _ROWS.items()}
"""Method, then set and preset, to PSNR-Y at x4."""
