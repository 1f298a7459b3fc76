"""How the networks after TDDSR learn: every step written out, and what the options leave out or refuse."""

from __future__ import annotations

import copy

import pytest
import torch
from basicsr.losses import build_loss
from torch.nn import functional as F

from lightbsr_arch.errors import OptionError
from lightbsr_arch.layers.noise_field import normal_noise
from lightbsr_arch.methods.tddsr import ResidualShiftUNet
from lightbsr_model.option_files.whole_options import read_options
from lightbsr_model.runtime.random_streams import derive_seed

from support.helpers import ROOT
from support.method_cases import CASES
from support.option_problems import problems_of
from support.small_models import build, noise_batch, options_of
from support.training_files import training_options

TEACHER, STUDENT = CASES["ResidualShiftUNet_teacher"], CASES["ResidualShiftUNet"]
PARTS = ("cycle_hr_opt", "cycle_lr_opt", "low_pass_opt", "gan_opt", "gan_lr_opt")


def _batch(seed=0):
    generator = torch.Generator().manual_seed(seed)
    return {"lq": torch.rand(3, 3, 8, 8, generator=generator), "gt": torch.rand(3, 3, 32, 32, generator=generator)}


def _seeds(purpose, iteration, count=3):
    return [derive_seed(0, purpose, "sample", iteration, 1, place) for place in range(count)]


def _noise(purpose, iteration, size):
    return normal_noise(torch.tensor(_seeds(purpose, iteration)), range(3), size, size)


def _stirred(net):
    """A network whose every weight counts."""
    generator = torch.Generator().manual_seed(4)
    with torch.no_grad():
        for value in net.parameters():
            if not value.any():
                value.copy_(0.05 * torch.randn(value.shape, generator=generator))


def test_a_teachers_steps_are_those_written_out(tmp_path):
    mse = {"type": "MSELoss", "loss_weight": 1.0, "reduction": "mean"}
    model = build(TEACHER, tmp_path, 0, pixel_opt=mse)
    _stirred(model.net_g)
    net = copy.deepcopy(model.net_g)
    optimiser = torch.optim.Adam(net.parameters(), lr=2e-4, betas=(0.9, 0.99))
    steps_seen = set()
    for iteration in (1, 2, 3):
        batch = _batch(iteration)
        model.update_learning_rate(iteration)
        optimiser.param_groups[0]["lr"] = model.optimizer_g.param_groups[0]["lr"]
        model.feed_data(batch)
        model.optimize_parameters(iteration)
        gt, y = 2 * batch["gt"] - 1, net.enlarge(batch["lq"])
        t = torch.tensor([seed % 2 for seed in _seeds("step", iteration)])
        steps_seen |= set(t.tolist())
        x = net.process.shift(gt, y, t, _noise("diffusion", iteration, 32))
        loss = F.mse_loss(net.predict(x, t, batch["lq"]), gt)
        assert model.get_current_log()["l_pix"] == pytest.approx(loss.item(), rel=1e-5)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert steps_seen == {0, 1}
    for key, value in net.state_dict().items():
        torch.testing.assert_close(model.net_g.state_dict()[key], value, rtol=1e-4, atol=2e-5)


