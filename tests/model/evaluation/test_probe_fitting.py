from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch

import lightbsr
from lightbsr_arch.errors import OptionError
from lightbsr_arch.weights.degradation_probe import DegradationProbe, Reading
from lightbsr_arch.weights.model_files import ModelCard, load_model, save_model
from lightbsr_model.data.image_sources import BUNDLED, open_all
from lightbsr_model.evaluation.probe_fitting import LEAST_R2, degradation_of, fit_probe

from support.helpers import tiny_student


class _Seeing:
    """Stands in for a network: its representation tells how sharp and how noisy an image is, in a way of its own."""

    scale = 4

    def __init__(self, channels=4, blind=False):
        self.blind, self.generator = blind, torch.Generator().manual_seed(0)
        self.channels = channels

    def represent(self, lq):
        if self.blind:
            return torch.randn(len(lq), self.channels, generator=self.generator)
        # How fast neighbours differ with their distance, which content changes little: 1:4 where an image is smooth.
        grey = lq.mean(dim=1)
        energy = [(grey[:, :, lag:] - grey[:, :, :-lag]).square().mean(dim=(1, 2)).log() for lag in (1, 2, 3, 4)]
        curvature = (grey[:, :, 2:] - 2 * grey[:, :, 1:-1] + grey[:, :, :-2]).square().mean(dim=(1, 2)).log()
        return torch.stack([*energy, curvature], dim=1)


def test_what_the_representation_tells_is_read_on_unseen_images():
    probe = fit_probe(_Seeing(), "setting1_x4", "bundled")
    assert set(probe.readings) == {"sigma"}
    reading = probe.readings["sigma"]
    assert reading.r2 > LEAST_R2
    # The values of a uniform draw from 0.2 to 4 have this spread: the figures belong together.
    assert reading.error == pytest.approx(np.sqrt(1 - reading.r2) * 3.8 / np.sqrt(12), rel=0.15)
    assert 0.2 <= reading.low < 0.5
    assert 3.7 < reading.high <= 4
    assert fit_probe(_Seeing(), "setting1_x4", "bundled") == probe
    # And the probe says of an image what it was made to say.
    gt = torch.from_numpy(open_all("bundled").read(3).transpose(2, 0, 1).copy())[:, :256, :256]
    from lightbsr_model.degradation import get_degradation
    from lightbsr_model.degradation.exact import benchmark_lq

    told = []
    for sigma in (0.5, 2.0, 3.5):
        kernel = get_degradation("bicubic", {"sigma": sigma}).draw()["kernel"]
        lq = benchmark_lq(gt, kernel, 0, 4, "clamp", 0)
        told.append(probe.read(_Seeing().represent(lq[None])[0].numpy())["sigma"])
    assert told == sorted(told)
    assert told[2] - told[0] > 1


def test_errors_are_those_on_the_images_that_are_named(tmp_path):
    probe = fit_probe(_Seeing(), "setting1_x4", "bundled", test_images="bundled")
    assert probe.readings["sigma"].r2 > LEAST_R2
    # Noise all over: nothing of photographs holds there.
    for number in range(4):
        pixels = np.random.default_rng(number).integers(0, 256, (96, 96, 3), dtype=np.uint8)
        cv2.imwrite(str(tmp_path / f"{number}.png"), pixels)
    with pytest.raises(OptionError, match="cannot be predicted from the representation"):
        fit_probe(_Seeing(), "setting1_x4", "bundled", test_images=str(tmp_path))
    (tmp_path / "0.png").unlink()
    with pytest.raises(OptionError, match=r"--probe-test .*: expected at least 4 images, .* got 3"):
        fit_probe(_Seeing(), "setting1_x4", "bundled", test_images=str(tmp_path))


def test_noise_and_blur_of_setting_2():
    probe = fit_probe(_Seeing(), "setting2_x4", "bundled")
    assert "noise_level" in probe.readings
    assert probe.readings["noise_level"].high > 20


def test_nothing_is_stored_where_nothing_can_be_read():
    with pytest.raises(OptionError, match=r"of unseen images cannot be predicted .*\(R\^2: sigma -?\d"):
        fit_probe(_Seeing(blind=True), "setting1_x4", "bundled")
    with pytest.raises(OptionError, match="nothing varies"):
        fit_probe(_Seeing(), "iso_2.4", "bundled")


