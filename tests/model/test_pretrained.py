"""The model in the box does what its card says."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch
from basicsr.metrics import calculate_psnr, calculate_ssim
from PIL import Image

from lightbsr_arch import Upscaler
from lightbsr_arch.methods.bicubic import BicubicUpsampler
from lightbsr_arch.weights.model_files import DEFAULT_MODEL, bundled_model, load_model
from lightbsr_model.data.blind_degradation_benchmark_dataset import BlindDegradationBenchmarkDataset
from lightbsr_model.data.photographs import WALLPAPERS
from lightbsr_model.degradation import get_degradation
from lightbsr_model.degradation.base import as_batch, in_float32

from support.helpers import ROOT

SIGMAS = ("1.2", "2.4", "3.6")
CARD = (ROOT / "lightbsr_arch/pretrained/lightbsr_small_x4.md").read_text(encoding="utf-8")


def _pixels(image):
    return (image.clamp(0, 1).permute(1, 2, 0) * 255).round().byte().numpy()


def _figures(data, preset, metrics=(calculate_psnr, calculate_ssim)):
    """Mean (PSNR-Y, SSIM-Y) of bicubic interpolation and of the model."""
    upscaler, bicubic = Upscaler.from_checkpoint(DEFAULT_MODEL, device="cpu"), BicubicUpsampler(4)
    options = {"name": "x", "phase": "test", "scale": 4, "preset": preset, **data}
    figures = []
    for sample in BlindDegradationBenchmarkDataset(options):
        gt, lq = _pixels(sample["gt"]), _pixels(sample["lq"])
        outputs = (_pixels(bicubic(sample["lq"][None])[0]), upscaler.upscale(lq))
        figures.append([
            [float(metric(sr[:, :, ::-1], gt[:, :, ::-1], 4, test_y_channel=True)) for metric in metrics] for sr in outputs
        ])  # fmt: skip
    return np.mean(figures, axis=0)


@pytest.mark.parametrize("sigma", SIGMAS)
def test_it_beats_bicubic_on_pictures_that_it_never_saw(sigma):
    data = {"io_backend": {"type": "bundled"}, "pictures": ["coffee", "chelsea"]}
    bicubic, ours = _figures(data, f"iso_{sigma}")
    assert ours[0] > bicubic[0] + 0.5
    assert ours[1] > bicubic[1] + 0.01
    if sigma == "2.4":  # and the card says how well
        told = re.search(r"coffee and chelsea, ([\d.]+) dB / ([\d.]+) at sigma 2\.4", CARD)
        assert told is not None
        assert [float(told[1]), float(told[2])] == pytest.approx(ours, abs=0.02)


@pytest.mark.parametrize("name", ["Set5", "Set14"])
@pytest.mark.parametrize("sigma", SIGMAS)
def test_it_beats_bicubic_on_the_benchmarks(name, sigma):
    folder = ROOT.parent / "shared/images" / name
    if not folder.is_dir():
        pytest.skip("needs Set5 and Set14, which are not ours to ship")
    bicubic, ours = _figures(
        {"dataroot_gt": str(folder), "io_backend": {"type": "disk"}}, f"iso_{sigma}", [calculate_psnr]
    )
    told = re.search(rf"\| {name} \| {re.escape(sigma)} \| ([\d.]+) / [\d.]+ \| ([\d.]+) / [\d.]+ \|", CARD)
    assert told is not None
    assert [bicubic[0], ours[0]] == pytest.approx([float(told[1]), float(told[2])], abs=0.02)
    assert ours[0] > bicubic[0]


def test_it_is_small_and_says_what_it_is():
    path = bundled_model(DEFAULT_MODEL)
    assert path.stat().st_size < 4 << 20
    model = load_model(DEFAULT_MODEL)
    assert model.net.scale == 4
    card = model.card
    assert (card.setting, card.licence) == ("setting1_x4", "Apache-2.0")
    assert card.training["iterations"] == 12000
    assert card.training["data"] == "wallpapers"
    for photo in WALLPAPERS:
        assert photo.author in CARD
        assert photo.licence in CARD
    assert f"{sum(value.numel() for value in model.net.parameters()) / 1e6:.2f} M" in CARD
    # It says what it sees, with its error in pixels.
    sigma = card.probe.readings["sigma"]
    assert f"its R^2 is {sigma.r2:.2f}" in CARD
    assert f"an error of {sigma.error:.1g} pixels" in CARD
    log = path.with_suffix(".log").read_text(encoding="utf-8")
    assert "iter:  12,000" in log
    assert "/home" not in log
    assert "/tmp" not in log


@pytest.fixture(scope="module")
def restored_whole():
    import skimage.data

    pixels = np.ascontiguousarray(skimage.data.coffee()[50:220, 100:290])
    return pixels, Upscaler.from_checkpoint(DEFAULT_MODEL, device="cpu", tile="off").upscale(pixels).astype(float)


@pytest.mark.parametrize("tile", [96, 128])
def test_tiles_show_no_seam(restored_whole, tile):
    pixels, whole = restored_whole
    tiled = Upscaler.from_checkpoint(DEFAULT_MODEL, device="cpu", tile=tile).upscale(pixels).astype(float)
    assert 10 * np.log10(255**2 / np.mean((tiled - whole) ** 2)) > 45
    # A seam would be a step in the difference that is larger where tiles meet than anywhere else.
    difference = tiled - whole
    steps = np.abs(np.diff(difference, axis=1)).mean(axis=(0, 2))
    assert steps.max() < 1


def _sharpness(image):
    """Root mean square of the second differences of the grey values."""
    grey = image.astype(float).mean(axis=2)
    centre = grey[1:-1, 1:-1]
    return np.sqrt(np.mean((4 * centre - grey[:-2, 1:-1] - grey[2:, 1:-1] - grey[1:-1, :-2] - grey[1:-1, 2:]) ** 2))


@pytest.fixture(scope="module")
def blurred():
    """A part of coffee, blurred by sigma 3.6, at LR size."""
    import skimage.data

    gt = torch.from_numpy(np.ascontiguousarray(skimage.data.coffee()[80:272, 200:392])).permute(2, 0, 1)
    degradation = get_degradation("iso_3.6")
    lq = degradation.apply(gt[None], as_batch(in_float32(degradation.draw())), 4)
    return _pixels(lq[0])


def test_strength_is_sharpness(blurred):
    strengths = (0, 0.25, 0.5, 0.75, 1)
    results = [Upscaler.from_checkpoint(DEFAULT_MODEL, "cpu", strength=one).upscale(blurred) for one in strengths]
    sharpness = [_sharpness(image) for image in results]
    assert all(np.diff(sharpness) > 0), sharpness
    assert sharpness[-1] > 1.5 * sharpness[0]
    # At its weakest it is still sharper than bicubic interpolation.
    lq = torch.from_numpy(blurred).permute(2, 0, 1)[None] / 255
    assert sharpness[0] > 1.2 * _sharpness(_pixels(BicubicUpsampler(4)(lq)[0]))


def test_as_if_is_what_the_code_of_that_blur_does(blurred):
    def restored(**options):
        return Upscaler.from_checkpoint(DEFAULT_MODEL, "cpu", **options).upscale(blurred).astype(float)

    plain = restored()
    sharpness = [_sharpness(restored(as_if=f"blur {sigma}")) for sigma in (1, 2, 3, 3.6)]
    assert all(np.diff(sharpness) > 0), sharpness
    # As what it is: nothing changes but by the error of what is seen.
    assert 10 * np.log10(255**2 / np.mean((restored(as_if="blur 3.6") - plain) ** 2)) > 35
    assert sharpness[-1] == pytest.approx(_sharpness(plain), rel=0.1)


def test_the_lines_in_the_readme_run(tmp_path, monkeypatch):
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    (lines,) = [block for block in blocks if "Upscaler" in block]
    assert len(lines.splitlines()) <= 10
    monkeypatch.chdir(tmp_path)
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (30, 40, 3), dtype=np.uint8)).save("photo.jpg")
    exec(compile(lines, "README.md", "exec"), {})
    with Image.open("big.png") as image:
        assert image.size == (160, 120)


def test_it_runs_in_bfloat16():
    lq = torch.rand(3, 20, 30)
    full = Upscaler.from_checkpoint(DEFAULT_MODEL, device="cpu").upscale(lq)
    low = Upscaler.from_checkpoint(DEFAULT_MODEL, device="cpu", precision="bf16").upscale(lq)
    assert (full - low).abs().mean() < 0.01
