"""How strongly an image file was compressed by JPEG: read off its quantisation table."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
from PIL import Image

_LUMA = (
    *(16, 11, 10, 16, 24, 40, 51, 61, 12, 12, 14, 19, 26, 58, 60, 55),
    *(14, 13, 16, 24, 40, 57, 69, 56, 14, 17, 22, 29, 51, 87, 80, 62),
    *(18, 22, 37, 56, 68, 109, 103, 77, 24, 35, 55, 64, 81, 104, 113, 92),
    *(49, 64, 78, 87, 103, 121, 120, 101, 72, 92, 95, 98, 112, 100, 103, 99),
)
"""The table of quality 50 (ITU-T T.81, table K.1), row by row, as Pillow gives a file's."""


def jpeg_quality_of(path: Path) -> int:
    """The quality at which the standard's table is most like a file's, 1 to 100, as libjpeg counts it.

    Cameras with tables of their own get the nearest one.

    Args:
        path: Of an image file.

    Returns:
        0 for a file that is no JPEG, or none that Pillow reads.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(path) as image:
                tables = getattr(image, "quantization", None) or {}
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return 0
    return quality_of_table(tables[0]) if 0 in tables else 0


def quality_of_table(table: object) -> int:
    """The quality of a luma table of 64 values, see :func:`jpeg_quality_of`."""
    wanted = np.asarray(table, dtype=np.float64)
    errors = [np.abs(np.log(_table(quality) / wanted.clip(1))).sum() for quality in range(1, 101)]
    return 1 + int(np.argmin(errors))


def _table(quality: int) -> np.ndarray:
    factor = 5000 // quality if quality < 50 else 200 - 2 * quality
    return ((np.array(_LUMA) * factor + 50) // 100).clip(1, 255)
