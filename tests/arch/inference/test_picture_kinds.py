"""What is read of every kind of image file, and what is written."""

from __future__ import annotations

import io

import cv2
import numpy as np
import pytest
from PIL import Image, ImageOps, JpegImagePlugin

from lightbsr_arch.errors import ImageError
from lightbsr_arch.inference.image_files import read_picture
from lightbsr_arch.inference.image_writing import FORMATS, check_fit, write_picture

from support.encoded_images import SRGB, deep_png, encoded, exif_of, tiff

EXACT, CLOSE = 0, 6
KINDS = [
    # extension, type, channels, largest difference after writing and reading
    *((".png", dtype, channels, EXACT) for dtype in (np.uint8, np.uint16) for channels in (None, 1, 2, 3, 4)),
    *((".tif", dtype, channels, EXACT) for dtype in (np.uint8, np.uint16) for channels in (None, 1, 2, 3, 4)),
    *((".bmp", np.uint8, channels, EXACT) for channels in (None, 3)),
    *((".webp", np.uint8, channels, CLOSE) for channels in (None, 3, 4)),
    *((".jpg", np.uint8, channels, CLOSE) for channels in (None, 3)),
]


def _smooth(shape, dtype):
    """Every pixel another value, every channel another slope."""
    height, width, channels = (*shape, 1)[:3]
    rows, columns = np.mgrid[0:height, 0:width] / max(height, width)
    planes = [0.2 + 0.3 * rows + 0.1 * number * columns for number in range(channels)]
    values = np.rint(np.stack(planes, axis=-1) * np.iinfo(dtype).max).astype(dtype)
    return values if len(shape) == 3 else values[:, :, 0]


@pytest.mark.parametrize(("extension", "dtype", "channels", "tolerance"), KINDS)
def test_what_is_written_is_read_again(tmp_path, extension, dtype, channels, tolerance):
    shape = (24, 40) if channels is None else (24, 40, channels)
    pixels = _smooth(shape, dtype)
    path = tmp_path / f"a{extension}"
    notes = write_picture(path, pixels.copy())
    assert notes == []
    read = read_picture(path.read_bytes())
    expected = pixels[:, :, 0] if channels == 1 else pixels
    grey = np.repeat(expected[:, :, None], 3, axis=2) if channels in (None, 1) else expected
    # WebP and others know no grey; what comes out then is three equal channels.
    expected = grey if read.pixels.ndim == 3 and channels in (None, 1) else expected
    assert read.pixels.dtype == dtype
    assert read.pixels.shape == expected.shape
    assert np.abs(read.pixels.astype(int) - expected.astype(int)).max() <= tolerance
    assert sorted(tmp_path.iterdir()) == [path]
    if extension == ".tif" and dtype == np.uint16 and channels == 2:  # a kind that Pillow does not know
        return
    # And other programs read the same.
    with Image.open(path) as image:
        assert image.size == (40, 24)
        if dtype == np.uint8:
            other = np.asarray(image.convert("RGB" if channels not in (2, 4) else "RGBA"))
            assert np.abs(other[:, :, 0].astype(int) - pixels.reshape(24, 40, -1)[:, :, 0]).max() <= tolerance


@pytest.mark.parametrize("extension", [".png", ".jpg", ".webp", ".tif"])
@pytest.mark.parametrize("channels", [None, 3])
def test_colour_profiles_are_kept(tmp_path, extension, channels):
    path = tmp_path / f"a{extension}"
    write_picture(path, _smooth((9, 9) if channels is None else (9, 9, 3), np.uint8), profile=SRGB)
    assert read_picture(path.read_bytes()).profile == SRGB
    with Image.open(path) as image:
        assert image.info["icc_profile"] == SRGB


@pytest.mark.parametrize("extension", [".png", ".jpg", ".webp"])
def test_exif_is_kept_without_the_orientation(tmp_path, extension):
    exif = exif_of(orientation=6, description="Grandmother")
    read = read_picture(encoded(_smooth((16, 24, 3), np.uint8), "JPEG", exif=exif))
    target = tmp_path / f"b{extension}"
    write_picture(target, read.pixels, exif=read.exif)
    with Image.open(target) as image:
        assert image.getexif().get(0x010E) == "Grandmother"
        assert image.getexif().get(0x0112, 1) == 1
    assert read_picture(target.read_bytes()).pixels.shape == (24, 16, 3)


def test_deep_grey_with_alpha_of_png():
    pixels = _smooth((5, 7, 2), np.uint16)
    np.testing.assert_array_equal(read_picture(deep_png(pixels, 4)).pixels, pixels)


