from __future__ import annotations

import pytest
import torch
from basicsr.models import build_model

from lightbsr_arch.errors import OptionError
from lightbsr_arch.methods.kdsr import KDSRTeacher
from lightbsr_model.degradation import degrade, isotropic_gaussian_kernels
from lightbsr_model.methods.cdcl import cyclic_shift

from model_options import BASELINES, SMALL_KDSR, STUDENT_NETWORK, TEACHER_NETWORK, baseline_options, model_options


@pytest.fixture
def teacher_file(tmp_path):
    torch.manual_seed(1)
    torch.save({"params": KDSRTeacher(scale=4, **SMALL_KDSR).state_dict()}, tmp_path / "teacher.pth")
    return tmp_path / "teacher.pth"


def _build(name, teacher_file, encoder_iter=None, total_iter=8, **train):
    if encoder_iter is None:
        encoder_iter = BASELINES[name]["train"].get("encoder_iter", 8)
    torch.manual_seed(2)
    options = baseline_options(name, model_options("teacher", TEACHER_NETWORK, encoder_iter, total_iter), teacher_file)
    options["train"].update(train, encoder_iter=encoder_iter)
    return build_model(options)


def _batch(views, count=6, seed=0):
    generator = torch.Generator().manual_seed(seed)
    # Smooth pictures, so that there is something to restore.
    coarse = torch.rand(count, 1, 3, 6, 6, generator=generator).expand(-1, views, -1, -1, -1).flatten(0, 1)
    gt = torch.nn.functional.interpolate(coarse, size=(48, 48), mode="bicubic", align_corners=False).clamp(0, 1)
    return {
        "gt_views": (255 * gt).round().byte().view(count, views, 3, 48, 48),
        "kernel": isotropic_gaussian_kernels(0.2 + 3.5 * torch.rand(count, generator=generator)),
        "noise_level": torch.zeros(count),
        "gt_path": ["a"] * count,
    }


def _train(model, views, iterations):
    logs = []
    for iteration in iterations:
        model.update_learning_rate(iteration)
        model.feed_data(_batch(views))
        model.optimize_parameters(iteration)
        logs.append(dict(model.get_current_log()))
    return logs


@pytest.mark.parametrize("name", sorted(BASELINES))
def test_losses_fall_in_both_phases(name, teacher_file):
    optim = {"type": "Adam", "lr": 3e-3, "weight_decay": 0, "betas": [0.9, 0.99]}
    encoder = 0 if name == "KDSR teacher" else 40
    model = _build(name, teacher_file, encoder, 100, optim_g=optim)
    logs = _train(model, BASELINES[name]["views"], range(1, 101))
    own = {"KDSR student": "l_channel", "KDSR teacher": None}.get(name, "l_contrast")
    for phase in (logs[:encoder], logs[encoder:]):
        if phase and own:
            # The contrast of MoCo grows while the queue fills with keys that are like each other.
            series = [log[own] for log in phase][16 if name == "DASR" else 0 :]
            assert sum(series[-5:]) < sum(series[:5]), own
    assert all("l_pix" not in log for log in logs[:encoder])
    pixels = [log["l_pix"] for log in logs[encoder:]]
    assert sum(pixels[-5:]) < 0.8 * sum(pixels[:5])


@pytest.mark.parametrize("name", ["DASR", "CdCL", "KDSR student"])
def test_encoder_phase_touches_and_computes_only_what_learns(name, teacher_file, monkeypatch):
    model = _build(name, teacher_file)
    monkeypatch.setattr(model.net_g.sr, "forward", lambda *_: pytest.fail("the SR network ran in the encoder phase"))
    before = {key: value.clone() for key, value in model.net_g.state_dict().items()}
    _train(model, BASELINES[name]["views"], (1, 2))
    after = model.net_g.state_dict()
    changed = {key for key in after if not torch.equal(after[key], before[key])}
    learning = {"DASR": "momentum_contrast.", "CdCL": "contrast.", "KDSR student": "estimator."}[name]
    assert changed
    assert all(key.startswith(learning) for key in changed)


