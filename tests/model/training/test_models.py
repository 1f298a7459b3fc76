from __future__ import annotations

from functools import partial

import pytest
import torch
from basicsr.models import build_model

from lightbsr_arch.errors import MissingFileError, OptionError
from lightbsr_model.degradation import degrade, get_degradation, isotropic_gaussian_kernels

from support.method_cases import CASES
from support.small_models import build, noise_batch, options_of, train

TEACHER, STUDENT = CASES["LightBSRTeacher"], CASES["LightBSR"]


@pytest.fixture
def student(tmp_path):
    """Builds a student's model, some options changed."""

    def built(changes=None, teacher=None, **train):
        opt = {**options_of(STUDENT, tmp_path, encoder_iter=2), **(changes or {})}
        opt["teacher"].update(teacher or {})
        opt["train"].update(train)
        torch.manual_seed(2)
        return build_model(opt)

    return built


def test_student_starts_from_the_teacher(student):
    model = student()
    own, teacher = model.net_g.state_dict(), model.teacher.state_dict()
    for key, value in own.items():
        theirs = teacher[
            key.replace("encoder.", "momentum_contrast.query.encoder.", 1) if key.startswith("encoder.") else key
        ]
        if key == "encoder.layers.0.weight":
            assert not torch.equal(value, theirs[:, :3])
        elif key != "encoder.layers.0.bias":
            assert torch.equal(value, theirs), key
    assert float(own["encoder.layers.1.running_mean"].abs().sum()) > 0


def test_student_starts_from_a_checkpoint_or_anew_where_told(student, tmp_path):
    fresh = student(teacher={"start_student": False})
    assert not torch.equal(fresh.net_g.sr.head.weight, fresh.teacher.sr.head.weight)
    torch.save({"params": fresh.net_g.state_dict()}, tmp_path / "student.pth")
    again = student({"path": {"pretrain_network_g": str(tmp_path / "student.pth")}})
    assert torch.equal(again.net_g.sr.head.weight, fresh.net_g.sr.head.weight)


def test_batch_is_degraded_on_the_device_and_the_same_after_a_resume(student):
    model = student()
    model.degrader.degradation = get_degradation("setting1_x4", {"noise_level": [0, 25]})
    batch = {**noise_batch(1), "noise_level": torch.full((4,), 9.0)}
    images = []
    for iteration in (7, 8, 7):
        model.update_learning_rate(iteration)
        model.feed_data(batch)
        images.append(model.lq)
    assert torch.equal(images[0], images[2])
    assert not torch.equal(images[0], images[1])
    model.feed_data(batch)  # the second part of iteration 7
    assert not torch.equal(model.lq, images[0])
    torch.testing.assert_close(model.gt, batch["gt_views"][:, 0] / 255)
    model.degrader.degradation = get_degradation("setting1_x4")
    model.feed_data(noise_batch(1))
    torch.testing.assert_close(model.lq, degrade(noise_batch(1)["gt_views"], noise_batch(1)["kernel"], None, 4)[:, 0])


def test_ema_copies_batchnorm_statistics(student):
    model = student(ema_decay=0.5)
    before = model.net_g.sr.head.weight.detach().clone()
    train(model, (1, 2, 3), partial(noise_batch, 1))
    ema, net = model.net_g_ema.state_dict(), model.net_g.state_dict()
    assert torch.equal(ema["encoder.layers.1.running_mean"], net["encoder.layers.1.running_mean"])
    # The head rested for two iterations and moved in the third.
    torch.testing.assert_close(ema["sr.head.weight"], 0.5 * before + 0.5 * net["sr.head.weight"])


def test_validation_data_without_gt_do_not_keep_the_training_gt(student):
    model = student()
    model.feed_data(noise_batch(1))
    model.feed_data({"lq": torch.rand(1, 3, 8, 8)})
    assert not hasattr(model, "gt")


def test_teacher_is_validated_with_the_true_kernel(tmp_path):
    model = build(TEACHER, tmp_path)
    lq, kernel = torch.rand(1, 3, 8, 8), isotropic_gaussian_kernels(torch.tensor([2.0]))
    model.feed_data({"lq": lq, "kernel": kernel, "noise_level": torch.zeros(1)})
    model.test()
    expected = model.net_g.eval()(lq, model.net_g.degradation_prior(kernel))
    assert torch.equal(model.output, expected)
    assert not model.output.requires_grad
    model.feed_data({"lq": lq})
    with pytest.raises(OptionError, match="true kernel"):
        model.test()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"path": "/nowhere.pth"}, "teacher.path: no such checkpoint: /nowhere.pth.*train_teacher.yml"),
        ({"path": None}, "`network`.*`path`"),
        ({"network": TEACHER.options(scale=2)}, "scale: 4 in the file, 2 in teacher.network"),
        ({"network": {**TEACHER.options(), "prior_channels": 18}}, "prior_channels: 15 in the file, 18 in"),
        (
            {"network": {**TEACHER.options(), "num_block": 1, "num_feat": 12}},
            "num_feat: 8 in the file, 12 .*num_block: 2 in the file, 1",
        ),
        ({"network": STUDENT.options()}, "expected LightBSRTeacher, got 'LightBSR'"),
    ],
)
def test_teacher_that_does_not_fit_is_explained(student, change, message):
    with pytest.raises(OptionError, match=message) as caught:
        student(teacher=change)
    assert isinstance(caught.value, MissingFileError) == (change.get("path") == "/nowhere.pth")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"network_g": {**STUDENT.options(scale=2), "num_block": 3}},
            "scale: teacher 4, student 2; num_block: teacher 2",
        ),
        ({"network_g": {**STUDENT.options(), "num_channel_code": 5}}, "num_channel_code: teacher 6, student 5"),
        ({"datasets": {"train": {"scale": 4, "preset": "setting2_x4"}}}, "prior has 0 noise channels.*have noise"),
    ],
)
def test_student_or_data_that_do_not_fit_are_explained(student, change, message):
    with pytest.raises(OptionError, match=message):
        student(change)


def test_students_checkpoint_as_teacher_is_explained(student, tmp_path):
    torch.save({"params": student().net_g.state_dict()}, tmp_path / "student.pth")
    with pytest.raises(OptionError, match="is a student's checkpoint"):
        student(teacher={"path": str(tmp_path / "student.pth")})


@pytest.mark.parametrize(
    ("train", "message"),
    [
        ({"encoder_iter": 9}, "encoder_iter: .*got 9"),
        ({"encoder_iter": None}, "encoder_iter"),
        ({"contrastive_opt": None}, "contrastive_opt"),
    ],
)
def test_training_options_that_do_not_fit(tmp_path, train, message):
    opt = options_of(TEACHER, tmp_path)
    opt["train"].update(train)
    with pytest.raises(OptionError, match=message):
        build_model(opt)
