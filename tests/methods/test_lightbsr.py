from __future__ import annotations

import pytest
import torch

from lightbsr_arch import LightBSR, LightBSRTeacher, convert_published_state_dict

from support.helpers import TINY, assert_close_to_reference
from support.published import published_state_dict


@pytest.mark.parametrize("size", ["16x16", "15x22"])
def test_student_equals_published(golden, size):
    net = LightBSR(scale=4).eval()
    net.load_state_dict(convert_published_state_dict(published_state_dict("student")))
    data = golden("student")
    with torch.no_grad():
        lq = data[f"student_x4_{size}_lq"]
        codes = net.encode(lq)
        sr = net(lq)
        again = net.restore(lq, codes)
    assert_close_to_reference(codes.channel, data[f"student_x4_{size}_ca"])
    assert_close_to_reference(codes.spatial, data[f"student_x4_{size}_xk"])
    assert_close_to_reference(sr, data[f"student_x4_{size}_sr"])
    assert torch.equal(sr, again)


@pytest.mark.parametrize(("setting", "prior_channels"), [("iso", 15), ("aniso", 18)])
def test_teacher_equals_published(golden, setting, prior_channels):
    net = LightBSRTeacher(scale=4, prior_channels=prior_channels).eval()
    net.load_state_dict(convert_published_state_dict(published_state_dict("teacher", prior_channels=prior_channels)))
    data = golden("teacher")
    lq, prior = data[f"teacher_{setting}_lq"][:, 0], data[f"teacher_{setting}_prior"]
    with torch.no_grad():
        codes = net.encode(lq, prior)
        sr = net(lq, prior)
    assert_close_to_reference(codes.channel, data[f"teacher_{setting}_eval_ca"])
    assert_close_to_reference(codes.spatial, data[f"teacher_{setting}_eval_xk"])
    assert_close_to_reference(sr, data[f"teacher_{setting}_eval_sr"])


def test_published_sizes():
    student = sum(value.numel() for value in LightBSR().parameters())
    teacher = sum(value.numel() for value in LightBSRTeacher().parameters() if value.requires_grad)
    assert student == 3_259_971 - 24  # less the mean values, which are constants here
    assert teacher == 3_297_291


def test_encoding_needs_no_sr_network():
    student = LightBSR(**TINY).eval()
    teacher = LightBSRTeacher(queue_size=8, **TINY).eval()
    del student.sr, teacher.sr
    lq = torch.rand(2, 3, 8, 8)
    assert student.encode(lq).channel.shape == (2, 6)
    assert teacher.encode(lq, torch.rand(2, 15)).channel.shape == (2, 6)
    assert teacher.contrast(torch.rand(2, 2, 3, 8, 8), torch.rand(2, 15))[0].shape == (2, 16, 2, 2)


def test_state_dict_holds_basis_and_queue():
    state_dict = LightBSRTeacher(prior_channels=18, queue_size=8, **TINY).state_dict()
    assert state_dict["prior_basis"].shape == (441, 15)
    assert state_dict["momentum_contrast.queue"].shape == (16, 8)
    assert int(state_dict["momentum_contrast.queue_pointer"]) == 0


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"scale": 5}, "scale"),
        ({"num_spatial_feat": 64}, "num_spatial_feat"),
        ({"num_encoder_feat": 30}, "num_encoder_feat"),
    ],
)
def test_sizes_that_do_not_fit_are_named(arguments, named):
    with pytest.raises(ValueError, match=named):
        LightBSR(**arguments)


def test_prior_of_another_length_is_refused():
    teacher = LightBSRTeacher(prior_channels=18, queue_size=8, **TINY)
    with pytest.raises(ValueError, match=r"\(2, 18\), got \(2, 15\)"):
        teacher.encode(torch.rand(2, 3, 8, 8), torch.rand(2, 15))
