"""The models in the box do what their cards say."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from basicsr.metrics import calculate_psnr, calculate_ssim
from PIL import Image

from lightbsr_arch import Upscaler
from lightbsr_arch.errors import MissingFileError
from lightbsr_arch.methods.bicubic import BicubicUpsampler
from lightbsr_arch.weights.model_files import (
    DEFAULT_MODEL,
    SMALL_MODEL,
    bundled_model,
    bundled_models,
    load_helper,
    load_model,
)
from lightbsr_model.data.blind_degradation_benchmark_dataset import BlindDegradationBenchmarkDataset
from lightbsr_model.data.photographs import WALLPAPERS
from lightbsr_model.degradation import get_degradation
from lightbsr_model.degradation.base import as_batch, in_float32
from lightbsr_model.degradation.jpeg import encode_and_decode_jpeg
from lightbsr_model.methods.lway import reconstructor_degrader

from support.helpers import ROOT

FOLDER = ROOT / "lightbsr_arch/pretrained"


@dataclass(frozen=True)
class Bundled:
    """A model in the box, and what is particular about it."""

    name: str
    setting: str
    iterations: int
    presets: Mapping[str, str]
    """Degradations under which it must beat bicubic interpolation, and what its card's table calls them."""
    held_out: str
    """The one of coffee and chelsea in its card."""
    reading: str | None = "sigma"
    """What its probe reads."""
    least: tuple[float, float] = (0.5, 0.01)
    """What it must gain over bicubic interpolation on coffee and chelsea, in dB and in SSIM."""
    column: int = 1
    """Of its figures in its card's table, after bicubic interpolation's."""

    def __str__(self) -> str:
        return self.name

    @property
    def scale(self) -> int:
        """The factor."""
        return int(self.name[-1])

    @property
    def card(self) -> str:
        """The text of its card."""
        return (FOLDER / f"{self.name}.md").read_text(encoding="utf-8")


BUNDLED = [
    Bundled(
        *("lightbsr_small_x4", "setting1_x4", 12000),
        presets={"iso_1.2": "1.2", "iso_2.4": "2.4", "iso_3.6": "3.6"},
        held_out="iso_2.4",
    ),
    Bundled(
        *("lightbsr_small_noise_x4", "setting2_x4", 6000),
        presets={name: name for name in ("iso_2.4", "aniso_k5_n5", "aniso_k9_n10")},
        held_out="aniso_k5_n5",
        reading="noise_level",
        column=2,
    ),
    Bundled(
        *("lightbsr_photo_x4", "photo_x4", 10000),
        presets={"photo_x4": "photo_x4", "jpeg_75": "jpeg_75", "bicubic": "none"},
        held_out="photo_x4",
        reading="jpeg_quality",
        least=(0.15, 0.005),
        column=3,
    ),
    Bundled(
        *("lightbsr_photo_x2", "photo_x2", 4000),
        presets={"photo_x2": "photo_x2", "jpeg_75": "jpeg_75", "bicubic": "none"},
        held_out="photo_x2",
        reading="jpeg_quality",
        least=(0.2, 0.005),
        column=2,
    ),
    Bundled(
        *("lightbsr_small_x2", "setting1_x2", 4000),
        presets={"iso_0.6": "0.6", "iso_1.2": "1.2", "iso_1.8": "1.8"},
        held_out="iso_1.2",
    ),
    Bundled(
        *("lightbsr_small_x3", "setting1_x3", 4000),
        presets={"iso_0.8": "0.8", "iso_1.6": "1.6", "iso_2.4": "2.4"},
        held_out="iso_1.8",
    ),
]
CASES = [pytest.param(model, preset, id=f"{model}-{preset}") for model in BUNDLED for preset in model.presets]
BENCHMARKS = [  # LR images of x2 and x3 are large, and so is Set14: one degradation of these
    pytest.param(name, model, preset, id=f"{model}-{preset}-{name}")
    for model in BUNDLED
    for name, most in (("Set5", 3 if model.scale == 4 else 1), ("Set14", 1 if model.scale == 4 else 0))
    for preset in [*model.presets][:most]
]


