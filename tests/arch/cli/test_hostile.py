"""Pictures that nobody would choose: done right, or refused with a clear word and without a trace."""

from __future__ import annotations

import subprocess
import sys
import zlib

import numpy as np
import pytest
from PIL import Image
from tifffile import imwrite

from lightbsr_arch.weights.model_files import ModelCard, save_model

from infer_helpers import files, photograph, save
from support.helpers import tiny_student


def _pixels(path):
    with Image.open(path) as image:
        return np.asarray(image)


def _cut(pixels, form, length):
    def make(path):
        Image.fromarray(pixels).save(path, form)
        path.write_bytes(path.read_bytes()[:length])

    return make


def _bomb(path):
    """A PNG that says it is 40000x40000."""
    save(path)
    content = bytearray(path.read_bytes())
    content[16:24] = (40000).to_bytes(4, "big") * 2
    content[29:33] = zlib.crc32(bytes(content[12:29])).to_bytes(4, "big")
    path.write_bytes(bytes(content))


def _deep_tiff_bomb(path):
    imwrite(path, shape=(1 << 15, 1 << 15), dtype=np.uint16)
    with path.open("r+b") as file:
        file.truncate(4096)


def _tiff(value, hole=None):
    """Floats, one of them another."""
    values = np.full((20, 20, 3), value, np.float32)
    values[3, 4, 1] = value if hole is None else hole
    return lambda path: imwrite(path, values, photometric="rgb")


PHOTO = photograph(200, 200)
UNKNOWN = "not an image in a known format"
REFUSED = {
    "zero bytes": (lambda path: path.write_bytes(b""), "the file is empty"),
    "truncated": (_cut(PHOTO, "PNG", 9000), "damaged or cut short"),
    "truncated jpeg": (_cut(PHOTO, "JPEG", 5000), "damaged or cut short"),
    "renamed text": (lambda path: path.write_text("Dear diary\n" * 100), f"{UNKNOWN}, whatever its name says"),
    "random bytes": (lambda path: path.write_bytes(np.random.default_rng(0).bytes(4096)), UNKNOWN),
    "header only": (_cut(PHOTO, "PNG", 33), UNKNOWN),
    "nan tiff": (_tiff(0.5, np.nan), "the image holds NaN or infinity"),
    "infinite tiff": (_tiff(np.inf), "the image holds NaN or infinity"),
    "unscaled floats": (_tiff(200.0), "expected floats in [0, 1], got 200 to 200"),
    "bomb": (_bomb, "too large"),
    "deep tiff bomb": (_deep_tiff_bomb, "too large"),
    "zip": (lambda path: path.write_bytes(b"PK\x03\x04" + bytes(100)), UNKNOWN),
}
"""What is in the file, and what is said."""


@pytest.mark.parametrize(("make", "message"), REFUSED.values(), ids=REFUSED)
def test_refused_without_a_trace(infer, tmp_path, make, message):
    source = tmp_path / "in/a.png"
    source.parent.mkdir()
    make(source)
    good = save(tmp_path / "in/good.png")
    status, told = infer(source, good, "-o", tmp_path / "out")
    assert status == 1
    assert f"{source}: failed: " in told
    assert message in told
    assert files(tmp_path / "out") == ["good_x4.png"]


def _of(image, *form, **options):
    """A file of an image, or of an array."""
    image = image if isinstance(image, Image.Image) else Image.fromarray(image)
    return lambda path: image.save(path, *form, **options)


def _frames(form):
    red, blue = (Image.new("RGB", (30, 20), colour) for colour in ("red", "blue"))
    return _of(red, form, save_all=True, append_images=[blue])


