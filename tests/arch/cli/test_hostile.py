"""Pictures that nobody would choose: done right, or refused with a clear word and without a trace."""

from __future__ import annotations

import subprocess
import sys

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


# Refused: what is in the file, what is said.
def _zero_bytes(path):
    path.write_bytes(b"")


def _truncated(path):
    save(path, 200, 200)
    path.write_bytes(path.read_bytes()[:9000])


def _truncated_jpeg(path):
    Image.fromarray(photograph(200, 200)).save(path, "JPEG")
    path.write_bytes(path.read_bytes()[:5000])


def _renamed_text(path):
    path.write_text("Dear diary\n" * 100)


def _random_bytes(path):
    path.write_bytes(np.random.default_rng(0).bytes(4096))


def _header_only(path):
    save(path)
    path.write_bytes(path.read_bytes()[:33])


def _nan_tiff(path):
    values = np.full((20, 20, 3), 0.5, np.float32)
    values[3, 4, 1] = np.nan
    imwrite(path, values, photometric="rgb")


def _infinite_tiff(path):
    imwrite(path, np.full((20, 20), np.inf, np.float32))


def _unscaled_floats(path):
    imwrite(path, np.full((20, 20), 200.0, np.float32))


def _bomb(path):
    """A PNG that says it is 40000x40000."""
    save(path)
    content = bytearray(path.read_bytes())
    content[16:24] = (40000).to_bytes(4, "big") * 2
    import zlib

    content[29:33] = zlib.crc32(bytes(content[12:29])).to_bytes(4, "big")
    path.write_bytes(bytes(content))


def _deep_tiff_bomb(path):
    imwrite(path, shape=(1 << 15, 1 << 15), dtype=np.uint16)
    with path.open("r+b") as file:
        file.truncate(4096)


def _zip(path):
    path.write_bytes(b"PK\x03\x04" + bytes(100))


def _unreadable_folder(path):
    path.mkdir()


REFUSED = [
    (_zero_bytes, "the file is empty"),
    (_truncated, "damaged or cut short"),
    (_truncated_jpeg, "damaged or cut short"),
    (_renamed_text, "not an image in a known format, whatever its name says"),
    (_random_bytes, "not an image in a known format"),
    (_header_only, "not an image in a known format"),
    (_nan_tiff, "the image holds NaN or infinity"),
    (_infinite_tiff, "the image holds NaN or infinity"),
    (_unscaled_floats, "expected floats in [0, 1], got 200 to 200"),
    (_bomb, "too large"),
    (_deep_tiff_bomb, "too large"),
    (_zip, "not an image in a known format"),
]


@pytest.mark.parametrize(("make", "message"), REFUSED, ids=[make.__name__[1:] for make, _ in REFUSED])
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


# Done: what is in the file, the size and mode of what comes out.
def _one_pixel(path):
    Image.new("RGB", (1, 1), (10, 200, 30)).save(path)


def _one_row(path):
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (1, 5000, 3), dtype=np.uint8)).save(path)


def _one_column(path):
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (5000, 1), dtype=np.uint8)).save(path)


def _black(path):
    Image.new("RGB", (30, 20)).save(path)


def _white_16(path):
    Image.fromarray(np.full((20, 30), 65535, np.uint16)).save(path)


def _cmyk(path):
    Image.fromarray(photograph(20, 30)).convert("CMYK").save(path, "JPEG")


def _animated_gif(path):
    frames = [Image.new("RGB", (30, 20), colour) for colour in ("red", "blue")]
    frames[0].save(path, "GIF", save_all=True, append_images=frames[1:])


def _animated_png(path):
    frames = [Image.new("RGB", (30, 20), colour) for colour in ("red", "blue")]
    frames[0].save(path, "PNG", save_all=True, append_images=frames[1:])


def _jpeg_named_png(path):
    Image.fromarray(photograph(20, 30)).save(path, "JPEG")


def _transparent(path):
    Image.fromarray(np.zeros((20, 30, 4), np.uint8)).save(path)


def _broken_profile(path):
    Image.fromarray(photograph(20, 30)).save(path, icc_profile=b"no profile at all")


def _broken_exif(path):
    Image.fromarray(photograph(20, 30)).save(path, exif=b"Exif\0\0garbage")


def _odd_orientation(path):
    exif = Image.Exif()
    exif[0x0112] = 99
    Image.fromarray(photograph(20, 30)).save(path, exif=exif)


DONE = [
    (_one_pixel, (4, 4), "RGB"),
    (_one_row, (20000, 4), "RGB"),
    (_one_column, (4, 20000), "L"),
    (_black, (120, 80), "RGB"),
    (_white_16, (120, 80), "I;16"),
    (_cmyk, (120, 80), "RGB"),
    (_animated_gif, (120, 80), "RGB"),
    (_animated_png, (120, 80), "RGB"),
    (_jpeg_named_png, (120, 80), "RGB"),
    (_transparent, (120, 80), "RGBA"),
    (_broken_profile, (120, 80), "RGB"),
    (_broken_exif, (120, 80), "RGB"),
    (_odd_orientation, (120, 80), "RGB"),
]


@pytest.mark.parametrize(("make", "size", "mode"), DONE, ids=[make.__name__[1:] for make, *_ in DONE])
def test_done_all_the_same(infer, tmp_path, make, size, mode):
    make(tmp_path / "a.png")
    status, told = infer(tmp_path / "a.png", "-o", tmp_path / "out")
    assert status == 0, told
    assert files(tmp_path / "out") == ["a_x4.png"]
    with Image.open(tmp_path / "out/a_x4.png") as image:
        assert (image.size, image.mode) == (size, mode)
    if "frames" in told:
        assert "only the first of 2 frames or pages" in told
    assert ("CMYK became sRGB" in told) == (make is _cmyk)


def test_black_and_white_stay_what_they_are(infer, tmp_path):
    """With the model in the box: a tiny network that was never trained has no reason to."""
    for make in (_black, _white_16):
        make(tmp_path / f"{make.__name__}.png")
        infer(tmp_path / f"{make.__name__}.png", "-o", tmp_path / "out", "-m", "lightbsr_small_x4")
    assert _pixels(tmp_path / "out/_black_x4.png").max() <= 16
    assert _pixels(tmp_path / "out/_white_16_x4.png").min() >= 65535 - 16 * 257


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
        "import resource, lightbsr\n"
        f"status = lightbsr.main(['infer', {str(tmp_path / 'a.jpg')!r}, '-o', {str(tmp_path / 'b.jpg')!r}, "
        f"'-m', {str(tmp_path / 'm.safetensors')!r}, '--device', 'cpu'])\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)\nraise SystemExit(status)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=580)
    assert done.returncode == 0, done.stderr
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    with Image.open(tmp_path / "b.jpg") as image:
        assert image.size == (8000, 6000)
    # KiB: torch (0.5 GB), a tile (0.8 GB), a row of tiles, the image, its result (0.15 GB) and what writes it.
    assert int(done.stdout.split()[-1]) < 2_400_000
