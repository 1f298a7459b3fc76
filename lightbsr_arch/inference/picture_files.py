"""Picture files in and out, with what they hold beside pixels: depth, alpha, orientation, colour profile."""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms, UnidentifiedImageError
from tifffile import TiffFile

from lightbsr_arch.errors import ImageError
from lightbsr_arch.inference.images import ORIENTATION, exif_of, from_pil, upright

READABLE = frozenset({".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp", ".gif", ".ppm", ".pgm", ".jp2"})
"""Extensions that are looked for in folders. A file that is named by itself is read by its content."""

_ICC_PROFILE = 34675
_TIFF_SIGNATURES = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB = 0, 1, 2
_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PNG_GREY_ALPHA = 4
_DEEP = 16
"""Bits a channel, which Pillow does not keep for colours."""


_DAMAGE = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    struct.error,
    KeyError,
    IndexError,
    TypeError,
    zlib.error,
    cv2.error,
)
"""What decoders raise for damaged files."""


@dataclass(frozen=True)
class PictureFile:
    """What was read from a file."""

    pixels: NDArray[Any]
    """(H, W), or (H, W, channels): grey and alpha, RGB, or RGB and alpha; upright; uint8, uint16 or float32."""
    profile: bytes | None = None
    """Its ICC profile, where it belongs to these pixels."""
    exif: bytes | None = None
    """Its EXIF data without the orientation, which the pixels have."""
    notes: list[str] = field(default_factory=list)
    """What a user should know: more frames, a converted colour space."""


def read_picture(content: bytes) -> PictureFile:
    """Decode a picture.

    Args:
        content: Of a file in any format that Pillow reads.

    Raises:
        ImageError: No picture, cut short, or larger than Pillow takes for a decompression bomb (179 megapixels).
    """
    if not content:
        raise ImageError("the file is empty.")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            deep = _read_deep_tiff(content) if content.startswith(_TIFF_SIGNATURES) else None
            return _read(Image.open(io.BytesIO(content)), content) if deep is None else deep
    except UnidentifiedImageError as error:
        raise ImageError("not a picture in a known format, whatever its name says.") from error
    except Image.DecompressionBombError as error:
        raise ImageError(f"too large ({error}); cut it into parts.") from error
    except _DAMAGE as error:
        if isinstance(error, ImageError):
            raise
        raise ImageError(f"damaged or cut short ({error}).") from error


def _read(image: Image.Image, content: bytes) -> PictureFile:
    notes = []
    frames = getattr(image, "n_frames", 1)
    if frames > 1 and image.format != "MPO":  # what a phone adds is a preview or a depth map
        notes.append(f"only the first of {frames} frames or pages")
    profile = image.info.get("icc_profile")
    deep = image.format == "PNG" and content[24] == _DEEP
    if not deep:
        image.load()  # Pillow turns TIFFs while it loads them
    exif = exif_of(image)
    orientation = exif.get(ORIENTATION, 1)
    if image.format == "TIFF":  # what Pillow takes for EXIF data are the file's own tags
        exif = Image.Exif()
    if deep:
        pixels = _read_deep_png(content)
    elif image.mode == "CMYK":
        pixels = np.asarray(_cmyk_to_srgb(image, profile))
        profile = None
        notes.append("CMYK became sRGB")
    else:
        pixels = from_pil(image)
        if image.mode in ("LAB", "HSV", "YCbCr"):
            profile = None
    if ORIENTATION in exif:
        del exif[ORIENTATION]
    return PictureFile(
        np.ascontiguousarray(upright(pixels, orientation)), profile, exif.tobytes() if exif else None, notes
    )


def _read_deep_png(content: bytes) -> NDArray[Any]:
    pixels = cv2.imdecode(np.frombuffer(content, dtype=np.uint8), cv2.IMREAD_UNCHANGED)
    if pixels is None:
        raise ImageError("damaged, or cut short.")
    return pixels[:, :, [0, 3]] if content[25] == _PNG_GREY_ALPHA else _rgb(pixels)


def _rgb(pixels: NDArray[Any]) -> NDArray[Any]:
    """From OpenCV's order of channels."""
    if pixels.ndim == 2:
        return pixels
    return cv2.cvtColor(pixels, cv2.COLOR_BGRA2RGBA if pixels.shape[2] == 4 else cv2.COLOR_BGR2RGB)


def _read_deep_tiff(content: bytes) -> PictureFile | None:
    """A TIFF with more than 8 bits a channel; None for others."""
    with TiffFile(io.BytesIO(content)) as file:
        page = file.pages.first
        bits = page.bitspersample
        if max(bits if isinstance(bits, tuple) else (bits,)) <= 8:
            return None
        check_size(page.imagewidth, page.imagelength)
        tags = {code: page.tags[code].value for code in (ORIENTATION, _ICC_PROFILE) if code in page.tags}
        orientation = tags.get(ORIENTATION, 1)
        try:
            pixels = page.asarray()
            if page.planarconfig == 2 and pixels.ndim == 3:  # one plane a channel
                pixels = np.moveaxis(pixels, 0, -1)
        except ValueError as error:
            if "imagecodecs" not in str(error):
                raise
            # A compression that OpenCV knows; it turns the picture upright.
            decoded = cv2.imdecode(np.frombuffer(content, dtype=np.uint8), cv2.IMREAD_UNCHANGED)
            if decoded is None:
                raise
            pixels, orientation = _rgb(decoded), 1
        if page.photometric not in (_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB):
            raise ImageError(
                f"a TIFF of {_DEEP} bits or more in {page.photometric.name}: save it as RGB or grey, or with 8 bits."
            )
        pixels = _sixteen_bits(pixels)
        if page.photometric == _WHITE_IS_ZERO:
            pixels = (1 if pixels.dtype == np.float32 else 65535) - pixels
        count = len(file.pages)
    notes = [f"only the first of {count} frames or pages"] if count > 1 else []
    return PictureFile(np.ascontiguousarray(upright(pixels, orientation)), tags.get(_ICC_PROFILE), None, notes)


def _sixteen_bits(pixels: NDArray[Any]) -> NDArray[Any]:
    """As uint16 or float32."""
    if np.issubdtype(pixels.dtype, np.floating):
        return pixels.astype(np.float32)
    if pixels.dtype != np.uint16:
        low, high = int(pixels.min()), int(pixels.max())
        if low < 0 or high > 65535:
            raise ImageError(f"expected values from 0 to 65535, got {low} to {high} ({pixels.dtype}).")
    return pixels.astype(np.uint16, copy=False)


def check_size(width: int, height: int) -> None:
    """Refuse what Pillow takes for a decompression bomb.

    Raises:
        ImageError: Too many pixels.
    """
    largest = 2 * (Image.MAX_IMAGE_PIXELS or 1 << 62)
    if width * height > largest:
        raise ImageError(f"too large ({width}x{height} pixels, more than {largest}); cut it into parts.")


def _cmyk_to_srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    if profile is None:
        return image.convert("RGB")
    try:
        converted = ImageCms.profileToProfile(
            image, ImageCms.ImageCmsProfile(io.BytesIO(profile)), ImageCms.createProfile("sRGB"), outputMode="RGB"
        )
    except ImageCms.PyCMSError:  # a profile of another colour space
        converted = None
    return image.convert("RGB") if converted is None else converted
