"""A band of rows of an image file, for crops: what lies below is not decoded, what lies above as little as possible.

PNG is one stream from top to bottom, and its rows are predicted from the row above; JPEG (baseline) is rows of blocks. So a
crop costs the file down to its last row. Of a PNG, rows above the crop are unpacked but not reconstructed where a row at
or above the crop's first one is predicted from itself alone. Other formats, and the rarer kinds of these two (interlaced,
progressive, CMYK, turned by EXIF), are decoded whole.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import struct
import zlib
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import NamedTuple

import numpy as np
from PIL import Image

from lightbsr_arch.errors import ImageError
from lightbsr_model.data.decoding import PNG_SIGNATURE, RGBImage, decode_rgb

inflate: ModuleType = zlib
with contextlib.suppress(ImportError):
    # Intel's ISA-L: the same bytes, unpacked two to three times as fast.
    inflate = importlib.import_module("isal.isal_zlib")

Buffer = bytes | memoryview

_PNG_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
_SELF_CONTAINED = 1
"""PNG's filters 0 (none) and 1 (from the left) need no row above."""
_JPEG_FRAME = frozenset({0xC0, 0xC1})
_JPEG_MARGIN = 32
"""Rows decoded below the crop: chroma is smoothed across the rows of blocks, which are at most 32 rows high."""
_ORIENTATION = 0x0112


class _Png(NamedTuple):
    width: int
    height: int
    depth: int
    colour: int
    compression: int
    filtering: int
    interlaced: int


class EncodedImage:
    """An image file in memory, decoded as far as it is asked for.

    Args:
        content: The file.
        name: What to call it in an error.
        on_dropped_alpha: Called when a decoding drops an alpha channel.
    """

    def __init__(self, content: bytes, name: str, on_dropped_alpha: Callable[[], None] | None = None) -> None:
        self.name = name
        self._content = content
        self._on_dropped_alpha = on_dropped_alpha
        self._png: _Png | None = None
        self._jpeg_frame = 0
        self._whole: RGBImage | None = None
        if content[:8] == PNG_SIGNATURE and content[12:16] == b"IHDR" and len(content) > 33:
            header = _Png(*struct.unpack(">IIBBBBB", content[16:29]))
            if header.colour in _PNG_CHANNELS and not header.interlaced:
                self._png = header
        elif content[:2] == b"\xff\xd8":
            self._jpeg_frame = _plain_jpeg_frame(content)

    @property
    def size(self) -> tuple[int, int]:
        """Height and width.

        Raises:
            ImageError: It cannot be read.
        """
        if self._png is not None:
            return self._png.height, self._png.width
        if self._jpeg_frame:
            return struct.unpack(">HH", self._content[self._jpeg_frame + 5 : self._jpeg_frame + 9])
        height, width, _ = self.decode().shape
        return height, width

    def decode(self) -> RGBImage:
        """The whole image, (H, W, 3).

        Raises:
            ImageError: It cannot be read.
        """
        if self._whole is None:
            self._whole = self._decode(self._content)
        return self._whole

    def _decode(self, content: bytes) -> RGBImage:
        image, dropped_alpha = decode_rgb(content, self.name)
        if dropped_alpha and self._on_dropped_alpha is not None:
            self._on_dropped_alpha()
        return image

    def rows(self, top: int, bottom: int) -> RGBImage:
        """Rows ``top`` to ``bottom`` (exclusive): (bottom - top, W, 3), the same values as :meth:`decode` gives.

        Raises:
            ImageError: The file cannot be read down to there. What lies below is not looked at.
        """
        height = self.size[0]
        if not 0 <= top < bottom <= height:
            raise ValueError(f"{self.name}: expected 0 <= top < bottom <= {height}, got {top} and {bottom}.")
        if self._whole is None and self._png is not None and (top > 0 or bottom < height):
            return self._png_rows(self._png, top, bottom)
        if self._whole is None and self._jpeg_frame and bottom + _JPEG_MARGIN < height:
            return self._jpeg_rows(top, bottom)
        return self.decode()[top:bottom]

    def _png_rows(self, header: _Png, top: int, bottom: int) -> RGBImage:
        """Repack the rows that are needed as a small PNG without compression, for the decoder that reads all others."""
        stride = 1 + (header.width * header.depth * _PNG_CHANNELS[header.colour] + 7) // 8
        before: list[tuple[bytes, Buffer]] = []
        data: list[Buffer] = []
        for kind, body in _png_chunks(self._content):
            if kind == b"IDAT":
                data.append(body)
            elif not data and kind != b"IHDR":
                before.append((kind, body))
        try:
            unpacked = inflate.decompressobj().decompress(b"".join(data), bottom * stride)
        except inflate.error as error:
            raise ImageError(f"{self.name}: cannot be read as an image: its data are damaged ({error}).") from error
        if len(unpacked) < bottom * stride:
            raise ImageError(
                f"{self.name}: cannot be read as an image ({len(self._content)} bytes): cut short after "
                f"{len(unpacked) // stride} of {header.height} rows."
            )
        filters = np.frombuffer(unpacked, np.uint8)[: (top + 1) * stride : stride]
        starts = np.flatnonzero(filters <= _SELF_CONTAINED)
        first = int(starts[-1]) if len(starts) else 0
        stored = zlib.compress(memoryview(unpacked)[first * stride :], 0)
        band = header._replace(height=bottom - first)
        chunks = [(b"IHDR", struct.pack(">IIBBBBB", *band)), *before, (b"IDAT", stored), (b"IEND", b"")]
        packed = b"".join([PNG_SIGNATURE, *(part for chunk in chunks for part in _packed_chunk(*chunk))])
        return self._decode(packed)[top - first :]

    def _jpeg_rows(self, top: int, bottom: int) -> RGBImage:
        """Say in the header that the image ends below the crop."""
        place = self._jpeg_frame + 5
        shortened = self._content[:place] + struct.pack(">H", bottom + _JPEG_MARGIN) + self._content[place + 2 :]
        try:
            # Pillow stops reading there; OpenCV would complain of what is left.
            with Image.open(io.BytesIO(shortened)) as image:
                return np.asarray(image.crop((0, top, image.width, bottom)).convert("RGB"))
        except (OSError, SyntaxError, Image.DecompressionBombError) as error:
            raise ImageError(f"{self.name}: cannot be read as an image ({error}).") from error


