"""Bursts of RAW frames made of sRGB images: against recorded data, and by what they must be."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional as F

from lightbsr_arch.errors import OptionError
from lightbsr_arch.layers.camera import Colours, camera_matrix, linear_of_srgb, mosaic, pack, srgb_of_linear
from lightbsr_arch.layers.optical_flow import read_along
from lightbsr_model.degradation.burst import BurstParams, camera_of, frames_of, moved_points, true_flow

BASE = [1.5, 1.5, 0.0]


@pytest.fixture
def data(golden):
    return {key.removeprefix("burst_"): value for key, value in golden("rbsr").items() if key.startswith("burst_")}


@pytest.fixture
def colours(data):
    return Colours(data["rgb2cam"][None].double(), data["gains_rgb_red_blue"][None].double())


def _motions(data):
    return torch.cat([torch.tensor([BASE], dtype=torch.float64), data["frames_tx_ty_theta"].double()])


def test_colours_are_the_published_ones(data, colours):
    matrix = camera_matrix(data["ccm_weights"])
    torch.testing.assert_close(matrix.float(), data["rgb2cam"], rtol=0, atol=1e-6)
    srgb = data["srgb"][None].double() / 255
    linear = colours.to_linear(srgb)
    torch.testing.assert_close(linear[0].float(), data["linear"], rtol=0, atol=2e-6)
    torch.testing.assert_close(colours.to_srgb(linear)[0].float(), data["processed"], rtol=0, atol=2e-4)
    assert torch.equal(Colours.of(colours.vector, 1).matrix, colours.matrix)


@pytest.mark.parametrize(("level", "white"), [(1.0, 1.0), (0.95, 0.25), (0.9, 0.0)])
def test_highlights_lose_their_gains(level, white):
    colours = Colours(torch.eye(3)[None].double(), torch.tensor([[1.25, 2.1, 1.7]]).double())
    srgb = srgb_of_linear(torch.full((1, 3, 1, 1), level, dtype=torch.float64))
    gains = torch.tensor([1 / (1.25 * 2.1), 1 / 1.25, 1 / (1.25 * 1.7)], dtype=torch.float64)
    expected = level * (white + (1 - white) * gains)
    torch.testing.assert_close(colours.to_linear(srgb).flatten(), expected, rtol=1e-3, atol=1e-3)


def test_frames_are_the_published_ones(data):
    border, motions = int(data["border"]), _motions(data)
    scene = (data["linear"].double() * 255).floor() / 255
    frames = 255 * frames_of(scene, motions, border)
    # OpenCV, which recorded them, has 1/32 of a pixel.
    assert (frames - data["rgb"].double()).abs().max() <= 2
    assert (255 * mosaic(frames / 255) - data["raw"].double()).abs().max() <= 2
    assert torch.equal(mosaic(data["mosaic_in"]), data["mosaic_out"])
    size = (data["srgb"].shape[1], data["srgb"].shape[2])
    y, x = (4 * torch.arange(side, dtype=torch.float64) + 1.5 + border for side in frames.shape[2:])
    points = torch.stack(torch.meshgrid(y, x, indexing="ij")[::-1])
    at_base = moved_points(motions[0], points, size, back=True)
    for motion, theirs in zip(motions[1:], data["shift_to_base"], strict=True):
        ours = (moved_points(motion, points, size, back=True) - at_base) / 4
        torch.testing.assert_close(ours.float(), theirs, rtol=0, atol=2e-5)


def test_the_tone_curve_is_undone_exactly():
    values = torch.linspace(0, 1, 1001, dtype=torch.float64)
    again = srgb_of_linear(linear_of_srgb(values))
    # Values below 1e-8 of full light are lost.
    torch.testing.assert_close(again, values, rtol=0, atol=2e-4)
    torch.testing.assert_close(linear_of_srgb(torch.tensor(0.5)), torch.tensor(0.5**2.2))


@pytest.mark.parametrize("pattern", ["RGGB", "GRBG", "GBRG", "BGGR"])
def test_a_mosaic_of_any_pattern_is_packed_red_first(pattern):
    y, x = torch.meshgrid(torch.arange(7), torch.arange(9), indexing="ij")
    letters = [[pattern[2 * (int(j) % 2) + int(i) % 2] for i in range(9)] for j in range(7)]
    values = torch.tensor([[{"R": 0, "G": 1, "B": 2}[letter] for letter in row] for row in letters])
    packed = pack(values, pattern)
    assert [set(plane.flatten().tolist()) for plane in packed] == [{0}, {1}, {1}, {2}]
    # Neighbours stay neighbours.
    places = pack(1000 * y + x, pattern)
    assert int(places[3, 0, 0] - places[0, 0, 0]) == 1001
    with pytest.raises(ValueError, match="expected one of RGGB"):
        pack(values, "RGB")


def _draw(frames=5, seed=0, **changes):
    camera = camera_of("small", changes)
    return camera, camera.draw(frames, torch.Generator().manual_seed(seed))


def _normal(seed):
    generator = torch.Generator().manual_seed(seed)
    return lambda shape: torch.randn(shape, generator=generator, dtype=torch.float64)


def test_true_flow_lays_the_frames_over_the_base():
    # A plane is read exactly by any interpolation.
    _, params = _draw()
    y, x = torch.meshgrid(*(torch.arange(120, dtype=torch.float64),) * 2, indexing="ij")
    scene = torch.stack([x, y, x + y]) / 240
    frames = frames_of(scene, params.motions, 12)
    flow = true_flow(params.motions, (120, 120), 12, scale=4)
    inner = slice(4, -4)
    for frame, way in zip(frames[1:], flow, strict=True):
        read = read_along(frame[None], way[None])[0]
        torch.testing.assert_close(read[..., inner, inner], frames[0][..., inner, inner], rtol=0, atol=1e-9)
    packed = true_flow(params.motions, (120, 120), 12)
    torch.testing.assert_close(packed, F.avg_pool2d(flow, 2) / 2, rtol=0, atol=1e-9)
    assert packed.abs().max() <= (8 + 8 + math.radians(1) * 60) / 8


def test_frames_do_not_depend_on_those_after_them():
    (_, few), (_, many) = _draw(3), _draw(6)
    assert torch.equal(many.motions[:3], few.motions)
    assert torch.equal(many.gains, few.gains)
    assert (many.shot, many.read) == (few.shot, few.read)
    # The base shows at its pixel j what the image has at 4 j.
    assert many.motions[0].tolist() == BASE


def test_noise_has_the_variance_of_the_camera():
    camera, params = _draw(2, bits=None)
    grey = torch.full((3, 280, 280), 0.6)
    quiet = camera_of("small", {"bits": None, "noise": False}).take(grey, params, _normal(0))[0]
    noisy = camera.take(grey, params, _normal(0))[0]
    inner = (..., slice(4, -4), slice(4, -4))
    for level, values in zip(quiet[inner].unbind(1), (noisy - quiet)[inner].unbind(1), strict=True):
        expected = 0.012 * float(level.mean()) + 2.2e-4
        assert float(values.square().mean()) == pytest.approx(expected, rel=0.1)


def test_ours_has_neither_black_corners_nor_8_bits_in_the_dark():
    grey = torch.full((3, 440, 440), 0.1)
    far = torch.tensor([BASE, [24.0, 24.0, 1.0]], dtype=torch.float64)
    for name, size in (("mended", 440), ("published", 432)):
        camera = camera_of(name, {"noise": False})
        params = BurstParams(torch.eye(3).double(), torch.ones(3).double(), far, 0.0, 0.0)
        frames, gt, _ = camera.take(grey[:, :size, :size], params, _normal(0))
        assert gt.shape == (3, 384, 384)
        assert (frames.min() == 0) == (name == "published")
        steps = frames.max() * (255 if name == "published" else 2**14)
        assert float(steps) == pytest.approx(float(steps.round()), abs=1e-9)
        dark = camera.take(torch.full((3, size, size), 0.015), params, _normal(0))[0]
        assert (dark.max() == 0) == (name == "published")


def test_cameras_are_checked():
    with pytest.raises(OptionError, match="camera: expected one of mended, published"):
        camera_of("phone")
    with pytest.raises(OptionError, match=r"camera_opt\.cut: expected an integer"):
        camera_of("mended", {"cut": -1})
    with pytest.raises(OptionError, match=r"camera_opt\.shot: expected \[lowest, highest\], got \[0\.1, 0\.01\]"):
        camera_of("mended", {"shot": [0.1, 0.01]})
    camera, params = _draw()
    with pytest.raises(ValueError, match="multiples of 8 and 24 more, got 121x120"):
        camera.take(torch.zeros(3, 120, 121), params, _normal(0))
