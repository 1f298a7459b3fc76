"""Alpha, profiles, resolution and compression: what is read is what the file says, and is written as it was."""

from __future__ import annotations

import io
import struct

import numpy as np
import pytest
from PIL import Image, ImageCms
from tifffile import TiffFile

from lightbsr_arch import Upscaler
from lightbsr_arch.errors import ImageError
from lightbsr_arch.inference.image_files import read_picture
from lightbsr_arch.inference.image_writing import write_picture

from support.encoded_images import SRGB, deep_png, encoded, exif_of, tiff
from support.helpers import tiny_student

GREY_PROFILE = SRGB[:16] + b"GRAY" + SRGB[20:]
LAB_PROFILE = SRGB[:16] + b"Lab " + SRGB[20:]
rng = np.random.default_rng(0)
RGB = rng.integers(0, 256, (9, 14, 3), dtype=np.uint8)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("extension", [".png", ".tif"])
def test_grey_with_alpha_stays_that_and_equals_both_enlarged_apart(tmp_path, dtype, extension):
    pixels = rng.integers(0, np.iinfo(dtype).max + 1, (10, 12, 2), dtype=dtype)
    write_picture(tmp_path / f"a{extension}", pixels.copy())
    read = read_picture((tmp_path / f"a{extension}").read_bytes())
    np.testing.assert_array_equal(read.pixels, pixels)
    upscaler = Upscaler(tiny_student(), device="cpu")
    write_picture(tmp_path / f"b{extension}", upscaler.upscale(read.pixels))
    result = read_picture((tmp_path / f"b{extension}").read_bytes()).pixels
    assert (result.shape, result.dtype) == ((40, 48, 2), dtype)
    np.testing.assert_array_equal(result[:, :, 0], upscaler.upscale(np.ascontiguousarray(pixels[:, :, 0])))
    with_colour = np.concatenate([pixels[:, :, [0, 0, 0]], pixels[:, :, 1:]], axis=2)
    np.testing.assert_array_equal(result[:, :, 1], upscaler.upscale(with_colour)[:, :, 3])
    if extension == ".png":  # as another program reads it
        content = (tmp_path / "b.png").read_bytes()
        assert (content[24], content[25]) == (8 * pixels.itemsize, 4)
        with Image.open(tmp_path / "b.png") as image:
            eight = np.asarray(image.convert("RGBA"))[:, :, [0, 3]]
        assert np.abs(eight.astype(int) - (result >> (8 * pixels.itemsize - 8)).astype(int)).max() <= 1


def test_a_grey_alpha_png_of_more_rows_than_are_filtered_at_a_time(tmp_path):
    pixels = rng.integers(0, 65536, (600, 3, 2), dtype=np.uint16)
    write_picture(tmp_path / "a.png", pixels.copy(), profile=GREY_PROFILE, resolution=(300, 150))
    read = read_picture((tmp_path / "a.png").read_bytes())
    np.testing.assert_array_equal(read.pixels, pixels)
    assert read.profile == GREY_PROFILE
    assert read.resolution == pytest.approx((300, 150), abs=0.02)


