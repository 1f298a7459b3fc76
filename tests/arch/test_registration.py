"""Registration without weights: motions that are known are found."""

from __future__ import annotations

import math

import pytest
import skimage.data
import torch
from torch.nn import functional as F

from lightbsr_arch.layers.registration import AffineMotion, _Level, register_affine, warp, with_colours_of
from lightbsr_model.degradation import GaussianDegradation, bicubic_downsample
from lightbsr_model.degradation.misaligned import MisalignedDegradation, Misalignment

PHOTOS = [
    torch.from_numpy(getattr(skimage.data, name)().copy()).permute(2, 0, 1)
    for name in ("astronaut", "coffee", "chelsea", "rocket")
]


def _pairs(side, scale, sigma, noise, misalignment, count=48):
    """Downsampled HR crops, LR images of them that are moved and recoloured, and the motion between the two."""
    generator = torch.Generator().manual_seed(0)
    blur = GaussianDegradation(sigma=(sigma, sigma), noise_level=(noise, noise))
    degradation = MisalignedDegradation(blur, misalignment, side)
    crop = scale * (side + 2 * degradation.margin)
    crops = []
    for number in range(count):
        photo = PHOTOS[number % len(PHOTOS)]
        top, left = (int(torch.randint(0, limit - crop + 1, (), generator=generator)) for limit in photo.shape[1:])
        crops.append(photo[:, top : top + crop, left : left + crop])
    gt = torch.stack(crops)
    draws = [degradation.draw(generator) for _ in range(count)]
    params = {name: torch.stack([draw[name] for draw in draws]).float() for name in draws[0]}
    lq = degradation.apply(gt, params, scale, generator)
    cut = scale * degradation.margin
    low = bicubic_downsample(gt[..., cut:-cut, cut:-cut] / 255, scale)
    x, y, turn, zoom = params["motion"].double().unbind(dim=1)
    there = torch.stack([zoom * turn.cos(), -zoom * turn.sin(), zoom * turn.sin(), zoom * turn.cos()], dim=1)
    back = torch.linalg.inv(there.view(-1, 2, 2))
    matrix = torch.cat([back, -back @ torch.stack([x, y], dim=1)[:, :, None]], dim=2).float()
    return low, lq, AffineMotion(matrix, *(torch.ones(count),) * 3)


@pytest.mark.parametrize(
    ("side", "scale", "sigma", "noise", "shift", "rotation", "zoom"),
    [
        (32, 4, 2.4, 0, 2.0, 0.5, 0.01),
        (24, 4, 2.4, 0, 2.0, 0.5, 0.01),
        (24, 4, 1.6, 0, 2.0, 0.5, 0.01),
        (32, 4, 2.4, 10, 2.0, 0.5, 0.01),
        (32, 2, 1.2, 0, 2.0, 0.5, 0.01),
        (32, 3, 1.8, 0, 2.0, 0.5, 0.01),
        (48, 4, 2.4, 0, 4.0, 2.0, 0.03),
    ],
)
def test_motions_are_found_to_a_tenth_of_a_pixel(side, scale, sigma, noise, shift, rotation, zoom):
    low, lq, motion = _pairs(side, scale, sigma, noise, Misalignment(shift, rotation, zoom, 0.1, 0.02))
    expected, found = (each.flow(side, side) for each in (motion, register_affine(low, lq)))
    errors = (found - expected).norm(dim=1)
    assert expected.norm(dim=1).median() > 1
    assert errors.median() < 0.1
    assert errors.quantile(0.9) < 0.5


def test_gain_and_offset_are_found():
    low = F.avg_pool2d(PHOTOS[0][None, :, 20:148, 200:328].float() / 255, 4)
    motion = register_affine(low, (low - 0.1) / 0.8)
    assert float(motion.gain) == pytest.approx(0.8, abs=1e-3)
    assert float(motion.offset) == pytest.approx(0.1, abs=1e-3)
    assert float(motion.agreement) == pytest.approx(1, abs=1e-4)
    torch.testing.assert_close(motion.matrix, torch.eye(2, 3)[None], rtol=0, atol=1e-3)


