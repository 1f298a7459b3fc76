"""How strongly an image file was compressed by JPEG: read off its quantisation table."""

from __future__ import annotations

import io
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from lightbsr_model.adaptation.large_images import open_header


def jpeg_quality_of(path: Path) -> int:
    """The quality at which libjpeg's luma table is most like a file's, 1 to 100.

    Cameras with tables of their own get the nearest one.

    Args:
        path: Of an image file.

    Returns:
        0 for a file that is no JPEG, or none that Pillow reads.
    """
    image = open_header(path)
    if image is None:
        return 0
    with image:
        table = (getattr(image, "quantization", None) or {}).get(0)
    return 0 if table is None else _nearest(table)


def _nearest(table: Any) -> int:
    logarithms = np.log(np.asarray(table, dtype=np.float64).clip(1))
    return 1 + int(np.abs(np.log(_tables()) - logarithms).sum(axis=1).argmin())


@lru_cache(maxsize=1)
def _tables() -> NDArray[np.float64]:
    """Libjpeg's luma tables of qualities 1 to 100, as Pillow gives a file's; (100, 64)."""
    tables = []
    for quality in range(1, 101):
        file = io.BytesIO()
        Image.new("L", (8, 8)).save(file, "JPEG", quality=quality)
        with Image.open(file) as image:
            tables.append(image.quantization[0])  # type: ignore[attr-defined]
    return np.array(tables, dtype=np.float64)
