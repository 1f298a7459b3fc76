"""TIFF files: what Pillow does not report of them, and those with more than 8 bits per channel, which it does not keep."""

from __future__ import annotations

import io
import math
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from tifffile import TiffFile

from lightbsr_arch.errors import ImageError
from lightbsr_arch.inference.images import ORIENTATION

SIGNATURES = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")

_ICC_PROFILE = 34675
_X_RESOLUTION, _Y_RESOLUTION, _RESOLUTION_UNIT = 282, 283, 296
_INCHES_PER_UNIT = {2: 1.0, 3: 2.54}
_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB = 0, 1, 2
_PLANE_PER_CHANNEL = 2
_ASSOCIATED, _STRAIGHT = 1, 2
_MOST_CHANNELS = 64
_WHOLE_TYPES = (16, 32, 64)
"""Bits per channel that need no unpacking."""

PREMULTIPLIED = "its premultiplied alpha became straight alpha"


@dataclass(frozen=True)
class Tiff:
    """The first page of a file."""

    deep: bool
    """More than 8 bits per channel."""
    alpha: int | None
    """The kind of its alpha channel: 1 associated (colours are premultiplied), 2 straight; None without."""
    colours: int
    """Channels that are neither alpha nor unknown; 0 where Pillow decides."""
    page: Any
    notes: list[str]
    """What a user should know of the channels."""
    kind: str


def inspect(file: TiffFile) -> Tiff:
    """Check the first page's description.

    Raises:
        ImageError: It describes no image, or one that is not read.
    """
    page = file.pages.first
    bits = page.bitspersample
    bits = bits if isinstance(bits, tuple) else (bits,)
    channels = page.samplesperpixel
    photometric = getattr(page.photometric, "name", page.photometric)
    kind = f"{photometric}, {'/'.join(map(str, sorted(set(bits))))} bits, {channels} channels"
    if min(page.imagewidth, page.imagelength, channels, *bits) < 1 or channels > _MOST_CHANNELS:
        raise ImageError(f"damaged: a TIFF of {page.imagewidth}x{page.imagelength} pixels ({kind}).")
    check_size(page.imagewidth, page.imagelength)
    if page.imagedepth != 1:
        raise ImageError(f"a TIFF with a depth of {page.imagedepth}: expected a flat image.")
    colours = {_WHITE_IS_ZERO: 1, _BLACK_IS_ZERO: 1, _RGB: 3}.get(page.photometric, 0)
    extra = list(page.extrasamples)[: channels - colours] if colours else []
    extra += [0] * (channels - colours - len(extra) if colours else 0)
    if channels < colours:
        raise ImageError(f"damaged: a TIFF with too few channels ({kind}).")
    alpha = next((int(one) for one in extra[:1] if one in (_ASSOCIATED, _STRAIGHT)), None)
    unknown = len(extra) - (alpha is not None)
    notes = [PREMULTIPLIED] if alpha == _ASSOCIATED else []
    if unknown:
        notes.append(f"{unknown} extra channel{'s' * (unknown > 1)}, not marked as alpha, left out")
    return Tiff(max(bits) > 8, alpha, colours, page, notes, kind)


def read_deep(tiff: Tiff, content: bytes) -> tuple[NDArray[Any], int]:
    """The pixels of a TIFF with more than 8 bits per channel.

    Returns:
        (H, W) or (H, W, channels) of uint16 or float32, with straight alpha where it has alpha; and the EXIF orientation
        that is left to apply.

    Raises:
        ImageError: Colours, types or values that are not read, or a compression that needs imagecodecs.
    """
    page = tiff.page
    if not tiff.colours:
        raise ImageError(
            f"a TIFF of more than 8 bits per channel in {tiff.kind}: save it as RGB or grey, or with 8 bits."
        )
    if page.dtype is None or page.dtype.kind not in "uif":
        raise ImageError(f"a TIFF of {page.dtype} values: expected integers or floats.")
    orientation = page.tags[ORIENTATION].value if ORIENTATION in page.tags else 1
    pixels, orientation = _decode(tiff, content, orientation)
    if pixels.shape[:2] != (page.imagelength, page.imagewidth) and pixels.shape[1::-1] != (
        page.imagelength,
        page.imagewidth,
    ):
        raise ImageError(f"damaged: a TIFF that holds an array {pixels.shape} ({tiff.kind}).")
    bits = page.bitspersample
    pixels = _sixteen_bits(pixels, bits if isinstance(bits, int) else max(bits))
    if pixels.ndim == 2:
        pixels = pixels[:, :, None]
    if page.photometric == _WHITE_IS_ZERO:
        pixels = pixels.copy()
        pixels[:, :, :1] = (1 if pixels.dtype == np.float32 else 65535) - pixels[:, :, :1]
    pixels = pixels[:, :, : tiff.colours + (tiff.alpha is not None)]
    if tiff.alpha == _ASSOCIATED:
        pixels = _straight(pixels)
    return pixels[:, :, 0] if pixels.shape[2] == 1 else pixels, orientation


