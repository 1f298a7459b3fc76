"""Picture files in and out, with what they hold beside pixels: depth, alpha, orientation, colour profile."""

from __future__ import annotations

import io
import struct
import warnings
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms, UnidentifiedImageError

from lightbsr_arch.errors import ImageError
from lightbsr_arch.inference.images import from_pil

READABLE = frozenset({".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp", ".gif", ".ppm", ".pgm", ".jp2"})
"""Extensions that are looked for in folders. A file that is named by itself is read by its content."""

_ORIENTATION = 0x0112
_BITS_PER_SAMPLE, _SAMPLE_FORMAT, _FLOATS = 258, 339, 3
_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PNG_GREY_ALPHA = 4


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
            image = Image.open(io.BytesIO(content))
            return _read(image, content)
    except UnidentifiedImageError as error:
        raise ImageError("not a picture in a known format, whatever its name says.") from error
    except Image.DecompressionBombError as error:
        raise ImageError(f"too large ({error}); cut it into parts.") from error
    except (OSError, SyntaxError, ValueError, EOFError, struct.error, KeyError, IndexError, cv2.error) as error:
        if isinstance(error, ImageError):
            raise
        raise ImageError(f"damaged or cut short ({error}).") from error


def _read(image: Image.Image, content: bytes) -> PictureFile:
    notes = []
    frames = getattr(image, "n_frames", 1)
    if frames > 1 and image.format != "MPO":  # what a phone adds is a preview or a depth map
        notes.append(f"only the first of {frames} frames or pages")
    profile = image.info.get("icc_profile")
    exif = image.getexif()
    orientation = exif.get(_ORIENTATION, 1)
    if _is_deep(image, content):
        pixels = _read_deep(content)
    elif image.mode == "CMYK":
        pixels = np.asarray(_cmyk_to_srgb(image, profile))
        profile = None
        notes.append("CMYK became sRGB")
    else:
        pixels = from_pil(image)
        if image.mode in ("LAB", "HSV", "YCbCr"):
            profile = None
    if _ORIENTATION in exif:
        del exif[_ORIENTATION]
    upright = np.ascontiguousarray(_upright(pixels, orientation))
    return PictureFile(upright, profile, exif.tobytes() if exif else None, notes)


def _upright(pixels: NDArray[Any], orientation: int) -> NDArray[Any]:
    """Turn by EXIF's number: 1 to 4 are not turned by a quarter, even and odd ones are mirrored or not."""
    turned = np.rot90(pixels, {3: 2, 4: 2, 5: 3, 6: 3, 7: 1, 8: 1}.get(orientation, 0))
    return turned[:, ::-1] if orientation in (2, 4, 5, 7) else turned


def _is_deep(image: Image.Image, content: bytes) -> bool:
    """Whether there are more than 8 bits a channel, which Pillow does not keep for colours."""
    if image.format == "PNG":
        return content[:8] == _PNG_SIGNATURE and content[24] == 16
    if image.format == "TIFF":
        tags: Any = getattr(image, "tag_v2", {})
        bits = tags.get(_BITS_PER_SAMPLE, (8,))
        return max(bits if isinstance(bits, tuple) else (bits,)) > 8
    return False


def _read_deep(content: bytes) -> NDArray[Any]:
    pixels = cv2.imdecode(np.frombuffer(content, dtype=np.uint8), cv2.IMREAD_UNCHANGED)
    if pixels is None:
        raise ImageError("damaged, cut short, or of a kind with more than 8 bits a channel that is not known.")
    if pixels.ndim == 3:
        pixels = cv2.cvtColor(pixels, cv2.COLOR_BGRA2RGBA if pixels.shape[2] == 4 else cv2.COLOR_BGR2RGB)
    if content.startswith(_PNG_SIGNATURE) and content[25] == _PNG_GREY_ALPHA:
        pixels = pixels[:, :, [0, 3]]
    return pixels


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
