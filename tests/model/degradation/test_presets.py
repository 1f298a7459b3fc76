from __future__ import annotations

import pytest
import torch

from lightbsr_model.degradation import (
    PRESETS,
    anisotropic_gaussian_kernels,
    get_degradation,
    isotropic_gaussian_kernels,
)


def test_every_preset_of_the_method_is_there():
    expected = {f"setting{setting}_x{scale}" for setting in (1, 2) for scale in (2, 3, 4)} | {"bicubic"}
    sigmas = {0.6, 1.2, 1.8, 0.8, 1.6, 2.4, 3.6, 2.0, 2.2, 2.6, 2.8, 3.0, 3.2}
    expected |= {f"iso_{sigma}" for sigma in sigmas}
    expected |= {f"aniso_k{kernel}_n{noise}" for kernel in [*range(1, 10), "1old"] for noise in (0, 5, 10)}
    expected |= {f"jpeg_{quality}" for quality in (60, 75, 90)}
    expected |= {f"{name}_x{scale}" for name in ("realworld", "photo") for scale in (2, 4)}
    assert set(PRESETS) == expected


def test_training_ranges():
    generator = torch.Generator().manual_seed(0)
    for scale, most in ((2, 2.0), (3, 3.0), (4, 4.0)):
        assert get_degradation(f"setting1_x{scale}").sigma == (0.2, most)
        second = get_degradation(f"setting2_x{scale}")
        assert (second.lambda_1, second.lambda_2, second.theta) == ((0.2, most), (0.2, most), (0, 180))
        assert second.noise_level == (0, 25)
    levels = torch.stack([get_degradation("setting2_x4").draw(generator)["noise_level"] for _ in range(400)])
    assert levels.min() >= 0
    assert levels.max() <= 25
    torch.testing.assert_close(levels.mean(), torch.tensor(12.5, dtype=torch.float64), rtol=0.1, atol=0)


def test_test_presets_are_points():
    params = get_degradation("aniso_k3_n10").draw()
    parameters = [torch.tensor([value], dtype=torch.float64) for value in (3.5, 1.5, torch.pi * 30 / 180)]
    torch.testing.assert_close(params["kernel"], anisotropic_gaussian_kernels(*parameters)[0])
    assert params["noise_level"] == 10
    params = get_degradation("iso_2.4").draw()
    torch.testing.assert_close(
        params["kernel"], isotropic_gaussian_kernels(torch.tensor([2.4], dtype=torch.float64))[0]
    )
    assert params["noise_level"] == 0
    assert get_degradation("aniso_k1_n0").lambda_2 == (0.5, 0.5)
    assert get_degradation("aniso_k1old_n0").lambda_2 == (0.2, 0.2)
    assert float(get_degradation("bicubic").draw()["kernel"][10, 10]) == 1.0
    params = get_degradation("jpeg_75").draw()
    assert float(params["kernel"][10, 10]) == 1.0
    assert (params["noise_level"], params["jpeg_quality"]) == (0, 75)


def test_overrides():
    degradation = get_degradation("setting1_x4", {"sigma": [1, 2], "noise_level": 7})
    assert degradation.sigma == (1.0, 2.0)
    assert degradation.noise_level == (7.0, 7.0)
    assert degradation.is_noisy
    assert not get_degradation("setting1_x4").is_noisy


@pytest.mark.parametrize(
    ("preset", "overrides", "message"),
    [
        ("seting1_x4", {}, "did you mean setting1_x4"),
        ("setting1_x4", {"sgima": 1}, "degradation.sgima.*did you mean sigma"),
        ("setting1_x4", {"sigma": [3, 1]}, r"sigma: expected 0 <= first <= second <= 100, got \[3.0, 1.0\]"),
        ("setting1_x4", {"sigma": "wide"}, "a number or two numbers, got 'wide'"),
        ("setting1_x4", {"noise_level": 300}, "noise_level"),
        ("setting1_x4", {"lambda_1": 1}, "no effect on isotropic"),
        ("setting2_x4", {"sigma": 1}, "no effect on anisotropic"),
        ("setting1_x4", {"jpeg": [95, 30]}, r"jpeg: expected 0 <= first <= second <= 100, got \[95.0, 30.0\]"),
        ("setting1_x4", {"jpeg": [30, 101]}, "jpeg"),
        ("setting1_x4", {"jpeg": [30.5, 90]}, r"degradation.jpeg: expected integers, .*got \[30.5, 90.0\]"),
        ("setting1_x4", {"jpeg": "high"}, "a number or two numbers, got 'high'"),
        (["setting1_x4"], {}, r"no degradation is named \['setting1_x4'\]"),
        ("setting1_x4", [1], r"degradation: expected parameters of the preset, .*got \[1\]"),
        ("setting2_x4", {"theta": float("inf")}, "degradation.theta: expected a number or two numbers, got inf"),
        ("setting2_x4", {"kernel_disturb": "much"}, "degradation.kernel_disturb: expected a number, got 'much'"),
        ("setting2_x4", {"kernel_disturb": [0, 0.25]}, r"kernel_disturb: expected a number, got \[0, 0.25\]"),
        ("setting2_x4", {"kernel_disturb": True}, "degradation.kernel_disturb: expected a number, got True"),
        (
            "setting2_x4",
            {"kernel_disturb": -0.1},
            "degradation.kernel_disturb: expected a number from 0 to 10, got -0.1",
        ),
        ("setting2_x4", {"kernel_distrub": 0.1}, "did you mean kernel_disturb"),
        ("setting1_x4", {"kernel": "motion"}, "kernel: expected isotropic or anisotropic"),
    ],
)
def test_mistakes_are_named(preset, overrides, message):
    with pytest.raises(ValueError, match=message):
        get_degradation(preset, overrides)