def _png_chunks(content: bytes) -> Iterator[tuple[bytes, memoryview]]:
    view, place = memoryview(content), 8
    while place + 8 <= len(content):
        length, kind = struct.unpack_from(">I4s", content, place)
        yield kind, view[place + 8 : place + 8 + length]
        place += 12 + length


def _packed_chunk(kind: bytes, body: Buffer) -> tuple[bytes, Buffer, bytes]:
    return struct.pack(">I4s", len(body), kind), body, struct.pack(">I", zlib.crc32(body, zlib.crc32(kind)))


def _plain_jpeg_frame(content: bytes) -> int:
    """Where a baseline JPEG of one or three components, not turned by EXIF, has its frame header; 0 for any other."""
    place = 2
    has_exif = False
    while place + 10 <= len(content) and content[place] == 0xFF:
        marker, length = content[place + 1], int.from_bytes(content[place + 2 : place + 4], "big")
        if marker in _JPEG_FRAME:
            height, components = int.from_bytes(content[place + 5 : place + 7], "big"), content[place + 9]
            if not height or components not in (1, 3) or (has_exif and _is_turned(content)):
                return 0
            return place
        if marker == 0xDA or (0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC)):
            return 0
        has_exif |= marker == 0xE1 and content[place + 4 : place + 9] == b"Exif\0"
        place += 2 + length
    return 0


def _is_turned(content: bytes) -> bool:
    try:
        with Image.open(io.BytesIO(content)) as image:
            return image.getexif().get(_ORIENTATION, 1) != 1
    except (OSError, SyntaxError, ValueError):
        return True  # let the decoder that reads whole images decide
