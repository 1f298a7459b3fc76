"""The yardstick of the benchmarks measures the same method."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional as F

from benchmarks import inner_steps, plain
from benchmarks.calibration import calibration_error
from benchmarks.growth import exponent
from benchmarks.recomputing import LiveBytes, measure
from benchmarks.side_by_side import Timing, in_turns, ratio
from lightbsr_arch import LightBSR, LightBSRTeacher
from lightbsr_model.degradation import degrade
from lightbsr_model.degradation.kernels import anisotropic_gaussian_kernels, isotropic_gaussian_kernels
from lightbsr_model.losses import ChannelDistillationLoss, SpatialDistillationLoss

from support.helpers import TINY


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_plain_network_is_the_network(scale):
    torch.manual_seed(0)
    net = LightBSR(scale=scale, layer_scale_init=0.3, **TINY).eval()
    lq = torch.rand(2, 3, 9, 14)
    with torch.no_grad():
        torch.testing.assert_close(plain.super_resolve(lq, net.state_dict(), scale), net(lq), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("joint", [False, True])
def test_plain_losses_are_the_losses(joint):
    torch.manual_seed(0)
    # In float64: the losses are small differences, whose last digits in float32 are another processor's.
    teacher = LightBSRTeacher(scale=4, prior_channels=15, queue_size=16, **TINY).double()
    student = LightBSR(scale=4, **TINY).double()
    views, prior = torch.rand(4, 3, 3, 8, 8).double(), torch.rand(4, 15).double()
    gt = torch.rand(4, 3, 32, 32).double() if joint else None
    weights = {name: value.clone() for name, value in teacher.state_dict().items()}
    with torch.no_grad():
        ours = plain.teacher_losses(views, gt, prior, weights, 4)
        feature_map, contrast = teacher.contrast(views, prior)
        assert float(ours["l_contrast"]) == pytest.approx(float(contrast), rel=1e-5)
        if gt is not None:
            sr = teacher.restore(views[:, 0], teacher.converters(feature_map, (8, 8)))
            assert float(ours["l_pix"]) == pytest.approx(255 * float(F.l1_loss(sr, gt)), rel=1e-5)
        teacher.eval()
        lq, weights = views[:, 0], {name: value.clone() for name, value in student.state_dict().items()}
        ours = plain.student_losses(lq, gt, prior, weights, teacher.state_dict(), 4)
        target, codes = teacher.encode(lq, prior), student.encode(lq)
        channel = ChannelDistillationLoss()(codes.channel, target.channel)
        assert float(ours["l_channel"]) == pytest.approx(float(channel), rel=1e-4)
        spatial = SpatialDistillationLoss()(codes.spatial, target.spatial)
        assert float(ours["l_spatial"]) == pytest.approx(float(spatial), rel=1e-5)
        assert ("l_pix" in ours) == joint


def test_plain_degradation_is_the_degradation():
    generator = torch.Generator().manual_seed(0)
    u, v, w = torch.rand(3, 5, generator=generator, dtype=torch.float64)
    isotropic = plain.isotropic_kernels(0.2 + 3 * u)
    torch.testing.assert_close(isotropic, isotropic_gaussian_kernels(0.2 + 3 * u).float(), rtol=0, atol=1e-6)
    parameters = (0.3 + 3 * u, 0.3 + 3 * v, math.pi * w)
    kernels = plain.anisotropic_kernels(*parameters)
    torch.testing.assert_close(kernels, anisotropic_gaussian_kernels(*parameters).float(), rtol=0, atol=1e-6)
    gt = torch.randint(0, 256, (5, 2, 3, 48, 40), generator=generator, dtype=torch.uint8)
    difference = (plain.degrade(gt, kernels, 4) - degrade(gt, kernels, None, 4)).abs() * 255
    assert difference.max() < 1.01
    assert (difference > 0.5).float().mean() < 1e-3


def test_inner_steps_agree_and_hold_less():
    section = inner_steps.measure(torch.device("cpu"), 1, 2, 8, num_feat=8)
    held = {(what, way): figure for what, way, *_, figure in section.rows}
    for what in ("adaptation", "meta step"):
        assert held[what, "ours"] < 0.5 * held[what, "graph kept"]


def test_figures():
    assert exponent([1, 2, 4, 8], [3 * x**1.5 for x in (1, 2, 4, 8)]) == pytest.approx(1.5)
    timing = Timing((3.0, 1.0, 2.0))
    assert timing.median == 2.0
    # Turn by turn: what slows a whole turn down slows both.
    assert ratio(Timing((2.0, 20.0, 4.0)), Timing((1.0, 10.0, 1.0))) == 2.0
    calls = []
    times = in_turns({"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}, turns=2, warm_up=1)
    assert calls == ["a", "b"] * 3
    assert {name: len(timing.seconds) for name, timing in times.items()} == {"a": 2, "b": 2}


def test_calibration_error_is_the_distance_to_the_share_of_real_ones():
    is_real = torch.tensor([True, True, False, True] * 5)
    # Three of four are real, and that is what it says.
    assert calibration_error(torch.full((20,), 0.75), is_real) == pytest.approx(0, abs=1e-6)
    assert calibration_error(torch.ones(20), is_real) == pytest.approx(0.25)
    # Sure and right.
    assert calibration_error(is_real.float(), is_real) == pytest.approx(0, abs=1e-6)
    # Two bins: 10 at 0.9 of which 5 are real, 10 at 0.2 of which none is.
    probability = torch.tensor([0.9] * 10 + [0.2] * 10)
    labels = torch.tensor([True, False] * 5 + [False] * 10)
    assert calibration_error(probability, labels) == pytest.approx(0.5 * 0.4 + 0.5 * 0.2, abs=1e-6)


def test_live_bytes_are_those_of_tensors_that_are_in_use():
    with LiveBytes() as live:
        x = torch.ones(1000)
        y = x.view(10, 100) + 1
        del x
        z = y * 2
    # Two of the three at a time; a view is no memory.
    assert (live.now, live.most) == (8000, 8000)
    del y, z
    assert live.now == 0


def test_computing_again_takes_a_third_of_the_memory():
    kept, again, *published = measure(torch.device("cpu"), turns=1, num_feat=8, patch=24).rows
    assert (kept[0], kept[2], again[0]) == ("kept", 1.0, "computed again")
    assert again[1] < kept[1] / 3
    # Of the published size, counted alone.
    assert published[1][1] < published[0][1] / 3
    # The first convolution's result alone, at every step, is more than this.
    assert published[0][1] > 4 * 128 * 64**2 * 4 / 2**20
