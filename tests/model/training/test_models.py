from __future__ import annotations

import pytest
import torch
from basicsr.models import build_model

from lightbsr_arch import LightBSRTeacher
from lightbsr_arch.errors import MissingFileError, OptionError
from lightbsr_model.degradation import degrade, get_degradation, isotropic_gaussian_kernels

from support.model_options import STUDENT_NETWORK, TEACHER_NETWORK, model_options


def _batch(views, seed=0, count=4):
    generator = torch.Generator().manual_seed(seed)
    return {
        "gt_views": torch.randint(0, 256, (count, views, 3, 32, 32), generator=generator).byte(),
        "kernel": isotropic_gaussian_kernels(0.2 + 3 * torch.rand(count, generator=generator)),
        "noise_level": torch.zeros(count),
        "gt_path": ["a"] * count,
    }


@pytest.fixture
def teacher_file(tmp_path):
    torch.manual_seed(1)
    options = {key: value for key, value in TEACHER_NETWORK.items() if key != "type"}
    teacher = LightBSRTeacher(**options)
    # BatchNorm statistics of its own, so that forgetting to copy them shows.
    teacher.encoder(torch.rand(2, 18, 8, 8))
    torch.save({"params": teacher.state_dict()}, tmp_path / "teacher.pth")
    return tmp_path / "teacher.pth"


def _build(kind, teacher_file=None, encoder_iter=2, **train):
    torch.manual_seed(2)
    opt = model_options(kind, TEACHER_NETWORK if kind == "teacher" else STUDENT_NETWORK, encoder_iter)
    opt["train"].update(train)
    if kind == "student":
        opt["teacher"] = {"network": TEACHER_NETWORK, "path": str(teacher_file)}
    return build_model(opt)


def _step(model, iteration, views):
    model.update_learning_rate(iteration)
    model.feed_data(_batch(views, iteration))
    model.optimize_parameters(iteration)


def _changed(before, after):
    return {key for key, value in after.items() if not torch.equal(value, before[key])}


def test_student_starts_from_the_teacher(teacher_file):
    model = _build("student", teacher_file)
    student, teacher = model.net_g.state_dict(), model.teacher.state_dict()
    for key, value in student.items():
        theirs = teacher[
            key.replace("encoder.", "momentum_contrast.query.encoder.", 1) if key.startswith("encoder.") else key
        ]
        if key == "encoder.layers.0.weight":
            assert not torch.equal(value, theirs[:, :3])
        elif key != "encoder.layers.0.bias":
            assert torch.equal(value, theirs), key
    assert float(student["encoder.layers.1.running_mean"].abs().sum()) > 0


def test_student_starts_from_a_checkpoint_or_anew_where_told(teacher_file, tmp_path):
    opt = model_options("student", STUDENT_NETWORK, 2)
    opt["teacher"] = {"network": TEACHER_NETWORK, "path": str(teacher_file), "start_student": False}
    fresh = build_model(opt)
    assert not torch.equal(fresh.net_g.sr.head.weight, fresh.teacher.sr.head.weight)
    torch.save({"params": fresh.net_g.state_dict()}, tmp_path / "student.pth")
    opt = model_options("student", STUDENT_NETWORK, 2)
    opt["teacher"] = {"network": TEACHER_NETWORK, "path": str(teacher_file)}
    opt["path"]["pretrain_network_g"] = str(tmp_path / "student.pth")
    assert torch.equal(build_model(opt).net_g.sr.head.weight, fresh.net_g.sr.head.weight)


def test_batch_is_degraded_on_the_device_and_the_same_after_a_resume(teacher_file):
    model = _build("student", teacher_file)
    model.degrader.degradation = get_degradation("setting1_x4", {"noise_level": [0, 25]})
    batch = {**_batch(1), "noise_level": torch.full((4,), 9.0)}
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
    model.feed_data(_batch(1))
    torch.testing.assert_close(model.lq, degrade(_batch(1)["gt_views"], _batch(1)["kernel"], None, 4)[:, 0])


