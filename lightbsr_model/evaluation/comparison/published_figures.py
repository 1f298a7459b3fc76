"""Figures that papers report, added to measured ones and marked as published.

x4, isotropic blur, PSNR-Y in dB; from the tables of CDFormer and arXiv 2104.00416. They were measured by others, on
their own LR images: no interval and no equality of inputs can be claimed for them.
"""

from __future__ import annotations

import csv
from pathlib import Path


def _read() -> dict[str, dict[tuple[str, str], float]]:
    figures: dict[str, dict[tuple[str, str], float]] = {}
    with Path(__file__).with_suffix(".csv").open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            figures.setdefault(row["method"], {})[row["set"], row["preset"]] = float(row["psnr_y"])
    return figures


PUBLISHED = _read()
"""Method, then set and preset, to PSNR-Y at x4."""