def test_settings():
    assert degradation_of("setting1_x4").sigma == (0.2, 4.0)
    assert degradation_of('setting1_x4 with {"noise_level": 5}').noise_level == (5.0, 5.0)
    for setting in ("not stated", "setting1_x4 with {", 'setting1_x4 with {"nose": 5}'):
        with pytest.raises(OptionError, match="names no degradation to fit a probe for"):
            degradation_of(setting)


def test_too_few_images(image_folder, tmp_path):
    (tmp_path / "a.png").write_bytes((image_folder / "coffee0.png").read_bytes())
    with pytest.raises(OptionError, match="expected at least 4 images, some of them to test on; got 1"):
        fit_probe(_Seeing(), "setting1_x4", str(tmp_path))


def test_bundled_pictures_are_all_there_and_large_enough():
    images = open_all("bundled")
    assert [images.stem(number) for number in range(len(images))] == list(BUNDLED)
    assert min(min(images.read(number).shape[:2]) for number in range(len(images))) >= 192


def test_export_stores_a_probe(tmp_path, monkeypatch, capsys):
    from lightbsr_model.evaluation import probe_fitting

    net = tiny_student()
    save_model(tmp_path / "a.safetensors", net.state_dict(), ModelCard("setting1_x4"))
    # That a tiny network cannot tell is another test's matter.
    monkeypatch.setattr(probe_fitting, "LEAST_R2", -10.0)
    arguments = ["export", str(tmp_path / "a.safetensors"), "-o", str(tmp_path / "b.safetensors"), "--probe", "bundled"]
    assert lightbsr.main(arguments) == 0, capsys.readouterr().err
    probe = load_model(tmp_path / "b.safetensors").card.probe
    assert probe is not None
    assert len(probe.readings["sigma"].weights) == 4 * net.options["num_encoder_feat"]


def test_what_is_read_of_a_rotated_blur_is_put_in_words():
    def reading(error):
        return Reading(weights=(0.0,), bias=0.0, low=0.0, high=100.0, error=error, r2=0.9)

    probe = DegradationProbe(
        {
            "sigma_1": reading(0.3), "sigma_2": reading(0.2), "stretch_x": reading(0.3), "stretch_y": reading(0.4),
            "noise_level": reading(2.0), "jpeg_quality": reading(8.0),
        }
    )  # fmt: skip
    # The difference of the axes, 2 pixels, at twice 60 degrees.
    values = {"sigma_1": 3.1, "sigma_2": 1.1, "stretch_x": -1.0, "stretch_y": 1.7320508, "noise_level": 12.4}
    told = probe.describe(values)
    assert told == (
        "looks like a Gaussian blur of sigma 3.1 pixels of the sharp image, give or take 0.3, along its wider axis and 1.1, "
        "give or take 0.2, across it, the wider axis 60 degrees clockwise from horizontal, give or take 7 and noise of "
        "standard deviation 12 (of 255), give or take 2"
    )
    # Of a blur that is round as far as the probe can tell, no angle is named; the wider axis is the wider one.
    round_one = probe.describe({"sigma_1": 1.9, "sigma_2": 2.0, "stretch_x": 0.1, "stretch_y": 0.2})
    assert "degrees" not in round_one
    assert "sigma 2.0 pixels of the sharp image, give or take 0.2, along" in round_one
    assert probe.describe({"stretch_x": 1.0, "sigma_2": 1.0}) == "looks like nothing that this probe can name"
    assert probe.describe({"noise_level": 0.0, "jpeg_quality": 100.0}) == (
        "looks like no noise above 2 (of 255) and no JPEG artefacts"
    )
    assert probe.describe({"jpeg_quality": 61.2}) == "looks like JPEG of quality 61, give or take 8"


def test_axes_noise_and_jpeg_are_quantities_of_a_probe():
    setting = 'setting2_x4 with {"jpeg": [30, 95]}'
    probe = fit_probe(_Seeing(), setting, "bundled")
    assert set(probe.readings) <= {*degradation_of(setting).quantities()}
    assert "noise_level" in probe.readings


def test_half_of_a_pair_is_not_stored(monkeypatch):
    """One width alone says nothing, nor does one part of the stretch."""
    from lightbsr_model.evaluation import probe_fitting

    numbers = iter((0.9, 0.2, 0.9, 0.9, 0.9))
    monkeypatch.setattr(probe_fitting, "_fit", lambda *_: Reading((0.0,), 0.0, 0.0, 9.0, 0.1, next(numbers)))
    assert set(fit_probe(_Seeing(), "setting2_x4", "bundled").readings) == {"stretch_x", "stretch_y", "noise_level"}