def test_a_transparent_value_of_a_deep_png_is_alpha():
    grey = rng.integers(0, 65536, (5, 7), dtype=np.uint16)
    read = read_picture(deep_png(grey, 0, (b"tRNS", struct.pack(">H", int(grey[2, 3])))))
    np.testing.assert_array_equal(read.pixels[:, :, 0], grey)
    np.testing.assert_array_equal(read.pixels[:, :, 1], np.where(grey == grey[2, 3], 0, 65535))
    colour = rng.integers(0, 65536, (5, 7, 3), dtype=np.uint16)
    read = read_picture(deep_png(colour, 2, (b"tRNS", struct.pack(">3H", *map(int, colour[1, 1])))))
    np.testing.assert_array_equal(read.pixels[:, :, :3], colour)
    assert (read.pixels[:, :, 3] == 0).sum() == 1


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("channels", [2, 4])
def test_premultiplied_alpha_becomes_straight(dtype, channels):
    largest = 1.0 if dtype == np.float32 else np.iinfo(dtype).max
    straight = rng.uniform(0.2, 0.9, (9, 14, channels))
    straight[:, :, -1:] = np.linspace(0.3, 1, 9 * 14).reshape(9, 14, 1)
    straight[0, 0] = 0  # nothing there
    premultiplied = straight.copy()
    premultiplied[:, :, :-1] *= straight[:, :, -1:]
    stored = (premultiplied * largest).astype(dtype) if dtype == np.float32 else np.rint(premultiplied * largest)
    options = {"photometric": "rgb" if channels == 4 else "minisblack", "planarconfig": "contig"}
    read = read_picture(tiff(stored.astype(dtype), extrasamples=["assocalpha"], **options))
    assert read.notes == ["its premultiplied alpha became straight alpha"]
    # Rounding in the file counts as many times more as alpha is smaller.
    tolerance = 1e-6 if dtype == np.float32 else 4 / largest
    np.testing.assert_allclose(read.pixels / largest, straight, atol=tolerance)
    assert not read.pixels[0, 0].any()


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [2, 4])
def test_an_extra_channel_that_is_not_marked_as_alpha_is_none(dtype, channels):
    pixels = rng.integers(0, 255, (9, 14, channels), dtype=dtype)
    options = {"photometric": "rgb" if channels == 4 else "minisblack", "planarconfig": "contig"}
    read = read_picture(tiff(pixels, extrasamples=["unspecified"], **options))
    assert read.notes == ["1 extra channel, not marked as alpha, left out"]
    np.testing.assert_array_equal(read.pixels, pixels[:, :, :3] if channels == 4 else pixels[:, :, 0])
    assert read_picture(tiff(pixels, extrasamples=["unassalpha"], **options)).notes == []


def test_profiles_are_kept_where_they_describe_the_pixels(tmp_path):
    assert read_picture(encoded(RGB[:, :, 0].copy(), "PNG", icc_profile=GREY_PROFILE)).profile == GREY_PROFILE
    for profile, note in (
        (GREY_PROFILE, "its GRAY colour profile was left out: it does not describe RGB pixels"),
        (LAB_PROFILE, "its Lab colour profile was left out: it does not describe RGB pixels"),
        (b"no profile", "its damaged colour profile was left out"),
    ):
        read = read_picture(encoded(RGB, "PNG", icc_profile=profile))
        assert (read.profile, read.notes) == (None, [note])
    pixels = RGB[:, :, 0].copy()
    notes = write_picture(tmp_path / "a.webp", pixels, GREY_PROFILE)
    assert notes == [".webp holds no grey: its grey colour profile was left out"]
    assert "icc_profile" not in Image.open(tmp_path / "a.webp").info
    assert write_picture(tmp_path / "a.jpg", pixels, GREY_PROFILE) == []
    assert Image.open(tmp_path / "a.jpg").info["icc_profile"] == GREY_PROFILE


def test_lab_becomes_srgb_and_says_so():
    lab = ImageCms.profileToProfile(
        Image.new("RGB", (8, 6), (200, 60, 30)),
        ImageCms.createProfile("sRGB"),
        ImageCms.createProfile("LAB"),
        outputMode="LAB",
    )
    read = read_picture(encoded(lab, "TIFF", icc_profile=LAB_PROFILE))
    assert read.notes == ["LAB became sRGB"]
    assert read.profile is None
    np.testing.assert_allclose(read.pixels[3, 3], (200, 60, 30), atol=3)


@pytest.mark.parametrize("kind", [".png", ".jpg", ".tif", ".bmp"])
def test_resolution_is_kept(tmp_path, kind):
    write_picture(tmp_path / f"a{kind}", RGB.copy(), resolution=(300, 150))
    read = read_picture((tmp_path / f"a{kind}").read_bytes())
    assert read.resolution == pytest.approx((300, 150), abs=0.02)
    with Image.open(tmp_path / f"a{kind}") as image:
        assert tuple(map(float, image.info["dpi"])) == pytest.approx((300, 150), abs=0.02)
    if kind == ".bmp":  # whose writer says 96 where nothing is said
        return
    write_picture(tmp_path / f"b{kind}", RGB.copy())
    assert read_picture((tmp_path / f"b{kind}").read_bytes()).resolution is None


