from __future__ import annotations

import pytest
import torch

from lightbsr_arch import LightBSRTeacher, convert_published_state_dict, infer_options
from lightbsr_arch.weights.checkpoints import load_state_dict

from support.published import published_state_dict


def test_sizes_are_read_off_the_state_dict():
    student = infer_options(convert_published_state_dict(published_state_dict("student")))
    assert student == {
        "type": "LightBSR", "scale": 4, "num_feat": 64, "num_group": 8, "num_block": 8, "num_spatial_feat": 16,
        "num_channel_code": 48, "num_encoder_feat": 32, "image_skip": False, "tail_activation": None,
    }  # fmt: skip
    teacher = infer_options(convert_published_state_dict(published_state_dict("teacher", prior_channels=18)))
    assert {key: teacher[key] for key in ("type", "prior_channels", "prior_components", "queue_size")} == {
        "type": "LightBSRTeacher", "prior_channels": 18, "prior_components": 15, "queue_size": 8192,
    }  # fmt: skip


def _broken(change):
    state_dict = published_state_dict("student")
    change(state_dict)
    return state_dict


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ([1, 2], "expected a state dict"),
        ({}, "empty"),
        ({"epoch": 3}, "pass the state dict itself"),
        ({"conv.weight": torch.rand(3)}, "1 unknown keys"),
        (_broken(lambda s: s.pop("G.head.0.weight")), "no 'sr.head.weight'"),
        (_broken(lambda s: s.pop("G.body.3.body.2.dwconv.bias")), "1 values missing"),
        (_broken(lambda s: s.update({"G.body.3.body.2.dwconv.bias": torch.rand(65)})), "1 values of another shape"),
        (_broken(lambda s: s.update({"G.sub_mean.bias": torch.zeros(3)})), "another mean"),
        (_broken(lambda s: s.update({"G.other.weight": torch.zeros(3)})), "1 unknown keys"),
    ],
)
def test_anything_else_is_refused_with_a_reason(content, reason):
    with pytest.raises(ValueError, match=reason):
        convert_published_state_dict(content)


def test_teacher_without_its_basis_refuses_to_make_priors():
    published = published_state_dict("teacher")
    net = LightBSRTeacher()
    net.load_state_dict(convert_published_state_dict(published))
    with pytest.raises(ValueError, match="prior_basis"):
        net.degradation_prior(torch.rand(1, 21, 21))
    basis = torch.linalg.qr(torch.rand(441, 15)).Q
    net.load_state_dict(convert_published_state_dict(published, prior_basis=basis))
    kernel = torch.rand(2, 21, 21)
    torch.testing.assert_close(net.degradation_prior(kernel), kernel.flatten(1) @ basis)
    with pytest.raises(ValueError, match="only a teacher"):
        convert_published_state_dict(published_state_dict("student"), prior_basis=basis)


def test_checkpoint_files(tmp_path):
    published = published_state_dict("student")
    ours = convert_published_state_dict(published)
    torch.save(published, tmp_path / "published.pth")
    torch.save(
        {"params": ours, "params_ema": {key: value + 1 for key, value in ours.items()}}, tmp_path / "basicsr.pth"
    )
    (tmp_path / "cut.pth").write_bytes((tmp_path / "published.pth").read_bytes()[:5000])
    key = "sr.head.weight"
    assert torch.equal(load_state_dict(tmp_path / "published.pth")[key], ours[key])
    assert torch.equal(load_state_dict(tmp_path / "basicsr.pth")[key], ours[key] + 1)
    assert torch.equal(load_state_dict(tmp_path / "basicsr.pth", "params")[key], ours[key])
    with pytest.raises(ValueError, match=r"cut\.pth"):
        load_state_dict(tmp_path / "cut.pth")
    with pytest.raises(FileNotFoundError, match=r"none\.pth"):
        load_state_dict(tmp_path / "none.pth")
