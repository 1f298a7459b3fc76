"""8-bit RGB images, from the bytes of a file or from a tensor."""

from __future__ import annotations

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lightbsr_arch.errors import ImageError

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
"""What every PNG file begins with."""

RGBImage = NDArray[np.uint8]
"""(H, W, 3), 0..255."""


def to_rgb(image: Tensor) -> RGBImage:
    """A (3, H, W) tensor in [0, 1], or uint8, as an image; values are rounded to the nearest and clipped."""
    values = image if image.dtype == torch.uint8 else (image * 255).round().clamp(0, 255).to(torch.uint8)
    return np.ascontiguousarray(values.permute(1, 2, 0).numpy())


def decode_rgb(content: bytes, name: str) -> tuple[RGBImage, bool]:
    """Decode an image file to 8-bit RGB.

    Grey images get three equal channels, alpha is dropped, 16-bit values are scaled (65535 to 255) and rounded. The
    orientation that a JPEG's EXIF asks for is applied.

    Args:
        content: The file.
        name: What to call it in an error.

    Returns:
        The image, and whether an alpha channel was dropped.

    Raises:
        ImageError: Not an image, cut short, or of another depth than 8 and 16 bit.
    """
    is_jpeg = content[:2] == b"\xff\xd8"
    # Only IMREAD_UNCHANGED keeps alpha, and it alone ignores EXIF; JPEG has no alpha.
    flags = cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH if is_jpeg else cv2.IMREAD_UNCHANGED
    image = cv2.imdecode(np.frombuffer(content, np.uint8), flags) if content else None
    if image is None:
        raise ImageError(f"{name}: cannot be read as an image ({len(content)} bytes): cut short, or no image at all.")
    if image.dtype == np.uint16:
        image = np.round(image / 257.0).astype(np.uint8)
    elif image.dtype != np.uint8:
        raise ImageError(f"{name}: expected an image of 8 or 16 bit, got {image.dtype}.")
    if image.ndim == 2 or image.shape[2] == 1:
        return cv2.cvtColor(image, cv2.COLOR_GRAY2RGB), False
    if image.shape[2] == 2:
        return cv2.cvtColor(np.ascontiguousarray(image[:, :, 0]), cv2.COLOR_GRAY2RGB), True
    if image.shape[2] == 4:
        return cv2.cvtColor(image, cv2.COLOR_BGRA2RGB), True
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB), False
