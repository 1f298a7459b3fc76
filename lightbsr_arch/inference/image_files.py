"""Picture files in and out, with what they hold beside pixels: depth, alpha, orientation, colour profile, resolution."""

from __future__ import annotations

import io
import math
import struct
import warnings
import zlib
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms, UnidentifiedImageError

from lightbsr_arch.errors import ImageError
from lightbsr_arch.inference import tiff_reading
from lightbsr_arch.inference.colour_profiles import belonging
from lightbsr_arch.inference.images import ORIENTATION, exif_of, from_pil, upright, with_transparent

READABLE = frozenset({".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp", ".gif", ".ppm", ".pgm", ".jp2"})
"""Extensions that are looked for in folders. A file that is named by itself is read by its content."""

_PNG_GREY_ALPHA = 4
_DEEP = 16
"""Bits per channel, which Pillow does not keep for colours."""

_TURNED_BY_A_QUARTER = (5, 6, 7, 8)

_DAMAGE = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    ArithmeticError,
    LookupError,
    TypeError,
    AttributeError,
    AssertionError,
    RuntimeError,
    struct.error,
    zlib.error,
    cv2.error,
)
"""What decoders raise for damaged files: each was met when small images of every kind were changed at random."""


@dataclass(frozen=True)
class DecodedImage:
    """What was read from a file."""

    pixels: NDArray[Any]
    """(H, W), or (H, W, channels): grey and alpha, RGB, or RGB and alpha; upright; uint8, uint16 or float32."""
    profile: bytes | None = None
    """Its ICC profile, where it belongs to these pixels."""
    exif: bytes | None = None
    """Its EXIF data without the orientation, which the pixels have."""
    notes: list[str] = field(default_factory=list)
    """What a user should know: more frames, a converted colour space."""
    resolution: tuple[float, float] | None = None
    """Pixels per inch, horizontally and vertically."""
    lossless: bool = False
    """Whether it is a WebP that was compressed without loss."""


def read_picture(content: bytes) -> DecodedImage:
    """Decode an image.

    Args:
        content: Of a file in any format that Pillow reads.

    Raises:
        ImageError: No image, cut short, or larger than Pillow takes for a decompression bomb (179 megapixels).
    """
    if not content:
        raise ImageError("the file is empty.")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            if content.startswith(tiff_reading.SIGNATURES):
                return _read_tiff(content)
            return _read(_open(content), content)
    except UnidentifiedImageError as error:
        raise ImageError("not an image in a known format, whatever its name says.") from error
    except Image.DecompressionBombError as error:
        raise ImageError(f"too large ({error}); cut it into parts.") from error
    except MemoryError as error:
        raise ImageError("damaged, or too large for the memory that is free.") from error
    except _DAMAGE as error:
        if isinstance(error, ImageError):
            raise
        raise ImageError(f"damaged or cut short ({error}).") from error


def _open(content: bytes) -> Image.Image:
    Image.init()
    # An EPS is a program, which Pillow has Ghostscript run.
    return Image.open(io.BytesIO(content), formats=[name for name in Image.ID if name != "EPS"])


def _read_tiff(content: bytes) -> DecodedImage:
    with tiff_reading.open_tiff(content) as file:
        tiff = tiff_reading.inspect(file)
        if not tiff.deep:
            try:
                image = _open(content)
            except UnidentifiedImageError as error:
                raise ImageError(f"a TIFF of a kind that is not read ({tiff.kind}): save it as RGB or grey.") from error
            return _read(image, content, tiff)
        pixels, orientation = tiff_reading.read_deep(tiff, content)
        notes = [*_frames(len(file.pages)), *tiff.notes]
        resolution = _resolution(tiff_reading.resolution_of(tiff), orientation)
        profile, left_out = belonging(tiff_reading.profile_of(tiff), _is_grey(pixels))
    pixels = np.ascontiguousarray(upright(pixels, orientation))
    return DecodedImage(pixels, profile, None, [*notes, *left_out], resolution)