def profile_of(tiff: Tiff) -> bytes | None:
    """Its ICC profile."""
    value = tiff.page.tags[_ICC_PROFILE].value if _ICC_PROFILE in tiff.page.tags else None
    return value if isinstance(value, bytes) else None


def resolution_of(tiff: Tiff) -> tuple[float, float] | None:
    """Pixels per inch, horizontally and vertically."""
    tags = tiff.page.tags
    unit = int(tags[_RESOLUTION_UNIT].value) if _RESOLUTION_UNIT in tags else 2
    if unit not in _INCHES_PER_UNIT or _X_RESOLUTION not in tags or _Y_RESOLUTION not in tags:
        return None
    (x, per_x), (y, per_y) = tags[_X_RESOLUTION].value, tags[_Y_RESOLUTION].value
    return (x / per_x * _INCHES_PER_UNIT[unit], y / per_y * _INCHES_PER_UNIT[unit]) if per_x and per_y else None


def _decode(tiff: Tiff, content: bytes, orientation: int) -> tuple[NDArray[Any], int]:
    page = tiff.page
    try:
        pixels = page.asarray()
    except (ValueError, NotImplementedError) as error:
        if "imagecodecs" not in str(error):
            raise
        lacking = ImageError(
            f"a TIFF ({tiff.kind}) that needs a decoder: pip install imagecodecs, or save it another way."
        )
        bits = page.bitspersample
        if (bits if isinstance(bits, int) else max(bits)) not in _WHOLE_TYPES:
            raise lacking from error
        # A compression that OpenCV knows; it turns the image upright.
        decoded = cv2.imdecode(np.frombuffer(content, dtype=np.uint8), cv2.IMREAD_UNCHANGED)
        if decoded is None or (1 if decoded.ndim == 2 else decoded.shape[2]) != page.samplesperpixel:
            raise lacking from error
        return from_opencv(decoded), 1
    if page.planarconfig == _PLANE_PER_CHANNEL and pixels.ndim == 3:
        pixels = np.moveaxis(pixels, 0, -1)
    return pixels, orientation


def from_opencv(pixels: NDArray[Any]) -> NDArray[Any]:
    """From OpenCV's order of channels."""
    if pixels.ndim == 2:
        return pixels
    return cv2.cvtColor(pixels, cv2.COLOR_BGRA2RGBA if pixels.shape[2] == 4 else cv2.COLOR_BGR2RGB)


def _sixteen_bits(pixels: NDArray[Any], bits: int) -> NDArray[Any]:
    """As uint16 or float32."""
    if np.issubdtype(pixels.dtype, np.floating):
        return pixels.astype(np.float32)
    if pixels.dtype != np.uint16:
        low, high = int(pixels.min()), int(pixels.max())
        if low < 0 or high > 65535:
            raise ImageError(f"expected values from 0 to 65535, got {low} to {high} ({pixels.dtype}).")
    if bits < 16:  # unpacked, but not stretched
        return np.rint(pixels * (65535 / (2**bits - 1))).astype(np.uint16)
    return pixels.astype(np.uint16, copy=False)


def _straight(pixels: NDArray[Any]) -> NDArray[Any]:
    """Colours divided by alpha; where nothing is opaque there is no colour, and it stays what it is."""
    largest = 1.0 if pixels.dtype == np.float32 else 65535.0
    result = pixels.copy()
    for row in range(0, len(pixels), 256):
        part = pixels[row : row + 256].astype(np.float64)
        colour, alpha = part[:, :, :-1], part[:, :, -1:]
        divided = np.divide(colour * largest, alpha, out=colour.copy(), where=alpha > 0)
        divided = np.minimum(divided, largest)
        result[row : row + 256, :, :-1] = divided if pixels.dtype == np.float32 else np.rint(divided)
    return result


def open_tiff(content: bytes) -> TiffFile:
    """Read a file's directory."""
    return TiffFile(io.BytesIO(content))


def check_size(width: int, height: int) -> None:
    """Refuse what Pillow takes for a decompression bomb.

    Raises:
        ImageError: Too many pixels.
    """
    largest = 2 * (Image.MAX_IMAGE_PIXELS or math.inf)
    if width * height > largest:
        raise ImageError(f"too large ({width}x{height} pixels, more than {largest}); cut it into parts.")