def _pixels(image):
    return (image.clamp(0, 1).permute(1, 2, 0) * 255).round().byte().numpy()


def _figures(model, data, preset, metrics=(calculate_psnr, calculate_ssim)):
    """Mean (PSNR-Y, SSIM-Y) of bicubic interpolation and of the model."""
    upscaler, bicubic = Upscaler.from_checkpoint(model.name, device="cpu"), BicubicUpsampler(model.scale)
    options = {"name": "x", "phase": "test", "scale": model.scale, "preset": preset, **data}
    figures = []
    for sample in BlindDegradationBenchmarkDataset(options):
        gt, lq = _pixels(sample["gt"]), _pixels(sample["lq"])
        outputs = (_pixels(bicubic(sample["lq"][None])[0]), upscaler.upscale(lq))
        figures.append([
            [float(metric(sr[:, :, ::-1], gt[:, :, ::-1], model.scale, test_y_channel=True)) for metric in metrics]
            for sr in outputs
        ])  # fmt: skip
    return np.mean(figures, axis=0)


def test_every_model_in_the_box_is_here():
    assert {model.name for model in BUNDLED} == set(bundled_models())


@pytest.mark.parametrize(("model", "preset"), CASES)
def test_it_beats_bicubic_on_pictures_that_it_never_saw(model, preset):
    data = {"io_backend": {"type": "bundled"}, "pictures": ["coffee", "chelsea"]}
    bicubic, ours = _figures(model, data, preset)
    assert ours[0] > bicubic[0] + model.least[0]
    assert ours[1] > bicubic[1] + model.least[1]
    if preset == model.held_out:  # and the card says how well
        told = re.search(rf"coffee and chelsea, ([\d.]+) dB / ([\d.]+) at {re.escape(preset)}\.", model.card)
        assert told is not None
        assert [float(told[1]), float(told[2])] == pytest.approx(ours, abs=0.02)


@pytest.mark.parametrize(("name", "model", "preset"), BENCHMARKS)
def test_it_beats_bicubic_on_the_benchmarks(name, model, preset):
    folder = ROOT.parent / "shared/images" / name
    if not folder.is_dir():
        pytest.skip("needs Set5 and Set14, which are not ours to ship")
    data = {"dataroot_gt": str(folder), "io_backend": {"type": "disk"}}
    bicubic, ours = _figures(model, data, preset, [calculate_psnr])
    cells = next(
        line.split("|")[3:]
        for line in model.card.splitlines()
        if line.startswith(f"| {name} | {model.presets[preset]} | ")
    )
    told = [float(cell.split("/")[0]) for cell in (cells[0], cells[model.column])]
    assert [bicubic[0], ours[0]] == pytest.approx(told, abs=0.02)
    assert ours[0] > bicubic[0]


@pytest.mark.parametrize("bundled", BUNDLED, ids=str)
def test_it_is_small_and_says_what_it_is(bundled):
    path = bundled_model(bundled.name)
    assert path.stat().st_size < 4 << 20
    model, text = load_model(bundled.name), bundled.card
    assert model.net.scale == bundled.scale
    card = model.card
    assert (card.setting, card.licence) == (bundled.setting, "Apache-2.0")
    assert card.training["iterations"] == bundled.iterations
    assert card.training["data"] == "wallpapers"
    for photo in WALLPAPERS:
        assert photo.author in text
        assert photo.licence in text
    assert f"{sum(value.numel() for value in model.net.parameters()) / 1e6:.2f} M" in text
    # It says what it sees, with its error.
    assert set(card.probe.readings) == {bundled.reading}
    reading = card.probe.readings[bundled.reading]
    assert f"its R^2 is {reading.r2:.2f}" in text
    assert f"an error of {reading.error:.1f}" in text
    assert card.probe.inverse is not None
    log = path.with_suffix(".log").read_text(encoding="utf-8")
    assert f"iter: {bundled.iterations:7,}" in log
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
    results = [Upscaler.from_checkpoint(SMALL_MODEL, "cpu", strength=one).upscale(blurred) for one in strengths]
    sharpness = [_sharpness(image) for image in results]
    assert all(np.diff(sharpness) > 0), sharpness
    assert sharpness[-1] > 1.5 * sharpness[0]
    # At its weakest it is still sharper than bicubic interpolation.
    lq = torch.from_numpy(blurred).permute(2, 0, 1)[None] / 255
    assert sharpness[0] > 1.2 * _sharpness(_pixels(BicubicUpsampler(4)(lq)[0]))