def _read(image: Image.Image, content: bytes, tiff: tiff_reading.Tiff | None = None) -> DecodedImage:
    notes = (
        [] if image.format == "MPO" else _frames(getattr(image, "n_frames", 1))
    )  # a phone adds a preview, a depth map
    profile = image.info.get("icc_profile")
    resolution = image.info.get("dpi")
    deep = image.format == "PNG" and content[24] == _DEEP
    if not deep:
        image.load()  # Pillow turns TIFFs while it loads them
    exif = exif_of(image)
    orientation = exif.get(ORIENTATION, 1)
    if image.format == "TIFF":  # what Pillow takes for EXIF data are the file's own tags
        exif = Image.Exif()
    if deep:
        pixels = _read_deep_png(content, image.info.get("transparency"))
    elif image.mode == "CMYK":
        pixels = np.asarray(_cmyk_to_srgb(image, profile))
        profile = None
        notes.append("CMYK became sRGB")
    elif image.mode == "LAB":
        pixels = from_pil(image)
        profile = None
        notes.append("LAB became sRGB")
    else:
        pixels = from_pil(image)
    if tiff is not None:
        notes += tiff.notes
        if tiff.colours and tiff.alpha is None and _has_alpha(pixels):
            pixels = pixels[:, :, :-1]
    if ORIENTATION in exif:
        del exif[ORIENTATION]
    profile, left_out = belonging(profile, _is_grey(pixels))
    return DecodedImage(
        np.ascontiguousarray(upright(pixels, orientation)),
        profile,
        exif.tobytes() if exif else None,
        [*notes, *left_out],
        _resolution(resolution, orientation),
        image.format == "WEBP" and _is_lossless_webp(content),
    )


def _frames(count: int) -> list[str]:
    return [f"only the first of {count} frames or pages"] if count > 1 else []


def _has_alpha(pixels: NDArray[Any]) -> bool:
    return pixels.ndim == 3 and pixels.shape[2] in (2, 4)


def _is_grey(pixels: NDArray[Any]) -> bool:
    return pixels.ndim == 2 or pixels.shape[2] < 3


def _resolution(given: Any, orientation: int) -> tuple[float, float] | None:
    """Both of what a file says, if they are numbers that can be."""
    if given is None:
        return None
    x, y = (float(value) for value in given)
    if not (math.isfinite(x) and math.isfinite(y) and min(x, y) > 0):
        return None
    return (y, x) if orientation in _TURNED_BY_A_QUARTER else (x, y)


def _is_lossless_webp(content: bytes) -> bool:
    """Whether the first image in it is compressed by VP8L. What is around it are RIFF chunks; a frame holds some itself."""
    offset = 12
    while offset + 8 <= len(content):
        kind, size = struct.unpack_from("<4sI", content, offset)
        if kind in (b"VP8L", b"VP8 "):
            return bool(kind == b"VP8L")
        offset += 8 + 16 if kind == b"ANMF" else 8 + size + size % 2
    return False


def _read_deep_png(content: bytes, transparent: Any) -> NDArray[Any]:
    pixels = cv2.imdecode(np.frombuffer(content, dtype=np.uint8), cv2.IMREAD_UNCHANGED)
    if pixels is None:
        raise ImageError("damaged, or cut short.")
    if content[25] == _PNG_GREY_ALPHA:
        return pixels[:, :, [0, 3]]
    pixels = tiff_reading.from_opencv(pixels)
    return pixels if transparent is None or _has_alpha(pixels) else with_transparent(pixels, transparent)


def _cmyk_to_srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    if profile is None:
        return image.convert("RGB")
    try:
        converted = ImageCms.profileToProfile(
            image, ImageCms.ImageCmsProfile(io.BytesIO(profile)), ImageCms.createProfile("sRGB"), outputMode="RGB"
        )
    except (ImageCms.PyCMSError, OSError):  # a profile of another colour space, or a damaged one
        converted = None
    return image.convert("RGB") if converted is None else converted
