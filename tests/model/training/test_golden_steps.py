"""The recorded optimiser steps come out of the real model classes."""

from __future__ import annotations

import pytest
import torch
from basicsr.models import build_model

from lightbsr_arch import convert_published_state_dict
from lightbsr_arch.layers.degradation_prior import kernel_pca_basis

from support.model_options import model_options
from support.published import published_state_dict

TEACHER = {"type": "LightBSRTeacher", "scale": 4, "prior_channels": 15}


@pytest.fixture(scope="module")
def teacher_file(tmp_path_factory):
    state_dict = convert_published_state_dict(published_state_dict("teacher", gain=0.7), prior_basis=kernel_pca_basis())
    path = tmp_path_factory.mktemp("teacher") / "teacher.pth"
    torch.save({"params": state_dict}, path)
    return path


def _check_steps(model, kind, phase, columns, data):
    # The recording has Adam's full rate at every step.
    for group in model.optimizer_g.param_groups:
        group["lr"] = 2e-4
    for number in range(4):
        prefix = f"{kind}_steps_{number}"
        batch = {key: data[f"{prefix}_{key}"] for key in ("lq", "prior", "gt")}
        lq = batch.pop("lq")
        batch["views" if lq.dim() == 5 else "lq"] = lq
        model.feed_data(batch)
        model.optimize_parameters(number + 1)
        expected = data[f"{kind}_steps_{phase}_{columns}"][number]
        losses = list(model.get_current_log().values())
        assert len(losses) == len(expected) - (phase == "encoder")
        actual = torch.tensor(losses, dtype=torch.float64)
        torch.testing.assert_close(actual, expected[: len(losses)], rtol=1e-5 if number == 0 else 1e-3, atol=0)


FAST = {"channels_last": True, "fused": True}
"""The recipes' defaults."""


def _switch_on(opt, switches):
    switches = dict(switches)
    opt["train"]["optim_g"]["fused"] = switches.pop("fused", False)
    opt["train"].update(switches)


@pytest.mark.parametrize(("phase", "switches"), [("encoder", {}), ("joint", {}), ("encoder", FAST), ("joint", FAST)])
def test_teacher(golden, teacher_file, phase, switches):
    opt = model_options("teacher", TEACHER, encoder_iter=4 if phase == "encoder" else 0)
    _switch_on(opt, switches)
    opt["path"]["pretrain_network_g"] = str(teacher_file)
    _check_steps(build_model(opt), "teacher", phase, "contrast_pixel255", golden("steps"))


@pytest.mark.parametrize(("phase", "switches"), [("encoder", {}), ("joint", {}), ("encoder", FAST), ("joint", FAST)])
def test_student(golden, teacher_file, phase, switches):
    opt = model_options("student", {"type": "LightBSR", "scale": 4}, encoder_iter=4 if phase == "encoder" else 0)
    _switch_on(opt, switches)
    opt["teacher"] = {"network": TEACHER, "path": str(teacher_file)}
    model = build_model(opt)
    own = convert_published_state_dict(published_state_dict("student", gain=0.7))
    first = model.net_g.encoder.layers[0]
    assert not torch.equal(first.weight, model.teacher.encoder.layers[0].weight[:, :3])
    with torch.no_grad():
        first.weight.copy_(own["encoder.layers.0.weight"])
        first.bias.copy_(own["encoder.layers.0.bias"])
    _check_steps(model, "student", phase, "channel_spatial_pixel255", golden("steps"))
