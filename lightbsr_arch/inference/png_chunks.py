"""PNG at the level of chunks: grey with alpha, which OpenCV does not write (nor Pillow with 16 bits), and metadata."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

HEADER_SIZE = 8 + 25
"""Bytes of the signature and the IHDR chunk; metadata chunks may follow it."""

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_GREY_ALPHA = 4
_UP = 2
_ROWS = 256
"""Rows that are filtered at a time."""

_METRES_PER_INCH = 0.0254
_PER_METRE = 1


def chunk(kind: bytes, data: bytes) -> bytes:
    """A chunk with its length and checksum."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def metadata(profile: bytes | None, exif: bytes | None, resolution: tuple[float, float] | None) -> bytes:
    """The chunks that hold an ICC profile, EXIF data, and pixels per inch."""
    chunks = b""
    if profile is not None:
        chunks += chunk(b"iCCP", b"ICC profile\0\0" + zlib.compress(profile))
    if resolution is not None:
        x, y = (min(max(round(value / _METRES_PER_INCH), 1), 2**31 - 1) for value in resolution)
        chunks += chunk(b"pHYs", struct.pack(">IIB", x, y, _PER_METRE))
    if exif is not None:
        chunks += chunk(b"eXIf", exif.removeprefix(b"Exif\0\0"))
    return chunks


def grey_alpha_file(pixels: NDArray[Any]) -> Iterator[bytes]:
    """A whole PNG, part by part.

    Args:
        pixels: (H, W, 2), grey and alpha, uint8 or uint16.
    """
    height, width = pixels.shape[:2]
    header = struct.pack(">IIBBBBB", width, height, 8 * pixels.itemsize, _GREY_ALPHA, 0, 0, 0)
    yield _SIGNATURE + chunk(b"IHDR", header)
    compressor = zlib.compressobj()
    above = np.zeros((1, 2 * width * pixels.itemsize), dtype=np.uint8)
    for top in range(0, height, _ROWS):
        part = np.ascontiguousarray(pixels[top : top + _ROWS], dtype=pixels.dtype.newbyteorder(">"))
        rows = part.view(np.uint8).reshape(len(part), -1)
        filtered = np.empty((len(rows), 1 + rows.shape[1]), dtype=np.uint8)
        filtered[:, 0] = _UP
        filtered[:, 1:] = rows - np.concatenate([above, rows[:-1]])  # modulo 256, as the filter is defined
        above = rows[-1:]
        if data := compressor.compress(filtered.tobytes()):
            yield chunk(b"IDAT", data)
    yield chunk(b"IDAT", compressor.flush())
    yield chunk(b"IEND", b"")