def test_a_students_steps_are_those_written_out(tmp_path):
    model = build(STUDENT, tmp_path, 0, pixel_opt=None)
    for name in ("net_g", "net_down", "teacher"):
        _stirred(getattr(model, name))
    names = ("net_g", "net_down", "net_d", "net_d_lr")
    net, down, judge, judge_lr = copies = [copy.deepcopy(getattr(model, name)) for name in names]
    teacher = copy.deepcopy(model.teacher)
    both = torch.optim.Adam([*net.parameters(), *down.parameters()], lr=2e-4, betas=(0.9, 0.99))
    judging = [torch.optim.Adam(each.parameters(), lr=1e-4) for each in (judge, judge_lr)]
    gan = build_loss(dict(STUDENT.losses["gan_opt"]))
    for iteration in (1, 2):
        batch = _batch(iteration)
        lq, gt = batch["lq"], batch["gt"]
        model.update_learning_rate(iteration)
        for optimiser, theirs in zip((both, *judging), model.optimizers, strict=True):
            optimiser.param_groups[0]["lr"] = theirs.param_groups[0]["lr"]
        model.feed_data(batch)
        model.optimize_parameters(iteration)

        noise, lr_noise = _noise("student", iteration, 32), _noise("downsampler", iteration, 8)
        for each in (judge, judge_lr):
            each.requires_grad_(False)
        small = down(gt, lr_noise)
        restored = net(lq, noise)
        with torch.no_grad():
            target = teacher.sample(lq, noise)
        cycled = net(small.detach(), _noise("cycle", iteration, 32))
        at_rest = copy.deepcopy(down).requires_grad_(False)
        losses = {
            "l_distill": 4 * F.mse_loss(restored, target),
            "l_cycle_hr": 4 * F.mse_loss(cycled, gt),
            "l_cycle_lr": 0.5 * F.l1_loss(at_rest(restored, lr_noise), lq),
            "l_low_pass": 0.5 * F.l1_loss(F.avg_pool2d(small, 4), F.avg_pool2d(lq, 4)),
            # BasicSR's spectral norms take a step at every pass: in the order of the model's.
            "l_gan_lr": gan(judge_lr(small), True, is_disc=False),
            "l_gan": gan(judge(restored), True, is_disc=False),
        }
        both.zero_grad()
        sum(losses.values()).backward()
        both.step()
        for each, optimiser, real, fake in (
            (judge_lr, judging[1], lq, small.detach()),
            (judge, judging[0], gt, restored.detach()),
        ):
            each.requires_grad_(True)
            optimiser.zero_grad()
            gan(each(real), True, is_disc=True).backward()
            gan(each(fake), False, is_disc=True).backward()
            optimiser.step()
        log = model.get_current_log()
        for name, loss in losses.items():
            assert log[name] == pytest.approx(loss.item(), rel=1e-4), name
    for name, written_out in zip(names, copies, strict=True):
        for key, value in written_out.state_dict().items():
            torch.testing.assert_close(getattr(model, name).state_dict()[key], value, rtol=1e-4, atol=2e-5, msg=key)


def test_a_new_student_is_its_teacher_in_one_step(tmp_path):
    model = build(STUDENT, tmp_path, 0, ema_decay=0.9)
    for net in (model.net_g, model.net_g_ema):
        assert all(torch.equal(value, net.state_dict()[key]) for key, value in model.teacher.state_dict().items())
    calls = {"student": 0, "teacher": 0}
    for name, net in (("student", model.net_g), ("teacher", model.teacher)):
        net.unet.register_forward_hook(lambda *_, name=name: calls.update({name: calls[name] + 1}))
    model.feed_data(_batch())
    model.optimize_parameters(1)
    # One for the LR images and one for the downsampler's; the teacher takes its process's two.
    assert calls == {"student": 2, "teacher": 2}


@pytest.mark.parametrize("nothing", [None, {"type": "L1Loss", "loss_weight": 0, "reduction": "mean"}])
def test_what_no_loss_asks_for_is_left_out(tmp_path, nothing):
    model = build(STUDENT, tmp_path, 0, **dict.fromkeys(PARTS, nothing), optim_d=None, pixel_opt=None)
    assert not any(hasattr(model, name) for name in ("net_down", "net_d", "net_d_lr"))
    assert len(model.optimizers) == 1
    assert sum(len(group["params"]) for group in model.optimizer_g.param_groups) == len(list(model.net_g.parameters()))
    model.feed_data(_batch())
    model.optimize_parameters(1)
    assert list(model.get_current_log()) == ["l_distill"]
    # And a part of it alone: the downsampler with what it learns by.
    parts = dict.fromkeys(set(PARTS) - {"low_pass_opt"}, nothing)
    model = build(STUDENT, tmp_path, 0, **parts, optim_d=None, pixel_opt=None)
    model.feed_data(_batch())
    model.optimize_parameters(1)
    assert list(model.get_current_log()) == ["l_low_pass", "l_distill"]