def test_as_if_is_what_the_code_of_that_blur_does(blurred):
    def restored(**options):
        return Upscaler.from_checkpoint(SMALL_MODEL, "cpu", **options).upscale(blurred).astype(float)

    plain = restored()
    sharpness = [_sharpness(restored(as_if=f"blur {sigma}")) for sigma in (1, 2, 3, 3.6)]
    assert all(np.diff(sharpness) > 0), sharpness
    # As what it is: nothing changes but by the error of what is seen.
    assert 10 * np.log10(255**2 / np.mean((restored(as_if="blur 3.6") - plain) ** 2)) > 35
    assert sharpness[-1] == pytest.approx(_sharpness(plain), rel=0.1)


@pytest.mark.parametrize("picture", ["coffee", "chelsea"])
def test_strength_of_the_photo_model_takes_the_blocks_away(picture):
    import skimage.data

    gt = np.ascontiguousarray(getattr(skimage.data, picture)()[40:296, 100:356])
    low = encode_and_decode_jpeg(np.asarray(Image.fromarray(gt).resize((64, 64), Image.Resampling.BICUBIC)), 60)
    strengths = (0, 0.25, 0.5, 0.75, 1)
    results = [Upscaler.from_checkpoint(DEFAULT_MODEL, "cpu", strength=one).upscale(low) for one in strengths]
    assert all(np.diff([_sharpness(image) for image in results]) < 0)
    first, *_, last = (calculate_psnr(image, gt, 0) for image in results)
    assert last > first
    # In words: the lower the quality that it is taken for, the smoother the result.
    told = [
        Upscaler.from_checkpoint(DEFAULT_MODEL, "cpu", as_if=f"jpeg {quality}").upscale(low) for quality in (95, 75)
    ]
    assert _sharpness(told[1]) < 0.99 * _sharpness(told[0])


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


def test_the_reconstructor_degrades_as_images_were_degraded():
    path = FOLDER / "helpers/LRReconstructor_x4.safetensors"
    assert path.stat().st_size < 3 << 20
    text = path.with_suffix(".md").read_text(encoding="utf-8")
    assert all(photo.author in text and photo.licence in text for photo in WALLPAPERS)
    assert "iter:  10,000" in path.with_suffix(".log").read_text(encoding="utf-8")
    net = load_helper("LRReconstructor", 4)
    errors = []
    for sigma in (1.2, 4.0):
        options = {"name": "x", "phase": "test", "scale": 4, "preset": "bicubic", "degradation": {"sigma": sigma}}
        data = {"io_backend": {"type": "bundled"}, "pictures": ["coffee"]}
        sample = BlindDegradationBenchmarkDataset({**options, **data})[0]
        with torch.no_grad():
            again = net(sample["lq"][None], sample["gt"][None])[0]
        errors.append(float((again - sample["lq"]).square().mean()))
    assert all(-10 * np.log10(error) > 38 for error in errors), errors


def test_another_scale_needs_a_reconstructor_of_its_own():
    message = r"no LRReconstructor of x2 comes with the package.*train_reconstructor_x2\.yml.*--reconstructor"
    with pytest.raises(MissingFileError, match=message):
        reconstructor_degrader(load_model("lightbsr_small_x2").net, None, 0)