def test_ema_copies_batchnorm_statistics(teacher_file):
    model = _build("student", teacher_file, ema_decay=0.5)
    before = model.net_g.sr.head.weight.detach().clone()
    for iteration in (1, 2, 3):
        _step(model, iteration, 1)
    ema, net = model.net_g_ema.state_dict(), model.net_g.state_dict()
    assert torch.equal(ema["encoder.layers.1.running_mean"], net["encoder.layers.1.running_mean"])
    # The head rested for two iterations and moved in the third.
    torch.testing.assert_close(ema["sr.head.weight"], 0.5 * before + 0.5 * net["sr.head.weight"])


def test_validation_data_without_gt_do_not_keep_the_training_gt(teacher_file):
    model = _build("student", teacher_file)
    model.feed_data(_batch(1))
    model.feed_data({"lq": torch.rand(1, 3, 8, 8)})
    assert not hasattr(model, "gt")


def test_teacher_is_validated_with_the_true_kernel():
    model = _build("teacher")
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
    ("change", "error", "message"),
    [
        (
            {"path": "/nowhere.pth"},
            MissingFileError,
            "teacher.path: no such checkpoint: /nowhere.pth.*train_teacher.yml",
        ),
        ({"path": None}, OptionError, "`network`.*`path`"),
        ({"network": {**TEACHER_NETWORK, "scale": 2}}, OptionError, "scale: 4 in the file, 2 in teacher.network"),
        ({"network": {**TEACHER_NETWORK, "prior_channels": 18}}, OptionError, "prior_channels: 15 in the file, 18 in"),
        (
            {"network": {**TEACHER_NETWORK, "num_block": 1, "num_feat": 12}},
            OptionError,
            "num_feat: 8 in the file, 12 .*num_block: 2 in the file, 1",
        ),
        ({"network": STUDENT_NETWORK}, OptionError, "expected LightBSRTeacher, got 'LightBSR'"),
    ],
)
def test_teacher_that_does_not_fit_is_explained(teacher_file, change, error, message):
    opt = model_options("student", STUDENT_NETWORK, 2)
    opt["teacher"] = {"network": TEACHER_NETWORK, "path": str(teacher_file), **change}
    with pytest.raises(error, match=message):
        build_model(opt)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"network_g": {**STUDENT_NETWORK, "num_block": 3, "scale": 2}},
            "scale: teacher 4, student 2; num_block: teacher 2",
        ),
        ({"network_g": {**STUDENT_NETWORK, "num_channel_code": 5}}, "num_channel_code: teacher 6, student 5"),
        ({"datasets": {"train": {"scale": 4, "preset": "setting2_x4"}}}, "prior has 0 noise channels.*have noise"),
    ],
)
def test_student_or_data_that_do_not_fit_are_explained(teacher_file, change, message):
    opt = model_options("student", STUDENT_NETWORK, 2)
    opt["teacher"] = {"network": TEACHER_NETWORK, "path": str(teacher_file)}
    with pytest.raises(OptionError, match=message):
        build_model({**opt, **change})


def test_students_checkpoint_as_teacher_is_explained(teacher_file, tmp_path):
    model = _build("student", teacher_file)
    torch.save({"params": model.net_g.state_dict()}, tmp_path / "student.pth")
    opt = model_options("student", STUDENT_NETWORK, 2)
    opt["teacher"] = {"network": TEACHER_NETWORK, "path": str(tmp_path / "student.pth")}
    with pytest.raises(OptionError, match="is a student's checkpoint"):
        build_model(opt)


@pytest.mark.parametrize(
    ("train", "message"),
    [
        ({"encoder_iter": 9}, "encoder_iter: .*got 9"),
        ({"encoder_iter": None}, "encoder_iter"),
        ({"contrastive_opt": None}, "contrastive_opt"),
    ],
)
def test_training_options_that_do_not_fit(train, message):
    with pytest.raises(OptionError, match=message):
        _build("teacher", **train)
