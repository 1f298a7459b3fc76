"""Bursts of RAW frames made of sRGB images: against recorded data, and by what they must be."""

from __future__ import annotations

import pytest
import torch

from lightbsr_arch.layers.camera import Colours, camera_matrix, mosaic
from lightbsr_model.degradation.burst import frames_of, moved_points

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