@pytest.mark.parametrize(
    ("left_out", "problem"),
    [
        (["network_down"], "network_down: missing; train.cycle_hr_opt needs it"),
        (["network_d_lr"], "network_d_lr: missing; train.gan_lr_opt needs it"),
        (["network_d"], "network_d: missing; train.gan_opt needs it"),
        (["optim_d"], "train:optim_d: missing; it trains the discriminators"),
        (
            ["low_pass_opt", "gan_lr_opt"],
            "train:cycle_hr_opt: network_down learns by low_pass_opt and gan_lr_opt: give one",
        ),
        (["distill_opt"], "train:distill_opt: missing; expected a section"),
    ],
)
def test_a_file_that_lacks_what_its_losses_need_is_refused(tmp_path, image_folder, left_out, problem):
    opt = STUDENT.apply(training_options(image_folder), STUDENT.save_teacher(tmp_path))
    opt["train"].pop("encoder_iter")
    assert problems_of(opt) == []
    for key in left_out:
        del (opt if key in opt else opt["train"])[key]
    found = problems_of(opt)
    assert len(found) == 1
    assert problem in found[0], found


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"steps": 3}, r"steps: 2 in the file, 3 in teacher\.network"),
        ({"kappa": 2.0}, r"kappa: 1\.0 in the file, 2\.0 in teacher\.network"),
        ({"min_noise": 0.1, "power": 0.5}, r"power: 0\.3 in the file, 0\.5 .*; min_noise: 0\.04 in the file, 0\.1"),
    ],
)
def test_a_teacher_of_another_schedule_is_refused_by_name(tmp_path, change, message):
    from basicsr.models import build_model

    opt = options_of(STUDENT, tmp_path, 0)
    opt["teacher"]["network"].update(change)
    with pytest.raises(
        OptionError, match=r"teacher_of_ResidualShiftUNet\.pth does not fit teacher\.network\. .*" + message
    ):
        build_model(opt)
    # Also where the student does not start from it, and its own schedule is the other one.
    opt = options_of(STUDENT, tmp_path, 0)
    opt["teacher"]["start_student"] = False
    opt["network_g"].update(change, num_feat=16)
    key, value = next(iter(change.items()))
    with pytest.raises(OptionError, match=rf"the teacher does not fit .*{key}: teacher .*, student {value}"):
        build_model(opt)


def test_validation_takes_the_networks_own_steps_and_one_noise(tmp_path):
    model = build(TEACHER, tmp_path, 0)
    _stirred(model.net_g)
    lq = torch.rand(1, 3, 7, 9)
    for steps in (1, 2):
        model.net_g.set_sampling(steps=steps)
        model.feed_data({"lq": lq})
        model.test()
        with torch.no_grad():
            assert torch.equal(model.output, model.net_g.sample(lq, steps=steps))


def test_the_place_in_a_batch_decides_the_noise(tmp_path):
    model = build(TEACHER, tmp_path, 0)
    degrader = model.degrader
    alone = degrader.seeds_of_samples("a", 6)
    assert len({*alone, *degrader.seeds_of_samples("b", 6)}) == 12
    degrader.begin_part()
    assert not set(degrader.seeds_of_samples("a", 6)) & set(alone)
    degrader.begin(0)
    degrader._world_size = 2
    for rank in (0, 1):
        degrader._rank = rank
        assert degrader.seeds_of_samples("a", 3) == alone[rank::2]
    # Batches that are degraded here count as those that come finished.
    degrader.begin(1)
    model.feed_data(noise_batch(1))
    first = degrader.seeds_of_samples("a", 1)
    degrader.begin(1)
    model.feed_data(_batch())
    assert degrader.seeds_of_samples("a", 1) == first


def test_recipes_agree_with_each_other():
    read = {
        name: read_options(ROOT / f"options/tddsr/train_{name}.yml").options
        for kind in ("teacher", "student", "distilled")
        for name in (kind, f"small_{kind}")
    }
    for small in ("", "small_"):
        teacher = read[f"{small}teacher"]["network_g"]
        for kind in ("student", "distilled"):
            opt = read[f"{small}{kind}"]
            assert opt["network_g"] == {**teacher, "sample_steps": 1}
            told = ResidualShiftUNet(
                **{key: value for key, value in opt["teacher"]["network"].items() if key != "type"}
            )
            made = ResidualShiftUNet(**{key: value for key, value in teacher.items() if key != "type"})
            assert told.options == made.options
        joint, alone = read[f"{small}student"]["train"], read[f"{small}distilled"]["train"]
        assert {key for key in joint if joint[key] != alone.get(key)} == {"optim_d", *PARTS}
    weights = {key: read["student"]["train"][key]["loss_weight"] for key in ("distill_opt", *PARTS)}
    assert list(weights.values()) == [1.0, 0.5, 0.5, 1.0, 0.005, 0.005]
