"""JPEG on the device against a real encoder, and as a step of a degradation."""

from __future__ import annotations

import numpy as np
import pytest
import skimage.data
import torch
from basicsr.utils.diffjpeg import DiffJPEG, c_table
from torch import Tensor
from torch.nn import functional as F

from lightbsr_model.degradation import compress_jpeg, degrade, get_degradation
from lightbsr_model.degradation.jpeg import encode_and_decode_jpeg

MEASURED = {10: 35.4, 30: 35.9, 50: 37.6, 75: 36.5, 90: 36.2, 95: 36.2, 99: 36.9, 100: 37.0}
"""Least PSNR in dB between DiffJPEG and Pillow over the images below, by quality; as measured."""

GREY = {10: 48.9, 30: 41.7, 50: 51.3, 75: 46.1, 95: 48.2}
"""The same of grey images, whose chroma is empty: what is left are quantisation tables and rounding."""


def _photographs(grey: bool = False) -> list[Tensor]:
    """8-bit LR images, (1, 3, 74, 100)."""
    kernel = get_degradation("iso_1.2").draw()["kernel"][None].float()
    images = []
    for name in ("astronaut", "coffee", "chelsea"):
        gt = torch.from_numpy(getattr(skimage.data, name)()[:296, :400].transpose(2, 0, 1).copy())[None]
        low = (degrade(gt, kernel, None, 4) * 255).round()
        images.append(low[:, 1:2].expand(-1, 3, -1, -1) if grey else low)
    return images


def _by_pillow(image: Tensor, quality: int) -> Tensor:
    pixels = image[0].to(torch.uint8).permute(1, 2, 0).numpy().copy()
    return torch.from_numpy(encode_and_decode_jpeg(pixels, quality).transpose(2, 0, 1).copy())[None].float()


def _psnr(first: Tensor, second: Tensor) -> float:
    return float(10 * torch.log10(255**2 / (first - second).square().mean()))


@pytest.mark.parametrize(("grey", "bounds"), [(False, MEASURED), (True, GREY)])
def test_as_close_to_pillow_as_measured(grey, bounds):
    for quality, bound in bounds.items():
        least = min(
            _psnr(compress_jpeg(image, torch.tensor([quality])).round(), _by_pillow(image, quality))
            for image in _photographs(grey)
        )
        assert least > bound - 0.5, quality  # a coefficient at a half may round either way


@pytest.mark.parametrize("quality", [10, 50, 90])
def test_damage_is_that_of_a_real_encoder(quality):
    for image in _photographs():
        ours, theirs = compress_jpeg(image, torch.tensor([quality])), _by_pillow(image, quality)
        assert _psnr(ours, image) == pytest.approx(_psnr(theirs, image), abs=1.3)


def test_samples_have_their_own_quality_and_zero_is_none():
    images = torch.cat([_photographs()[0]] * 4)
    quality = torch.tensor([30.0, 0.0, 95.0, 30.0])
    together = compress_jpeg(images, quality)
    assert torch.equal(together[1], images[1])
    for place in (0, 2, 3):
        alone = compress_jpeg(images[place : place + 1], quality[place : place + 1])[0]
        torch.testing.assert_close(together[place], alone, rtol=0, atol=1e-3)
    assert quality.tolist() == [30.0, 0.0, 95.0, 30.0]  # DiffJPEG's own forward would have written to it
    assert _psnr(together[2], images[2]) > _psnr(together[0], images[0]) + 3


def test_equal_to_diffjpeg_of_the_image_on_its_side():
    """Its luma table is transposed, so it is right where rows and columns change places."""
    image = _photographs()[1][..., :64, :96]
    for quality in (20.0, 50.0, 80.0):
        expected = DiffJPEG(differentiable=False)(image.mT / 255, torch.tensor([quality])).mT * 255
        off = (compress_jpeg(image, torch.tensor([quality])) - expected).abs()
        assert (off > 2e-3).float().mean() < 0.02  # a coefficient at a half may round either way


def test_other_sizes_are_continued_by_their_edge():
    image = _photographs()[2][..., :37, :45]
    padded = F.pad(image, (0, 3, 0, 11), mode="replicate")
    expected = compress_jpeg(padded, torch.tensor([40]))[..., :37, :45]
    assert torch.equal(compress_jpeg(image, torch.tensor([40])), expected)


def test_gradients_reach_the_images_where_asked_for():
    image = _photographs()[0].requires_grad_()
    for differentiable in (True, False):
        compressed = compress_jpeg(image, torch.tensor([60]), differentiable)
        gradient = torch.autograd.grad(compressed.sum(), image)[0].abs().mean()
        assert (gradient > 0.1) if differentiable else gradient == 0
    # The tables that all DiffJPEGs of a process share are as they were.
    assert c_table.requires_grad


# ---- as a step


def test_jpeg_comes_after_the_noise_and_before_the_rounding():
    degradation = get_degradation("iso_1.2", {"noise_level": 10, "jpeg": 30})
    gt = torch.from_numpy(skimage.data.coffee()[:128, :160].transpose(2, 0, 1).copy())[None]
    params = {name: value[None].float() for name, value in degradation.draw().items()}
    lq = degradation.apply(gt, params, 4, torch.Generator().manual_seed(0))
    noisy = degrade(gt, params["kernel"], params["noise_level"], 4, generator=torch.Generator().manual_seed(0))
    expected = compress_jpeg((noisy * 255).round(), params["jpeg_quality"])
    torch.testing.assert_close(lq * 255, expected.round(), rtol=0, atol=1.01)
    assert ((lq * 255 - expected.round()).abs() > 0.5).float().mean() < 1e-3
    torch.testing.assert_close(lq * 255, (lq * 255).round(), rtol=0, atol=1e-4)


def test_qualities_are_every_integer_of_the_range_alike():
    degradation = get_degradation("setting1_x4", {"jpeg": [30, 34]})
    generator = torch.Generator().manual_seed(0)
    drawn = np.array([float(degradation.draw(generator)["jpeg_quality"]) for _ in range(2000)])
    values, counts = np.unique(drawn, return_counts=True)
    assert values.tolist() == [30, 31, 32, 33, 34]
    assert ((counts - 400) ** 2 / 400).sum() < 18.5  # chi-square of 4 degrees of freedom: 1 in 1000


def test_without_jpeg_the_random_sequence_is_that_of_before():
    """Five values a draw, the noise level's the last: what trainings of earlier versions drew."""
    generator = torch.Generator().manual_seed(0)
    degradation = get_degradation("setting2_x4")
    levels = [float(degradation.draw(generator)["noise_level"]) for _ in range(3)]
    u = torch.rand(15, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    assert levels == pytest.approx((25 * u[4::5]).tolist())
    with_jpeg, without = (get_degradation("setting2_x4", jpeg) for jpeg in ({"jpeg": [30, 95]}, {"jpeg": 0}))
    assert without == degradation
    first, second = (each.draw(torch.Generator().manual_seed(3)) for each in (with_jpeg, without))
    assert torch.equal(first["kernel"], second["kernel"])
    assert first["noise_level"] == second["noise_level"]
    assert second["jpeg_quality"] == 0
    assert 30 <= first["jpeg_quality"] <= 95
