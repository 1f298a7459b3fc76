"""What becomes of one downloaded image: sub-images for training, or itself for tests."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from lightbsr_arch.errors import ImageError
from lightbsr_model.data.decoding import PNG_SIGNATURE, RGBImage, decode_rgb
from lightbsr_model.data.found_images import FoundImage
from lightbsr_model.data.set_stores import EncodedPng
from lightbsr_model.data.sub_images import SubImageGrid


def encode_png(image: RGBImage, level: int) -> bytes:
    """Encode (H, W, 3) RGB or (H, W) grey, 8 bit, as PNG.

    Args:
        image: The image.
        level: zlib's, 0 (fast, large) to 9.
    """
    bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR) if image.ndim == 3 else image
    return cv2.imencode(".png", bgr, [cv2.IMWRITE_PNG_COMPRESSION, level])[1].tobytes()


def shrunk(image: RGBImage, factor: int) -> RGBImage:
    """Shrink (H, W, 3) by OpenCV's INTER_AREA: each pixel is the rounded average of ``factor`` x ``factor``.

    Rows and columns beyond the last whole square are left out.
    """
    height, width = (side // factor for side in image.shape[:2])
    whole = image[: height * factor, : width * factor]
    return np.asarray(cv2.resize(whole, (width, height), interpolation=cv2.INTER_AREA), np.uint8)


def detail(image: RGBImage) -> float:
    """The mean absolute Laplacian of an image's luma in 0..255: about 1 for sky, 10 to 30 for leaves and stone."""
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY) if image.ndim == 3 else image
    return float(np.abs(cv2.Laplacian(grey.astype(np.float32), cv2.CV_32F)).mean())


@dataclass(frozen=True)
class PicturePreparation:
    """From an image's file to the PNGs of a set. Called with an image, raises ImageError if it cannot be used."""

    grid: SubImageGrid | None
    """Sub-images; None keeps images whole, and 8-bit PNG files as they are."""
    min_size: int
    """Pictures with a shorter side are refused."""
    png_level: int
    """Of the encoding, 0 to 9."""
    grey: bool = False
    """Write one channel, luma, instead of RGB."""
    min_detail: float = 0
    """Sub-images of less :func:`detail` are left out."""

    def __call__(self, picture: FoundImage) -> list[EncodedPng]:
        """Decode, shrink, cut and encode."""
        content = picture.read()
        image, dropped_alpha = decode_rgb(content, str(picture))
        if picture.shrink > 1:
            image = shrunk(image, picture.shrink)
        height, width = image.shape[:2]
        if min(height, width) < self.min_size:
            raise ImageError(f"{picture}: {width}x{height} is below --min-size {self.min_size}.")
        if self.grid is None:
            as_it_is = not dropped_alpha and not self.grey and picture.shrink == 1
            if as_it_is and content[:8] == PNG_SIGNATURE and content[24] == 8:
                return [EncodedPng(picture.name, content, (height, width, 1 if content[25] == 0 else 3))]
            return [self._encoded(picture.name, image)]
        pieces = enumerate(self.grid.cut(image), 1)
        return [
            self._encoded(f"{picture.name}_s{number:03d}", piece)
            for number, piece in pieces
            if self.min_detail == 0 or detail(piece) >= self.min_detail
        ]

    def _encoded(self, name: str, image: RGBImage) -> EncodedPng:
        if self.grey:
            image = np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), np.uint8)
        return EncodedPng(name, encode_png(image, self.png_level), (*image.shape[:2], 1 if self.grey else 3))
