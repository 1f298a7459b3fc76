"""Parts of image files, in little more memory than the decoded image takes."""

from __future__ import annotations

import hashlib
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from lightbsr_arch.errors import ImageError
from lightbsr_arch.inference.image_files import read_picture
from lightbsr_arch.inference.images import take_apart
from lightbsr_arch.inference.input_files import read_file

_LARGE = 16 << 20
"""Pixels above which an image is not copied as a whole."""

_EIGHT_BITS = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr")
"""Modes that Pillow converts to RGB without cutting values off."""

_ROWS = 256

_NOT_TAKEN = (OSError, SyntaxError, ValueError, ArithmeticError, LookupError, Image.DecompressionBombError)
"""What Pillow raises for files that are damaged, or no images."""


class LargeImage:
    """An image that is cut without being copied: rows and columns of it are 8-bit RGB arrays.

    Args:
        image: Decoded by Pillow.
    """

    def __init__(self, image: Image.Image) -> None:
        self._image = image
        self.shape = (image.height, image.width, 3)

    def __getitem__(self, place: tuple[slice, slice]) -> NDArray[np.uint8]:
        rows, columns = place
        box = (columns.start or 0, rows.start or 0, columns.stop, rows.stop)
        return np.asarray(self._image.crop(box).convert("RGB"))


def open_pixels(path: Path) -> NDArray[np.uint8] | LargeImage:
    """Read an image file of any depth, with or without alpha, as 8-bit RGB, upright.

    Args:
        path: Of a regular file.

    Raises:
        ImageError: It cannot be read, or is no image; the message names it.
    """
    large = _large(path)
    if large is not None:
        return large
    try:
        colour = take_apart(read_picture(read_file(path)).pixels).colour
    except ImageError as error:
        raise ImageError(f"{path}: {error}") from error
    except OSError as error:
        raise ImageError(f"{path}: {error.strerror or error}.") from error
    if colour.dtype == np.uint8:
        return np.asarray(colour)
    largest = 65535 if colour.dtype == np.uint16 else 1
    # By rows: a second copy in floats would take several times the image.
    result = np.empty(colour.shape, dtype=np.uint8)
    for top in range(0, len(colour), _ROWS):
        result[top : top + _ROWS] = np.rint(colour[top : top + _ROWS].astype(np.float32) * (255 / largest))
    return result


def content_of(pixels: NDArray[np.uint8] | LargeImage) -> str:
    """A hash of an image's size and pixels, whatever file they come from."""
    height, width = pixels.shape[:2]
    digest = hashlib.sha256(f"{height}x{width}".encode())
    for top in range(0, height, _ROWS):
        digest.update(np.ascontiguousarray(pixels[top : min(top + _ROWS, height), 0:width]).tobytes())
    return digest.hexdigest()


def open_header(path: Path) -> Any:
    """An image of which Pillow has read the header, of any size; None for a file that Pillow does not take."""
    if not path.is_file():
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            return Image.open(path)
    except _NOT_TAKEN:
        return None


def _large(path: Path) -> LargeImage | None:
    """A large image; None for a small one, and for a file that Pillow does not take, of which the other reader says why."""
    image = open_header(path)
    if image is None:
        return None
    if image.width * image.height <= _LARGE or image.mode not in _EIGHT_BITS:
        image.close()
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            image.load()
            return LargeImage(ImageOps.exif_transpose(image))
    except _NOT_TAKEN:
        return None