def test_cyclic_shift_gives_each_degradation_different_pictures():
    gt = torch.arange(6)[:, None] * 10 + torch.arange(4)
    generator = torch.Generator().manual_seed(0)
    shifted = cyclic_shift(gt, generator)
    assert torch.equal(shifted[:, 0], gt[:, 0])
    assert torch.equal(shifted % 10, gt % 10)  # a view stays a view
    for row in shifted // 10:
        assert len(set(row.tolist())) == 4
    for view in range(4):
        assert sorted((shifted[:, view] // 10).tolist()) == list(range(6))
    assert not torch.equal(cyclic_shift(gt, generator), shifted)
    assert torch.equal(cyclic_shift(gt, torch.Generator().manual_seed(0)), shifted)
    assert torch.equal(cyclic_shift(gt[:1], generator), gt[:1])


def test_cdcl_degrades_shifted_views_by_the_samples_own_kernel(teacher_file):
    model = _build("CdCL", teacher_file)
    batch = _batch(4)
    batch["gt_views"] = torch.randint(
        0, 256, batch["gt_views"].shape, generator=torch.Generator().manual_seed(1)
    ).byte()
    model.update_learning_rate(3)
    model.feed_data(batch)
    lq = model.batch.views
    for view in range(1, 4):
        matches = []
        for sample in range(6):
            for source in range(6):
                expected = degrade(
                    batch["gt_views"][source : source + 1, view : view + 1],
                    batch["kernel"][sample : sample + 1],
                    None,
                    4,
                )
                if torch.allclose(lq[sample, view], expected[0, 0], atol=1e-3):
                    matches.append((sample, source))
        assert len(matches) == 6
        assert all(sample != source for sample, source in matches)
    torch.testing.assert_close(model.gt, batch["gt_views"][:, 0] / 255)
    still = _build("CdCL", teacher_file, cyclic_shift=False)
    still.feed_data(batch)
    torch.testing.assert_close(still.batch.views, degrade(batch["gt_views"], batch["kernel"], None, 4))
    with pytest.raises(OptionError, match=r"train\.cyclic_shift: needs images that are degraded in the model"):
        model.feed_data({"views": torch.rand(2, 4, 3, 8, 8), "gt": torch.rand(2, 3, 32, 32)})


def test_one_degradation_a_batch(teacher_file):
    model = _build("KDSR teacher", teacher_file)
    model.degrader.per_batch = True
    batch = _batch(1)
    model.feed_data(batch)
    expected = degrade(batch["gt_views"], batch["kernel"][:1].expand(6, -1, -1), None, 4)
    torch.testing.assert_close(model.lq, expected[:, 0])


def test_kdsr_student_starts_from_the_teachers_sr_network(teacher_file):
    model = _build("KDSR student", teacher_file)
    student, teacher = model.net_g.state_dict(), model.teacher.state_dict()
    assert all(torch.equal(student[key], teacher[key]) for key in student if key.startswith("sr."))
    # Its estimator starts anew, biases and weights.
    assert not any(torch.equal(student[key], teacher[key]) for key in student if key.startswith("estimator."))


def test_teachers_are_validated_with_what_they_see(teacher_file):
    model = _build("KDSR teacher", teacher_file)
    lq, gt = torch.rand(1, 3, 8, 8), torch.rand(1, 3, 32, 32)
    model.feed_data({"lq": lq, "gt": gt})
    model.test()
    assert torch.equal(model.output, model.net_g.eval()(lq, gt))
    model.feed_data({"lq": lq})
    with pytest.raises(OptionError, match="sees the GT image"):
        model.test()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"network_g": {"type": "KDSR", "scale": 4, "num_feat": 16, "num_block": 2}},
            "num_feat: teacher 8, student 16",
        ),
        ({"network_g": {"type": "KDSR", "scale": 4, **SMALL_KDSR, "num_block": 3}}, "num_block: teacher 2, student 3"),
        ({"network_g": STUDENT_NETWORK}, "expected LightBSRTeacher, got 'KDSRTeacher'|is the checkpoint of another"),
        ({"network_g": BASELINES["DASR"]["network_g"]}, "expected LightBSR or KDSR as the student .* got 'DASR'"),
    ],
)
def test_student_that_does_not_fit_is_explained(teacher_file, change, message):
    options = baseline_options("KDSR student", model_options("teacher", TEACHER_NETWORK, 8), teacher_file)
    with pytest.raises(OptionError, match=message):
        build_model({**options, **change})


def test_estimators_of_other_depth_fit(teacher_file):
    options = baseline_options("KDSR student", model_options("teacher", TEACHER_NETWORK, 8), teacher_file)
    options["network_g"]["num_encoder_block"] = 3
    assert build_model(options).net_g.options["num_encoder_block"] == 3


def test_kdsr_teacher_has_no_encoder_phase(teacher_file):
    model = _build("KDSR teacher", teacher_file, encoder_iter=3)
    assert [phase.iterations for phase in model.phases] == [None]
    assert _train(model, 1, [1])[0].keys() == {"l_pix"}
