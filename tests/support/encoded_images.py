"""Image files in memory."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms
from tifffile import imwrite

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def encoded(image: Image.Image | NDArray[Any], form: str, **options: Any) -> bytes:
    """As Pillow writes an image."""
    file = io.BytesIO()
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(file, form, **options)
    return file.getvalue()


def tiff(pixels: NDArray[Any], **options: Any) -> bytes:
    """As tifffile writes an image."""
    file = io.BytesIO()
    imwrite(file, pixels, metadata=None, **options)
    return file.getvalue()


def deep_png(pixels: NDArray[np.uint16], colour_type: int, *chunks: tuple[bytes, bytes]) -> bytes:
    """A PNG of 16 bits per channel of any kind, written by hand: neither Pillow nor OpenCV writes all of them."""
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    header = struct.pack(">IIBBBBB", pixels.shape[1], pixels.shape[0], 16, colour_type, 0, 0, 0)
    parts = [(b"IHDR", header), *chunks, (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in parts
    )


def exif_of(**tags: Any) -> Image.Exif:
    """EXIF data with an ``orientation`` or a ``description``."""
    exif = Image.Exif()
    for name, value in tags.items():
        exif[{"orientation": 0x0112, "description": 0x010E}[name]] = value
    return exif