def test_jpegs_keep_the_colours_resolution(tmp_path):
    write_picture(tmp_path / "a.jpg", _smooth((8, 8, 3), np.uint8))
    with Image.open(tmp_path / "a.jpg") as image:
        assert JpegImagePlugin.get_sampling(image) == 0


def test_the_tags_of_a_tiff_are_no_exif_data():
    assert read_picture(encoded(_smooth((16, 24, 3), np.uint8), "TIFF", tiffinfo={0x010E: "Grandmother"})).exif is None


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("form", ["JPEG", "PNG", "TIFF", "WEBP"])
def test_every_orientation_is_turned_upright(orientation, form):
    content = encoded(_smooth((16, 24, 3), np.uint8), form, exif=exif_of(orientation=orientation))
    with Image.open(io.BytesIO(content)) as image:
        expected = np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
    np.testing.assert_array_equal(read_picture(content).pixels, expected)


def test_deep_tiffs_are_turned_too():
    pixels = _smooth((16, 24, 3), np.uint16)
    turned = tiff(pixels, photometric="rgb", extratags=[(0x0112, "H", 1, 6, True)])
    np.testing.assert_array_equal(read_picture(turned).pixels, np.rot90(pixels, 3))
    # In a compression that OpenCV reads, which turns images itself.
    turned = encoded(pixels[:, :, 1].copy(), "TIFF", compression="tiff_lzw", tiffinfo={0x0112: 6})
    np.testing.assert_array_equal(read_picture(turned).pixels, np.rot90(pixels[:, :, 1], 3))


def test_palettes_and_bits():
    rng = np.random.default_rng(0)
    palette = Image.fromarray(rng.integers(0, 4, (12, 14), dtype=np.uint8), "P")
    palette.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255, 9, 9, 9])
    for form in ("PNG", "BMP", "GIF", "TIFF"):
        np.testing.assert_array_equal(
            read_picture(encoded(palette, form)).pixels, np.asarray(palette.convert("RGB")), err_msg=form
        )
    transparent = read_picture(encoded(palette, "PNG", transparency=2)).pixels
    assert transparent.shape == (12, 14, 4)
    np.testing.assert_array_equal(transparent[:, :, 3], np.where(np.asarray(palette) == 2, 0, 255))
    bits = Image.fromarray(rng.integers(0, 2, (12, 14)).astype(bool))
    for form in ("PNG", "BMP", "TIFF"):
        np.testing.assert_array_equal(read_picture(encoded(bits, form)).pixels, np.asarray(bits) * np.uint8(255))


@pytest.mark.parametrize("form", ["JPEG", "TIFF"])
def test_cmyk_becomes_srgb_and_says_so(form):
    inks = np.zeros((8, 8, 4), np.uint8)
    inks[:, :4] = (255, 0, 0, 0)
    read = read_picture(encoded(Image.fromarray(inks, "CMYK"), form))
    assert read.pixels.shape == (8, 8, 3)
    assert read.pixels[4, 1, 0] < 20
    assert read.pixels[4, 1, 1] > 235
    assert read.pixels[4, 6].min() > 235
    assert read.notes == ["CMYK became sRGB"]


def test_the_first_frame_and_page_alone():
    frames = [Image.new("RGB", (8, 6), colour) for colour in ("red", "blue", "lime")]
    for form in ("GIF", "TIFF", "WEBP"):
        options = {"lossless": True} if form == "WEBP" else {}
        read = read_picture(encoded(frames[0], form, save_all=True, append_images=frames[1:], **options))
        assert read.notes == ["only the first of 3 frames or pages"]
        assert read.pixels[0, 0].tolist()[:3] == [255, 0, 0]


def test_floats_and_deep_integers_of_tiff(tmp_path):
    floats = np.linspace(0, 1, 64, dtype=np.float32).reshape(8, 8)
    np.testing.assert_array_equal(read_picture(tiff(floats)).pixels, floats)
    colours = np.stack([floats, floats**2, 1 - floats], axis=2)
    np.testing.assert_array_equal(read_picture(tiff(colours, photometric="rgb")).pixels, colours)
    assert write_picture(tmp_path / "b.png", colours) == []
    np.testing.assert_array_equal(cv2.imread(str(tmp_path / "b.png"), -1)[:, :, ::-1], np.rint(colours * 65535))


