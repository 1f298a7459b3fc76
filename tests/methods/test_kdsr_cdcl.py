"""What is particular about the trainings of CdCL and KDSR."""

from __future__ import annotations

import pytest
import torch
from basicsr.models import build_model

from lightbsr_arch.errors import OptionError
from lightbsr_model.degradation import degrade
from lightbsr_model.methods.cdcl import cyclic_shift

from support.method_cases import CASES
from support.model_options import STUDENT_NETWORK
from support.small_models import build, options_of, smooth_batch, train

KDSR, KDSR_TEACHER = CASES["KDSR"], CASES["KDSRTeacher"]


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


def test_cdcl_degrades_shifted_views_by_the_samples_own_kernel(tmp_path):
    model = build(CASES["CdCL"], tmp_path)
    batch = smooth_batch(4)
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
    still = build(CASES["CdCL"], tmp_path, cyclic_shift=False)
    still.feed_data(batch)
    torch.testing.assert_close(still.batch.views, degrade(batch["gt_views"], batch["kernel"], None, 4))
    with pytest.raises(OptionError, match=r"train\.cyclic_shift: needs images that are degraded in the model"):
        model.feed_data({"views": torch.rand(2, 4, 3, 8, 8), "gt": torch.rand(2, 3, 32, 32)})


def test_one_degradation_a_batch(tmp_path):
    model = build(KDSR_TEACHER, tmp_path)
    model.degrader.per = "batch"
    batch = smooth_batch(1)
    model.feed_data(batch)
    expected = degrade(batch["gt_views"], batch["kernel"][:1].expand(6, -1, -1), None, 4)
    torch.testing.assert_close(model.lq, expected[:, 0])


def test_kdsr_student_starts_from_the_teachers_sr_network(tmp_path):
    model = build(KDSR, tmp_path)
    student, teacher = model.net_g.state_dict(), model.teacher.state_dict()
    assert all(torch.equal(student[key], teacher[key]) for key in student if key.startswith("sr."))
    # Its estimator starts anew, biases and weights.
    assert not any(torch.equal(student[key], teacher[key]) for key in student if key.startswith("estimator."))


def test_teachers_are_validated_with_what_they_see(tmp_path):
    model = build(KDSR_TEACHER, tmp_path)
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
        ({"network_g": {**KDSR.options(), "num_feat": 16}}, "num_feat: teacher 8, student 16"),
        ({"network_g": {**KDSR.options(), "num_block": 3}}, "num_block: teacher 2, student 3"),
        ({"network_g": {**KDSR.options(), "image_skip": True}}, "image_skip: teacher False, student True"),
        ({"network_g": {**KDSR.options(), "tail_activation": "lr"}}, "tail_activation: teacher None, student lr"),
        ({"network_g": STUDENT_NETWORK}, "expected LightBSRTeacher, got 'KDSRTeacher'|is the checkpoint of another"),
        ({"network_g": CASES["DASR"].options()}, "expected LightBSR, KDSR, MRDA or .* as the student .* got 'DASR'"),
    ],
)
def test_student_that_does_not_fit_is_explained(tmp_path, change, message):
    options = options_of(KDSR, tmp_path)
    with pytest.raises(OptionError, match=message):
        build_model({**options, **change})


def test_estimators_of_other_depth_fit(tmp_path):
    options = options_of(KDSR, tmp_path)
    options["network_g"]["num_encoder_block"] = 3
    assert build_model(options).net_g.options["num_encoder_block"] == 3


def test_kdsr_teacher_has_no_encoder_phase(tmp_path):
    model = build(KDSR_TEACHER, tmp_path, encoder_iter=3)
    assert [phase.iterations for phase in model.phases] == [None]
    assert train(model, [1], lambda _: smooth_batch(1))[0].keys() == {"l_pix"}
