"""Encode PNG row by row: in little memory whatever the size, 8 and 16 bits, every failure of the file raised.

Pillow writes no 16-bit colour; OpenCV no grey with alpha and no profile, and it does not report a failed flush.
"""

from __future__ import annotations

import struct
import zlib
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

_COLOUR_TYPES = {1: 0, 2: 4, 3: 2, 4: 6}
"""PNG's number for grey, grey and alpha, RGB, RGBA, by channels."""

_UP = 2
"""PNG's number for the filter that stores each row's difference to the row above."""

_METRES_PER_INCH = 0.0254
_PER_METRE = 1
"""PNG's number for the unit of a resolution."""

_STRIP = 1 << 20
"""Bytes of pixels that are filtered and compressed together."""


def write_png(
    file: BinaryIO,
    pixels: NDArray[Any],
    profile: bytes | None = None,
    exif: bytes | None = None,
    resolution: tuple[float, float] | None = None,
) -> None:
    """Write a PNG.

    Args:
        file: Where to; it is written from front to back.
        pixels: (H, W) or (H, W, channels), 1 to 4 channels, uint8 or uint16.
        profile: An ICC profile.
        exif: EXIF data, with or without the ``Exif`` marker before it.
        resolution: Pixels per inch, horizontally and vertically.

    Raises:
        OSError: The file cannot be written.
    """
    height, width = pixels.shape[:2]
    channels = 1 if pixels.ndim == 2 else pixels.shape[2]
    file.write(b"\x89PNG\r\n\x1a\n")
    header = struct.pack(">IIBBBBB", width, height, 8 * pixels.itemsize, _COLOUR_TYPES[channels], 0, 0, 0)
    _write_chunk(file, b"IHDR", header)
    if profile is not None:
        _write_chunk(file, b"iCCP", b"ICC profile\0\0" + zlib.compress(profile))
    if resolution is not None:
        x, y = (min(max(round(value / _METRES_PER_INCH), 1), 2**31 - 1) for value in resolution)
        _write_chunk(file, b"pHYs", struct.pack(">IIB", x, y, _PER_METRE))
    if exif is not None:
        _write_chunk(file, b"eXIf", exif.removeprefix(b"Exif\0\0"))
    # Run lengths after a filter: as small as a full search on images, in half the time.
    compressor = zlib.compressobj(1, zlib.DEFLATED, 15, 9, zlib.Z_RLE)
    row_bytes = width * channels * pixels.itemsize
    above = np.zeros(row_bytes, dtype=np.uint8)
    count = max(1, _STRIP // row_bytes)
    for top in range(0, height, count):
        strip = np.ascontiguousarray(pixels[top : top + count], dtype=pixels.dtype.newbyteorder(">"))
        rows = strip.view(np.uint8).reshape(-1, row_bytes)
        filtered = np.empty((len(rows), row_bytes + 1), dtype=np.uint8)
        filtered[:, 0] = _UP
        np.subtract(rows[0], above, out=filtered[0, 1:])
        np.subtract(rows[1:], rows[:-1], out=filtered[1:, 1:])
        above = rows[-1].copy()
        _write_chunk(file, b"IDAT", compressor.compress(filtered.data))
    _write_chunk(file, b"IDAT", compressor.flush())
    _write_chunk(file, b"IEND", b"")


def _write_chunk(file: BinaryIO, kind: bytes, data: bytes) -> None:
    if data or kind == b"IEND":
        file.write(struct.pack(">I", len(data)) + kind)
        file.write(data)
        file.write(struct.pack(">I", zlib.crc32(data, zlib.crc32(kind))))
