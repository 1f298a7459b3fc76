"""Small images of every kind, changed at random: an image comes out, or an ImageError."""

from __future__ import annotations

import os

import numpy as np
import pytest
from PIL import Image

from lightbsr_arch.errors import ImageError
from lightbsr_arch.inference.image_files import read_picture

from support.encoded_images import encoded, exif_of, tiff

MUTATIONS = int(os.environ.get("LIGHTBSR_FUZZ", "24"))
"""Of each kind. LIGHTBSR_FUZZ=1000 for a night."""

_rng = np.random.default_rng(7)
_RGBA = _rng.integers(0, 256, (11, 13, 4), dtype=np.uint8)


RGB = _RGBA[:, :, :3].copy()
_EXIF = exif_of(orientation=6, description="Grandmother")
DEEP = _RGBA.astype(np.uint16) * 257
KINDS = {
    "png": encoded(RGB, "PNG", dpi=(300, 300), exif=_EXIF),
    "png alpha": encoded(_RGBA, "PNG"),
    "png palette": encoded(Image.fromarray(RGB).quantize(9), "PNG", transparency=2),
    "png grey 16": encoded(DEEP[:, :, 0].copy(), "PNG"),
    "jpeg": encoded(RGB, "JPEG", exif=_EXIF, dpi=(72, 72)),
    "jpeg cmyk": encoded(Image.fromarray(RGB).convert("CMYK"), "JPEG"),
    "webp": encoded(RGB, "WEBP", exif=_EXIF),
    "webp lossless": encoded(_RGBA, "WEBP", lossless=True),
    "tiff": encoded(RGB, "TIFF", dpi=(300, 300)),
    "tiff lzw": encoded(RGB, "TIFF", compression="tiff_lzw"),
    "tiff cmyk": encoded(Image.fromarray(RGB).convert("CMYK"), "TIFF"),
    "tiff 16": tiff(DEEP[:, :, :3].copy(), photometric="rgb", compression="zlib", resolution=(300, 300)),
    "tiff 16 premultiplied": tiff(DEEP, photometric="rgb", extrasamples=["assocalpha"]),
    "tiff 16 lzw": encoded(DEEP[:, :, 0].copy(), "TIFF", compression="tiff_lzw"),
    "tiff float": tiff((RGB / np.float32(255)).astype(np.float32), photometric="rgb"),
    "tiff big": tiff(DEEP[:, :, 0].copy(), bigtiff=True),
    "bmp": encoded(RGB, "BMP"),
    "gif": encoded(RGB, "GIF", save_all=True, append_images=[Image.new("RGB", (13, 11))]),
    "ppm": encoded(RGB, "PPM"),
    "pgm 16": encoded(DEEP[:, :, 0].copy(), "PPM"),
    "jp2": encoded(RGB, "JPEG2000"),
    "tga": encoded(_RGBA, "TGA", rle=True),
    "ico": encoded(_RGBA, "ICO"),
    "pcx": encoded(RGB, "PCX"),
}


def _mutated(content: bytes, rng: np.random.Generator) -> bytes:
    """One to four places changed: a bit, a byte, a word of an extreme, bytes cut out, doubled or cut off."""
    data = bytearray(content)
    for _ in range(rng.integers(1, 5)):
        # Headers are short and matter most.
        reach = len(data) if rng.random() < 0.5 else min(len(data), 200)
        at = int(rng.integers(0, max(reach, 1)))
        way = rng.integers(0, 6)
        if way == 0:
            data[at] ^= 1 << int(rng.integers(0, 8))
        elif way == 1:
            data[at] = int(rng.integers(0, 256))
        elif way == 2:
            size = int(rng.choice([2, 4]))
            data[at : at + size] = bytes([int(rng.choice([0, 255, 127, 128]))]) * size
        elif way == 3:
            del data[at : at + int(rng.integers(1, 9))]
        elif way == 4:
            data[at:at] = data[at : at + int(rng.integers(1, 9))]
        else:
            data = data[: max(at, 1)] if rng.random() < 0.3 else data
        if not data:
            break
    return bytes(data)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", KINDS)
def test_only_an_image_error_comes_out(kind, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1 << 20)  # a changed size costs no second
    rng = np.random.default_rng(sorted(KINDS).index(kind))
    assert read_picture(KINDS[kind]).pixels.shape[:2] in ((11, 13), (13, 11))
    for number in range(MUTATIONS):
        content = _mutated(KINDS[kind], rng)
        try:
            pixels = read_picture(content).pixels
        except ImageError:
            continue
        except Exception as error:
            raise AssertionError(f"mutation {number} of {kind}: {content!r}") from error
        assert pixels.dtype in (np.uint8, np.uint16, np.float32)
        assert pixels.ndim == 2 or pixels.shape[2] in (2, 3, 4)
        assert pixels.size
