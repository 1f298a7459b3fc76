from __future__ import annotations

import zlib

import cv2
import numpy as np
import pytest
import skimage.data
from PIL import Image

from lightbsr_arch.errors import ImageError
from lightbsr_model.data import row_decoding
from lightbsr_model.data.decoding import decode_rgb
from lightbsr_model.data.row_decoding import EncodedImage

from support.encoded_images import encoded, exif_of

PICTURE = skimage.data.astronaut()[40:265, 60:290]
EXIF_TURNED, EXIF_UPRIGHT = exif_of(orientation=6), exif_of(orientation=1)


def _pillow(kind: str, mode: str = "RGB", **options: object) -> bytes:
    return encoded(Image.fromarray(PICTURE).convert(mode), kind, **options)


def _opencv(kind: str, image: np.ndarray, *options: int) -> bytes:
    return cv2.imencode(kind, image, list(options))[1].tobytes()


PARTIAL = {
    "png": _pillow("png"),
    "png of opencv": _opencv(".png", PICTURE),
    "png of rows that stand alone": _opencv(".png", PICTURE, cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_RLE),
    "png without compression": _pillow("png", compress_level=0),
    "png palette": _pillow("png", "P"),
    "png bits": _pillow("png", "1"),
    "png grey": _pillow("png", "L"),
    "png grey alpha": _pillow("png", "LA"),
    "png alpha": _pillow("png", "RGBA"),
    "png 16 bit": _opencv(".png", PICTURE.astype(np.uint16) * 201),
    "jpeg 4:4:4": _pillow("jpeg", quality=95, subsampling=0),
    "jpeg 4:2:2": _pillow("jpeg", quality=60, subsampling=1),
    "jpeg 4:2:0": _pillow("jpeg", quality=90, subsampling=2),
    "jpeg 4:1:1": _opencv(".jpg", PICTURE, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_411),
    "jpeg 4:4:0": _opencv(".jpg", PICTURE, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_440),
    "jpeg restarts": _opencv(".jpg", PICTURE, cv2.IMWRITE_JPEG_RST_INTERVAL, 5),
    "jpeg grey": _pillow("jpeg", "L"),
    "jpeg upright": _pillow("jpeg", exif=EXIF_UPRIGHT),
}
WHOLE = {
    "jpeg turned": _pillow("jpeg", exif=EXIF_TURNED),
    "jpeg progressive": _pillow("jpeg", progressive=True),
    "jpeg cmyk": _pillow("jpeg", "CMYK"),
    "tiff": _pillow("tiff"),
    "webp": _pillow("webp", quality=80),
    "bmp": _pillow("bmp"),
}


@pytest.mark.parametrize("kind", [*PARTIAL, *WHOLE])
def test_rows_are_those_of_the_whole_image(kind, monkeypatch):
    content = {**PARTIAL, **WHOLE}[kind]
    whole = decode_rgb(content, kind)[0]
    decoded = []
    monkeypatch.setattr(row_decoding, "decode_rgb", lambda c, name: decoded.append(len(c)) or decode_rgb(c, name))
    rng = np.random.default_rng(0)
    bands = [sorted(rng.choice(len(whole) + 1, 2, replace=False)) for _ in range(12)] + [(0, len(whole)), (0, 1)]
    for top, bottom in bands:
        image = EncodedImage(content, kind)
        assert image.size == whole.shape[:2]
        assert (image.rows(int(top), int(bottom)) == whole[top:bottom]).all()
    first = EncodedImage(content, kind)
    decoded.clear()
    first.rows(0, 20)
    # What is not decoded whole is handed to the decoder cut, or not at all (JPEG goes to Pillow).
    assert (decoded == [len(content)]) == (kind in WHOLE)


def test_zlib_serves_where_isal_is_missing(monkeypatch):
    monkeypatch.setattr(row_decoding, "inflate", zlib)
    assert (EncodedImage(PARTIAL["png"], "a").rows(50, 90) == PICTURE[50:90]).all()


@pytest.mark.parametrize("kind", ["png", "jpeg 4:2:0"])
def test_damage_is_found_down_to_the_crop_and_named(kind):
    content = PARTIAL[kind]
    cut = content[: len(content) // 2]
    whole = decode_rgb(content, kind)[0]
    assert (EncodedImage(cut, "photo").rows(0, 40) == whole[:40]).all()
    with pytest.raises(ImageError, match="photo"):
        EncodedImage(cut, "photo").rows(160, 190)
    with pytest.raises(ImageError, match="photo"):
        EncodedImage(cut, "photo").rows(0, len(whole))
    place = len(content) // 3
    spoilt = content[:place] + bytes(16) + content[place + 16 :]
    if kind == "png":
        with pytest.raises(ImageError, match=r"photo.*(damaged|cannot be read)"):
            EncodedImage(spoilt, "photo").rows(150, 190)


@pytest.mark.parametrize(("top", "bottom"), [(-1, 5), (5, 5), (0, 226)])
def test_rows_outside_are_refused(top, bottom):
    with pytest.raises(ValueError, match="225"):
        EncodedImage(PARTIAL["png"], "a").rows(top, bottom)


def test_dropped_alpha_is_told():
    told = []
    EncodedImage(PARTIAL["png alpha"], "a", lambda: told.append(1)).rows(3, 9)
    EncodedImage(PARTIAL["png"], "a", lambda: told.append(2)).rows(3, 9)
    assert told == [1]