def test_other_tiffs_with_many_bits(tmp_path):
    path = tmp_path / "a.tif"
    colours = _smooth((8, 10, 3), np.uint16)
    planes = tiff(colours.transpose(2, 0, 1), photometric="rgb", planarconfig="separate")
    np.testing.assert_array_equal(read_picture(planes).pixels, colours)
    inverted = tiff(colours[:, :, 0], photometric="miniswhite")
    np.testing.assert_array_equal(read_picture(inverted).pixels, 65535 - colours[:, :, 0])
    assert cv2.imwrite(str(path), colours[:, :, ::-1], [cv2.IMWRITE_TIFF_COMPRESSION, 5])  # LZW
    np.testing.assert_array_equal(read_picture(path.read_bytes()).pixels, colours)
    assert read_picture(tiff(colours, photometric="rgb", iccprofile=SRGB)).profile == SRGB
    assert read_picture(tiff(colours[:, :, 0].astype(np.int32) - 9)).pixels.dtype == np.uint16
    for pixels, options, message in (
        (colours.astype(np.int32) - 60000, {"photometric": "rgb"}, "expected values from 0 to 65535, got -"),
        (
            np.zeros((8, 8, 4), np.uint16),
            {"photometric": "separated"},
            "in SEPARATED, 16 bits, 4 channels: save it as RGB",
        ),
    ):
        with pytest.raises(ImageError, match=message):
            read_picture(tiff(pixels, **options))


@pytest.mark.parametrize(
    ("extension", "pixels", "note"),
    [
        (".jpg", _smooth((8, 8, 3), np.uint16), "8 bits"),
        (".webp", _smooth((8, 8), np.uint16), "8 bits"),
        (".bmp", _smooth((8, 8, 3), np.uint16), "8 bits"),
    ],
)
def test_what_a_format_does_not_hold_is_said(tmp_path, extension, pixels, note):
    notes = write_picture(tmp_path / f"a{extension}", pixels.copy())
    assert note in " ".join(notes)
    read = read_picture((tmp_path / f"a{extension}").read_bytes()).pixels
    expected = pixels / 257
    expected = np.repeat(expected[:, :, None], 3, axis=2) if read.ndim > expected.ndim else expected
    assert np.abs(read - expected).max() < 5


def test_a_profile_that_a_format_cannot_hold_is_said(tmp_path):
    assert ".bmp holds no colour profile" in write_picture(tmp_path / "a.bmp", _smooth((8, 8, 3), np.uint8), SRGB)


def test_a_result_that_does_not_fit_is_refused_before_it_is_computed():
    for extension, side in ((".webp", 16383), (".jpg", 65500), (".bmp", 32767)):
        check_fit(extension, side, 10, alpha=False)
        with pytest.raises(ImageError, match=rf"larger than {extension} holds \({side} a side\): take --ext png"):
            check_fit(extension, 10, side + 1, alpha=False)
    for extension in (".jpg", ".bmp"):
        with pytest.raises(ImageError, match="its alpha channel would be lost"):
            check_fit(extension, 1, 1, alpha=True)
    assert set(FORMATS) == {".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp"}


def test_nothing_is_replaced_unasked_and_nothing_is_left_half_written(tmp_path, monkeypatch):
    path = tmp_path / "a.png"
    path.write_bytes(b"mine")
    pixels = _smooth((8, 8, 3), np.uint8)
    with pytest.raises(FileExistsError):
        write_picture(path, pixels.copy())
    assert path.read_bytes() == b"mine"
    monkeypatch.setattr(Image.Image, "save", lambda self, file, *_, **__: (file.write(b"half"), 1 / 0))
    with pytest.raises(ZeroDivisionError):
        write_picture(tmp_path / "b.jpg", pixels)
    assert [file.name for file in tmp_path.iterdir()] == ["a.png"]
    monkeypatch.undo()
    write_picture(path, pixels.copy(), overwrite=True)
    np.testing.assert_array_equal(read_picture(path.read_bytes()).pixels, pixels)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "the file is empty"),
        (b"To whom it may concern", "not an image in a known format"),
        (b"\x89PNG\r\n\x1a\n", "not an image|damaged or cut short"),
    ],
)
def test_no_pictures(content, message):
    with pytest.raises(ImageError, match=message):
        read_picture(content)


_NOISE = np.random.default_rng(0).integers(0, 65535, (60, 60, 3), dtype=np.uint16)


@pytest.mark.parametrize(
    "content",
    [
        *(encoded((_NOISE >> 8).astype(np.uint8), form) for form in ("PNG", "JPEG", "WEBP", "TIFF", "BMP", "GIF")),
        deep_png(_NOISE, 2),
        tiff(_NOISE, photometric="rgb", compression="zlib"),
    ],
    ids=["PNG", "JPEG", "WEBP", "TIFF", "BMP", "GIF", "deep PNG", "deep TIFF"],
)
@pytest.mark.parametrize("share", [0.1, 0.3, 0.5, 0.9])
def test_images_that_are_cut_short_are_refused(content, share):
    with pytest.raises(ImageError):
        read_picture(content[: int(share * len(content))])
