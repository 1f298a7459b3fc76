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

    def __call__(self, picture: FoundImage) -> list[EncodedPng]:
        """Decode, cut and encode."""
        content = picture.read()
        image, dropped_alpha = decode_rgb(content, str(picture))
        height, width = image.shape[:2]
        if min(height, width) < self.min_size:
            raise ImageError(f"{picture}: {width}x{height} is below --min-size {self.min_size}.")
        if self.grid is None:
            if content[:8] == PNG_SIGNATURE and content[24] == 8 and not dropped_alpha and not self.grey:
                return [EncodedPng(picture.name, content, (height, width, 1 if content[25] == 0 else 3))]
            return [self._encoded(picture.name, image)]
        pieces = self.grid.cut(image)
        return [self._encoded(f"{picture.name}_s{number:03d}", piece) for number, piece in enumerate(pieces, 1)]

    def _encoded(self, name: str, image: RGBImage) -> EncodedPng:
        if self.grey:
            image = np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), np.uint8)
        return EncodedPng(name, encode_png(image, self.png_level), (*image.shape[:2], 1 if self.grey else 3))