def test_flow_of_a_matrix():
    matrix = torch.tensor([[[0.0, -1, 3], [1, 0, 0]]])
    flow = AffineMotion(matrix, *(torch.ones(1),) * 3).flow(3, 5)
    # From (x, y) = (-2, -1) of the centre to (1 + 3, -2), and from (0, 1) to (-1 + 3, 0).
    assert flow[0, :, 0, 0].tolist() == [6, -1]
    assert flow[0, :, 2, 2].tolist() == [2, -1]


def test_warped_by_its_motion_an_image_lies_over_the_reference():
    low, lq, _ = _pairs(32, 4, 1.0, 0, Misalignment(2.0, 1.0, 0.02), 16)
    warped, mask = warp(lq, register_affine(low, lq).flow(32, 32))
    before, after = (F.mse_loss(images * mask, low * mask) for images in (lq, warped))
    assert after < 0.1 * before
    assert mask.mean() > 0.8


def test_samples_do_not_mix():
    low, lq, _ = _pairs(24, 4, 2.4, 0, Misalignment(2.0), 6)
    together = register_affine(low, lq)
    alone = torch.cat([register_affine(low[i : i + 1], lq[i : i + 1]).matrix for i in range(6)])
    torch.testing.assert_close(together.matrix, alone, rtol=0, atol=1e-4)


def test_images_without_common_content_do_not_agree():
    low, lq, _ = _pairs(24, 4, 2.4, 0, Misalignment(2.0), 32)
    right = register_affine(low, lq).agreement
    wrong = register_affine(low, lq.roll(1, 0))
    assert right.median() > 0.95
    assert wrong.agreement.median() < 0.5
    assert wrong.matrix.isfinite().all()
    assert (right >= 0.5).float().mean() > 0.9


@pytest.mark.parametrize("size", [(24, 24), (13, 40), (5, 9)])
def test_images_without_texture_have_no_motion_and_no_nan(size):
    flat, noise = torch.full((1, 3, *size), 0.3), torch.rand(1, 3, *size)
    for reference, moving in ((flat, flat), (flat, noise), (noise, flat)):
        motion = register_affine(reference, moving)
        assert all(value.isfinite().all() for value in vars(motion).values())
        assert float(motion.agreement) == 0
    if min(size) < 12:
        motion = register_affine(noise, noise.roll(1, 3))
        assert torch.equal(motion.matrix, torch.eye(2, 3)[None])


def test_a_motion_that_has_run_away_finds_nothing():
    level = _Level(*torch.rand(2, 1, 1, 24, 24).unbind(0), 1, 12.0)
    away = torch.full((1, 8), 1e200, dtype=torch.float64)
    gain, offset, difference, agreement = level.judged(away)
    assert torch.isinf(difference)
    assert float(agreement) == 0
    assert gain.isfinite()
    assert offset.isfinite()
    still = level.start.expand(1, 8)
    assert torch.equal(level.better_of(away, still), still)


def test_other_shapes_are_refused():
    with pytest.raises(ValueError, match="two image batches"):
        register_affine(torch.rand(1, 3, 24, 24), torch.rand(1, 3, 24, 23))


def test_colours_are_those_of_the_reference_despite_blur():
    sharp = PHOTOS[0][None, :, 20:148, 200:328].float() / 255
    kernel = GaussianDegradation(sigma=(2.4, 2.4)).draw()["kernel"].float()
    blurred = F.conv2d(F.pad(sharp, (10,) * 4, mode="reflect").transpose(0, 1), kernel[None, None]).transpose(0, 1)
    gain, offset = torch.tensor([0.9, 1.0, 1.1]).view(1, 3, 1, 1), torch.tensor([0.02, 0.0, -0.02]).view(1, 3, 1, 1)
    mask = torch.ones(1, 1, 128, 128)
    mask[..., :16] = 0
    recoloured = blurred * gain + offset
    recoloured[..., :16] = math.pi  # is not looked at
    found = with_colours_of(recoloured, sharp, mask)
    assert ((found - blurred) * mask).abs().mean() < 0.3 * ((recoloured - blurred) * mask).abs().mean()
    assert torch.equal(with_colours_of(recoloured, sharp, 0 * mask), recoloured)
