"""What is read off LR images, and what of them and of references is kept."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import skimage.data
import torch
from PIL import Image

from lightbsr_arch.errors import ImageError, OptionError
from lightbsr_model.adaptation import large_images
from lightbsr_model.adaptation.degraders import degrade
from lightbsr_model.adaptation.references import References, refuse_same
from lightbsr_model.adaptation.targets import CROP, TargetImages, psnr_y
from lightbsr_model.degradation.jpeg import encode_and_decode_jpeg
from lightbsr_model.losses.wavelet import HighFrequencyWeightedL1Loss, detail_map, haar

from support.adapting import TrueDegrader, low, photo, sharp_images, write


def test_haar_equals_recorded_data(golden):
    data = golden("lway")
    low_band, detail = haar(data["dwt_lq"])
    for found, name in ((low_band, "ll"), (detail[:, 0], "hl"), (detail[:, 1], "lh"), (detail[:, 2], "hh")):
        torch.testing.assert_close(found, data[f"dwt_{name}"], rtol=1e-5, atol=1e-6)


def test_a_detail_map_is_of_each_image_from_0_to_1():
    images = torch.zeros(2, 3, 5, 6)
    images[0, :, 2, 2], images[0, :, 0, 5] = 1.0, 0.5
    weights = detail_map(images)
    assert weights.shape == (2, 1, 5, 6)
    assert (weights[0, 0, 2:4, 2:4] == 1).all()
    assert torch.allclose(weights[0, 0, :2, 4:], torch.tensor(0.5))
    assert weights[0].sum() == pytest.approx(4 + 2)
    assert weights[1].sum() == 0
    # An odd side counts as if its last row were there twice: no difference to it.
    images[:, :, 4] = 0.7
    assert (detail_map(images)[0, 0, 4] == 0).all()


def test_detail_weighs_the_loss():
    target = torch.zeros(1, 3, 4, 4)
    target[0, :, 0, 0] = 1.0
    restored = target + torch.tensor([[0.1, 0.1, 0.3, 0.3]] * 4)
    loss = HighFrequencyWeightedL1Loss(2.0)
    assert loss(restored, target).item() == pytest.approx(2 * 0.1 * 4 / 16)
    assert loss(restored, target, torch.ones(1, 1, 4, 4)).item() == pytest.approx(2 * 0.2)


@pytest.mark.parametrize("level", [5.0, 20.0])
@pytest.mark.parametrize("name", ["coffee", "chelsea"])
def test_noise_is_told_from_detail(name, level):
    pixels = photo(name, 288, 10)
    noisy, clean = (TargetImages([("x", low(pixels, 0.6, noise))]) for noise in (level, 0.0))
    assert noisy.noise[0] == pytest.approx(level, rel=0.2)
    assert clean.noise[0] < 3


def test_noise_that_the_range_cuts_off_counts_where_it_does_not():
    generator = np.random.default_rng(0)
    half = np.concatenate([np.full((64, 32, 3), 255.0), np.full((64, 32, 3), 120.0)], axis=1)
    noisy = np.clip(np.rint(half + 12 * generator.standard_normal(half.shape)), 0, 255).astype(np.uint8)
    assert TargetImages([("x", noisy)]).noise[0] == pytest.approx(12, rel=0.15)


@pytest.mark.parametrize("level", [4.8, 5.2, 5.6, 6.0])
def test_noise_is_told_to_less_than_the_steps_of_8_bits(level):
    """Differences of 8 bits are multiples of 0.5, whose median would be a multiple of 0.74."""
    noise = level * np.random.default_rng(0).standard_normal((256, 256, 3))
    flat = np.rint(120 + noise).astype(np.uint8)
    assert TargetImages([("x", flat)]).noise[0] == pytest.approx(level, rel=0.025)


def test_large_images_are_kept_in_parts():
    rows = np.arange(1000)[:, None, None] % 256
    large = np.broadcast_to(rows, (1000, 2100, 3)).astype(np.uint8)
    small = photo(size=60)
    targets = TargetImages([("large", large), ("small", small)], seed=1, count=2)
    assert {part.image for part in targets.parts} == {0, 1}
    assert len(targets.parts_of(0)) == 16
    assert all(part.pixels.shape == (3, 192, 192) for part in targets.parts_of(0))
    (whole,) = targets.parts_of(1)
    assert torch.equal(whole.pixels.permute(1, 2, 0), torch.from_numpy(small))
    again = TargetImages([("large", large), ("small", small)], seed=1, count=2)
    assert all(torch.equal(a.pixels, b.pixels) for a, b in zip(targets.parts, again.parts, strict=True))
    crops = targets.crops(64, torch.Generator().manual_seed(0))
    assert crops.lq.shape == (64, 3, CROP, CROP)
    # By their size: the small image is 1 / 160 of all.
    assert (crops.images == 0).sum() > 55
    turned = torch.stack([crop[0].diff(dim=0).abs().sum() > crop[0].diff(dim=1).abs().sum() for crop in crops.lq])
    assert 0.2 < turned.float().mean() < 0.8


def test_references_are_split_by_image(tmp_path):
    for level in range(10):
        write(tmp_path / f"{level}.png", np.full((200, 220, 3), 20 * level, np.uint8))
    write(tmp_path / "small.png", np.zeros((191, 300, 3), np.uint8))
    references = References(tmp_path, 4, seed=0)
    assert references.counts == (8, 2)
    assert len(references.too_small) == 1
    held = set(references.held_out.unique().tolist())
    assert references.held_out.shape == (3, 3, 192, 192)
    learnt = set((255 * references.crops(60, torch.Generator().manual_seed(0))).round().unique().int().tolist())
    assert len(held) == 2
    # One half chooses the weights, the other judges the chosen ones.
    halves = [set((255 * half).round().unique().int().tolist()) for half in references.held_out_halves()]
    assert sorted(map(len, halves)) == [1, 1]
    assert set.union(*halves) == held
    assert learnt == {20 * level for level in range(10)} - held
    assert not torch.equal(References(tmp_path, 4, seed=3).held_out, references.held_out)


def test_references_must_be_two_and_others(tmp_path):
    one = write(tmp_path / "sharp/one.png", photo())
    with pytest.raises(ImageError, match=r"expected at least 2 images of 192x192 pixels or more.*got 1\."):
        References(tmp_path / "sharp", 4)
    sharp_images(tmp_path)
    references, other = References(tmp_path / "sharp", 4), write(tmp_path / "other.png", low(photo()))
    # Whatever the file: compressed in another way, in another format, or as pixels alone.
    Image.fromarray(photo()).save(tmp_path / "same.tiff")
    Image.fromarray(photo()).save(tmp_path / "same.webp", lossless=True)
    for images in ([one], [other, tmp_path / "same.tiff"], [tmp_path / "same.webp"]):
        with pytest.raises(OptionError, match=r"one\.png is one of the images to adapt to, (one|same)\."):
            refuse_same(TargetImages.read(images), references)
    pixels = torch.from_numpy(photo().transpose(2, 0, 1).copy())[None].float() / 255
    with pytest.raises(OptionError, match=r"one\.png is one of the images to adapt to, image 0"):
        refuse_same(TargetImages.of(pixels), references)
    refuse_same(TargetImages.read([other]), references)
    bundled = References("bundled", 4)
    astronaut = torch.from_numpy(skimage.data.astronaut().transpose(2, 0, 1).copy())[None].float() / 255
    assert TargetImages.of(astronaut).contents[0] in bundled.names_by_content
    refuse_same(TargetImages.of(astronaut), bundled)


def test_images_that_are_too_small_or_none_are_named():
    with pytest.raises(ImageError, match=r"tiny: 47x60 pixels; expected at least 48x48"):
        TargetImages([("tiny", np.zeros((60, 47, 3), np.uint8))])
    with pytest.raises(ImageError, match="one image at least"):
        TargetImages([])


def test_degrading_adds_the_noise_of_the_image_that_is_meant():
    grey = np.full((60, 60, 3), 128, np.uint8)
    noise = np.random.default_rng(0).standard_normal(grey.shape)
    noisy = np.rint(grey + 10 * noise).astype(np.uint8)
    targets = TargetImages([("clean", grey), ("noisy", noisy)], count=2)
    hr = torch.full((2, 3, 256, 256), 0.6)
    lq = degrade(TrueDegrader(2.0), targets, hr, torch.tensor([0, 1]), torch.Generator().manual_seed(0))
    assert lq.shape == (2, 3, 64, 64)
    assert (lq[0] - 0.6).abs().max() < 1e-6
    assert (255 * lq[1].std()).item() == pytest.approx(targets.noise[1], rel=0.05)


@pytest.mark.parametrize("quality", [1, 40, 75, 90, 100])
def test_the_quality_of_a_jpeg_is_read_off_its_file(tmp_path, quality):
    image = Image.fromarray(low(photo()))
    image.save(tmp_path / "compressed.jpg", quality=quality)
    image.save(tmp_path / "lossless.png")
    image.save(tmp_path / "other.webp", quality=quality)
    targets = TargetImages.read([tmp_path / name for name in ("lossless.png", "compressed.jpg", "other.webp")])
    assert targets.jpeg == [0, quality, 0]


def test_degrading_compresses_as_the_image_that_is_meant(tmp_path):
    pixels = low(photo(size=240), 1.0)
    Image.fromarray(pixels).save(tmp_path / "one.jpg", quality=40)
    lossless, compressed = write(tmp_path / "one.png", pixels), tmp_path / "one.jpg"
    targets = TargetImages.read([lossless, compressed])
    targets.noise = [0.0, 0.0]
    hr = torch.from_numpy(photo("coffee", 256, 40).transpose(2, 0, 1).copy())[None].float().expand(2, -1, -1, -1) / 255
    lq = degrade(TrueDegrader(1.0), targets, hr, torch.tensor([0, 1]), torch.Generator())
    expected = encode_and_decode_jpeg((255 * lq[0]).round().byte().permute(1, 2, 0).numpy(), 40)
    error = (255 * lq.permute(0, 2, 3, 1) - torch.from_numpy(expected)).square().mean(dim=(1, 2, 3))
    # DiffJPEG is not libjpeg: see its tests.
    assert error[1] < 0.25 * error[0]


def test_psnr_is_basicsrs():
    from basicsr.metrics import calculate_psnr

    one, other = photo(size=64), photo(size=64, at=103)
    pair = [torch.from_numpy(image.transpose(2, 0, 1).copy())[None].float() / 255 for image in (one, other)]
    expected = calculate_psnr(one[:, :, ::-1], other[:, :, ::-1], 4, test_y_channel=True)
    assert psnr_y(*pair, 4).item() == pytest.approx(expected, abs=1e-3)


@pytest.mark.parametrize(("name", "depth"), [("x.png", 8), ("x.jpg", 8), ("x.png", 16), ("grey.png", 8)])
def test_a_large_image_is_cut_as_a_small_one_is(tmp_path, monkeypatch, name, depth):
    pixels = photo(size=400, at=0)
    pixels = pixels[:, :, :1].repeat(3, axis=2) if name.startswith("grey") else pixels
    stored = pixels[:, :, 0] if name.startswith("grey") else pixels[:, :, ::-1]
    if depth == 16:
        cv2.imwrite(str(tmp_path / name), stored.astype(np.uint16) * 257)
    else:
        cv2.imwrite(str(tmp_path / name), stored)
    if name.endswith("jpg"):  # as phones write them: lying on its side
        with Image.open(tmp_path / name) as image:
            exif = image.getexif()
            exif[0x0112] = 6
            image.save(tmp_path / name, exif=exif, quality="keep")
    whole = TargetImages.read([tmp_path / name])
    monkeypatch.setattr(large_images, "_LARGE", 100)
    cut = TargetImages.read([tmp_path / name])
    assert isinstance(large_images.open_pixels(tmp_path / name), large_images.LargeImage)
    assert len(cut.parts) == len(whole.parts) > 1
    assert all(torch.equal(a.pixels, b.pixels) for a, b in zip(whole.parts, cut.parts, strict=True))


def test_a_damaged_large_image_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(large_images, "_LARGE", 100)
    path = write(tmp_path / "cut.png", photo())
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(ImageError, match=r"cut\.png: "):
        TargetImages.read([path])