def test_resolution_of_deep_tiffs_of_turned_images_and_where_there_is_no_room(tmp_path):
    deep = RGB.astype(np.uint16) * 257
    read = read_picture(tiff(deep, photometric="rgb", resolution=(100, 50), resolutionunit="centimeter"))
    assert read.resolution == pytest.approx((254, 127))
    assert read_picture(tiff(deep, photometric="rgb", resolution=(100, 50), resolutionunit="none")).resolution is None
    read = read_picture(encoded(RGB, "JPEG", dpi=(300, 150), exif=exif_of(orientation=6)))
    assert read.resolution == (150, 300)
    notes = write_picture(tmp_path / "a.webp", RGB.copy(), resolution=(300, 150))
    assert notes == [".webp does not hold its resolution of 300 dpi"]
    assert "does not hold" in write_picture(tmp_path / "a.jpg", RGB.copy(), resolution=(1e5, 1e5))[0]


def test_lossless_webp_is_known_and_written(tmp_path):
    image = Image.fromarray(np.dstack([RGB, rng.integers(0, 2, (9, 14), dtype=np.uint8) * 255]))
    frames = {"save_all": True, "append_images": [Image.new("RGBA", image.size)]}
    for more in ({}, {"exif": exif_of(description="x"), "icc_profile": SRGB}, frames):
        assert read_picture(encoded(image, "WEBP", lossless=True, **more)).lossless
        assert not read_picture(encoded(image, "WEBP", **more)).lossless
    assert not read_picture(encoded(image, "PNG")).lossless
    write_picture(tmp_path / "a.webp", np.asarray(image).copy(), lossless=True)
    read = read_picture((tmp_path / "a.webp").read_bytes())
    assert read.lossless
    np.testing.assert_array_equal(read.pixels, np.asarray(image))


def test_exif_that_a_format_does_not_hold_is_left_out_and_said(tmp_path):
    data = exif_of(description="x" * 70_000).tobytes()
    notes = write_picture(tmp_path / "a.jpg", RGB.copy(), exif=data)
    assert notes == [f".jpg holds no more than 65533 bytes of EXIF data: its {len(data)} bytes were left out"]
    assert not Image.open(tmp_path / "a.jpg").getexif()
    assert write_picture(tmp_path / "a.png", RGB.copy(), exif=data) == []
    assert Image.open(tmp_path / "a.png").getexif()[0x010E] == "x" * 70_000
    assert "holds no EXIF data" in write_picture(tmp_path / "a.tif", RGB.copy(), exif=data)[0]


def changed(content, tag, value):
    """A TIFF with another value of a tag that has a single short."""
    with TiffFile(io.BytesIO(content)) as file:
        offset = file.pages.first.tags[tag].valueoffset
    return content[:offset] + struct.pack("<H", value) + content[offset + 2 :]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (tiff(np.ones((4, 5), np.complex64)), "complex64 values: expected integers or floats"),
        (changed(tiff(RGB[:, :, 0].astype(np.uint16)), 258, 12), "12 bits.*pip install imagecodecs"),
        (changed(tiff(RGB[:, :, 0].astype(np.uint16)), 262, 999), "16 bits, 1 channels: save it as RGB"),
        (changed(tiff(RGB[:, :, 0].copy()), 262, 999), "kind that is not read .*: save it as RGB"),
        (changed(tiff(RGB[:, :, 0].copy()), 277, 0), "damaged"),
        (changed(tiff(RGB, photometric="rgb"), 277, 2), "damaged|not read"),
    ],
    ids=["complex", "12 bits", "unknown colours, deep", "unknown colours", "no channels", "too few channels"],
)
def test_tiffs_that_are_refused_by_name(content, message):
    with pytest.raises(ImageError, match=message):
        read_picture(content)


def test_a_program_is_no_image():
    eps = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n"
    with pytest.raises(ImageError, match="not an image in a known format"):
        read_picture(eps)
