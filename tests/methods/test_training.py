"""Every method's training: its phases, and what learns in them."""

from __future__ import annotations

import pytest
import torch

from support.method_cases import ALL
from support.small_models import build, smooth_batch, smooth_batch_of, train
from support.training_cases import TRAININGS


@pytest.mark.parametrize("case", TRAININGS.values(), ids=str)
def test_losses_fall_in_each_phase(case, tmp_path):
    optim = {"type": "Adam", "lr": 3e-3, "weight_decay": 0, "betas": [0.9, 0.99]}
    encoder = 40 if case.encoder_loss else 0
    small_weight = {"type": "L1Loss", "loss_weight": 1.0, "reduction": "mean"}
    model = build(case, tmp_path, encoder, case.falls_within, optim_g=optim, pixel_opt=small_weight)
    logs = train(model, range(1, case.falls_within + 1), lambda _: smooth_batch_of(case))
    for phase in (logs[:encoder], logs[encoder:]):
        if phase and case.encoder_loss:
            series = [log[case.encoder_loss] for log in phase][case.rests :]
            assert sum(series[-5:]) < sum(series[:5])
    assert all("l_pix" not in log for log in logs[:encoder])
    pixels = [log["l_pix"] for log in logs[encoder:]]
    assert sum(pixels[-5:]) < case.falls_to * sum(pixels[:5])


@pytest.mark.parametrize("case", [case for case in ALL if case.encoder_loss], ids=str)
def test_a_phase_touches_and_computes_only_what_learns(case, tmp_path, monkeypatch):
    model = build(case, tmp_path, encoder_iter=2)
    monkeypatch.setattr(model.net_g.sr, "forward", lambda *_: pytest.fail("the SR network ran in the encoder phase"))
    before = {key: value.clone() for key, value in model.net_g.state_dict().items()}

    def changed():
        return {key for key, value in model.net_g.state_dict().items() if not torch.equal(value, before[key])}

    train(model, (1, 2), lambda _: smooth_batch(case.views))
    assert changed()
    assert all(key.startswith(case.learns_first) for key in changed())
    assert all(value.grad is None for value in model.net_g.sr.parameters())
    monkeypatch.undo()
    assert "l_pix" in train(model, [3], lambda _: smooth_batch(case.views))[0]
    assert "sr.head.weight" in changed()


@pytest.mark.parametrize("case", [case for case in ALL if case.teacher], ids=str)
def test_the_teacher_neither_restores_nor_learns(case, tmp_path, monkeypatch):
    model = build(case, tmp_path, encoder_iter=2)
    if not case.teacher_restores:
        monkeypatch.setattr(model.teacher.sr, "forward", lambda *_: pytest.fail("the teacher's SR network ran"))
    before = {key: value.clone() for key, value in model.teacher.state_dict().items()}
    train(model, (1, 2, 3, 4), lambda _: smooth_batch(case.views))
    assert all(torch.equal(value, before[key]) for key, value in model.teacher.state_dict().items())
    assert not model.teacher.training
