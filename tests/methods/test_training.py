"""Every method's training: its phases, and what learns in them."""

from __future__ import annotations

import pytest
import torch
from basicsr.models import build_model

from lightbsr_model.degradation import isotropic_gaussian_kernels

from support.method_cases import ALL
from support.model_options import TEACHER_NETWORK, model_options


def build(case, folder, encoder_iter=8, total_iter=8, **train):
    """A model of a case; a teacher that it needs is written to a folder."""
    teacher_file = case.save_teacher(folder)
    opt = case.apply(model_options("teacher", TEACHER_NETWORK, encoder_iter, total_iter), teacher_file)
    opt["train"].update(train)
    torch.manual_seed(2)
    return build_model(opt)


def batch_of(views, count=6, seed=0):
    """Smooth images, so that there is something to restore."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(count, 1, 3, 6, 6, generator=generator).expand(-1, views, -1, -1, -1).flatten(0, 1)
    gt = torch.nn.functional.interpolate(coarse, size=(48, 48), mode="bicubic", align_corners=False).clamp(0, 1)
    return {
        "gt_views": (255 * gt).round().byte().view(count, views, 3, 48, 48),
        "kernel": isotropic_gaussian_kernels(0.2 + 3.5 * torch.rand(count, generator=generator)),
        "noise_level": torch.zeros(count),
        "gt_path": ["a"] * count,
    }


def train(model, views, iterations):
    """Train on the same batch; the losses of each iteration."""
    logs = []
    for iteration in iterations:
        model.update_learning_rate(iteration)
        model.feed_data(batch_of(views))
        model.optimize_parameters(iteration)
        logs.append(dict(model.get_current_log()))
    return logs


@pytest.mark.parametrize("case", ALL, ids=str)
def test_losses_fall_in_each_phase(case, tmp_path):
    optim = {"type": "Adam", "lr": 3e-3, "weight_decay": 0, "betas": [0.9, 0.99]}
    encoder = 40 if case.encoder_loss else 0
    small_weight = {"type": "L1Loss", "loss_weight": 1.0, "reduction": "mean"}
    model = build(case, tmp_path, encoder, 100, optim_g=optim, pixel_opt=small_weight)
    logs = train(model, case.views, range(1, 101))
    for phase in (logs[:encoder], logs[encoder:]):
        if phase and case.encoder_loss:
            series = [log[case.encoder_loss] for log in phase][case.rests :]
            assert sum(series[-5:]) < sum(series[:5])
    assert all("l_pix" not in log for log in logs[:encoder])
    pixels = [log["l_pix"] for log in logs[encoder:]]
    assert sum(pixels[-5:]) < 0.8 * sum(pixels[:5])


@pytest.mark.parametrize("case", [case for case in ALL if case.encoder_loss], ids=str)
def test_a_phase_touches_and_computes_only_what_learns(case, tmp_path, monkeypatch):
    model = build(case, tmp_path, encoder_iter=2)
    monkeypatch.setattr(model.net_g.sr, "forward", lambda *_: pytest.fail("the SR network ran in the encoder phase"))
    before = {key: value.clone() for key, value in model.net_g.state_dict().items()}

    def changed():
        return {key for key, value in model.net_g.state_dict().items() if not torch.equal(value, before[key])}

    train(model, case.views, (1, 2))
    assert changed()
    assert all(key.startswith(case.learns_first) for key in changed())
    assert all(value.grad is None for value in model.net_g.sr.parameters())
    monkeypatch.undo()
    assert "l_pix" in train(model, case.views, [3])[0]
    assert "sr.head.weight" in changed()


@pytest.mark.parametrize("case", [case for case in ALL if case.teacher], ids=str)
def test_the_teacher_neither_restores_nor_learns(case, tmp_path, monkeypatch):
    model = build(case, tmp_path, encoder_iter=2)
    monkeypatch.setattr(model.teacher.sr, "forward", lambda *_: pytest.fail("the teacher's SR network ran"))
    before = {key: value.clone() for key, value in model.teacher.state_dict().items()}
    train(model, case.views, (1, 2, 3, 4))
    assert all(torch.equal(value, before[key]) for key, value in model.teacher.state_dict().items())
    assert not model.teacher.training