NOISE = np.random.default_rng(0).integers(0, 255, (5000, 3), dtype=np.uint8)
SMALL = photograph(20, 30)
ODD_ORIENTATION = Image.Exif()
ODD_ORIENTATION[0x0112] = 99
BLACK, WHITE_16 = _of(Image.new("RGB", (30, 20))), _of(np.full((20, 30), 65535, np.uint16))
DONE = {
    "one pixel": (_of(Image.new("RGB", (1, 1), (10, 200, 30))), (4, 4), "RGB"),
    "one row": (_of(NOISE[None]), (20000, 4), "RGB"),
    "one column": (_of(NOISE[:, :1]), (4, 20000), "L"),
    "black": (BLACK, (120, 80), "RGB"),
    "white 16": (WHITE_16, (120, 80), "I;16"),
    "cmyk": (_of(Image.fromarray(SMALL).convert("CMYK"), "JPEG"), (120, 80), "RGB"),
    "animated gif": (_frames("GIF"), (120, 80), "RGB"),
    "animated png": (_frames("PNG"), (120, 80), "RGB"),
    "jpeg named png": (_of(SMALL, "JPEG"), (120, 80), "RGB"),
    "transparent": (_of(np.zeros((20, 30, 4), np.uint8)), (120, 80), "RGBA"),
    "broken profile": (_of(SMALL, icc_profile=b"no profile at all"), (120, 80), "RGB"),
    "broken exif": (_of(SMALL, exif=b"Exif\0\0garbage"), (120, 80), "RGB"),
    "odd orientation": (_of(SMALL, exif=ODD_ORIENTATION), (120, 80), "RGB"),
}
"""What is in the file, and the size and mode of what comes out."""


@pytest.mark.parametrize("name", DONE)
def test_done_all_the_same(infer, tmp_path, name):
    make, size, mode = DONE[name]
    make(tmp_path / "a.png")
    status, told = infer(tmp_path / "a.png", "-o", tmp_path / "out")
    assert status == 0, told
    assert files(tmp_path / "out") == ["a_x4.png"]
    with Image.open(tmp_path / "out/a_x4.png") as image:
        assert (image.size, image.mode) == (size, mode)
    assert ("only the first of 2 frames or pages" in told) == ("animated" in name)
    assert ("CMYK became sRGB" in told) == (name == "cmyk")


def test_black_and_white_stay_what_they_are(infer, tmp_path):
    """With the model in the box: a tiny network that was never trained has no reason to."""
    for name, make in {"black": BLACK, "white": WHITE_16}.items():
        make(tmp_path / f"{name}.png")
        infer(tmp_path / f"{name}.png", "-o", tmp_path / "out", "-m", "lightbsr_small_x4")
    assert _pixels(tmp_path / "out/black_x4.png").max() <= 16
    assert _pixels(tmp_path / "out/white_x4.png").min() >= 65535 - 16 * 257


def test_a_result_that_the_format_cannot_hold(infer, tmp_path):
    Image.new("RGB", (5000, 1)).save(tmp_path / "a.webp")
    status, told = infer(tmp_path / "a.webp", "-o", tmp_path / "out")
    assert (status, (tmp_path / "out").exists()) == (1, False)
    assert "the result of 20000x4 is larger than .webp holds (16383 a side): take --ext png" in told
    Image.new("RGBA", (5, 5)).save(tmp_path / "b.png")
    assert "its alpha channel would be lost in .jpg" in infer(tmp_path / "b.png", "-o", tmp_path / "b.jpg")[1]


@pytest.mark.slow
def test_twelve_megapixels_in_bounded_memory(tmp_path, monkeypatch):
    """Features of the whole image at once would take 12 million x 4 x 4 bytes, twenty times over."""
    save_model(
        tmp_path / "m.safetensors",
        tiny_student(2, num_block=1, num_feat=4).state_dict(),
        ModelCard(),
    )
    Image.fromarray(np.tile(photograph(200, 250), (15, 16, 1))).save(tmp_path / "a.jpg")
    code = (
        "import lightbsr\n"
        f"status = lightbsr.main(['infer', {str(tmp_path / 'a.jpg')!r}, '-o', {str(tmp_path / 'b.jpg')!r}, "
        f"'-m', {str(tmp_path / 'm.safetensors')!r}, '--device', 'cpu'])\n"
        # Not ru_maxrss, which a process takes over from the one that started it.
        "peak = next(line for line in open('/proc/self/status') if line.startswith('VmHWM'))\n"
        "print(peak.split()[1])\nraise SystemExit(status)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=580)
    assert done.returncode == 0, done.stderr
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    with Image.open(tmp_path / "b.jpg") as image:
        assert image.size == (8000, 6000)
    # KiB: torch (0.5 GB), a tile (0.8 GB), a row of tiles, the image, its result (0.15 GB) and what writes it.
    assert int(done.stdout.split()[-1]) < 2_400_000
