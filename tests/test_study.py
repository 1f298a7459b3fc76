"""The study trains what it says, on equal terms."""

from __future__ import annotations

import math
import re
import subprocess

import pytest
import torch

from benchmarks import misalignment
from benchmarks.escape import VARIANTS, curve, escape, options
from benchmarks.study import meta_stage
from benchmarks.study.codeless import CodelessLightBSR
from benchmarks.study.methods import ENCODERS, FREE_START, METHODS, Budget, training_options, with_what_they_need
from benchmarks.study.report import PRESETS, over_seeds
from lightbsr_model.option_files import dotted_names

from support.helpers import TINY
from support.option_problems import check_of


@pytest.fixture
def budget(image_folder):
    return Budget(str(image_folder), 70, 2, 16, "small", 100, 4, 1e-3)


@pytest.mark.parametrize("method", [*METHODS, *ENCODERS], ids=lambda method: method.name)
@pytest.mark.parametrize("size", ["small", "published"])
def test_options_are_valid_and_equal_where_they_can_be(method, budget, size):
    budget = Budget(**{**budget.__dict__, "size": size})
    options = training_options(method, budget, seed=3)
    problems = check_of(options).problems
    # What it starts from is trained first.
    place = ("teacher", "path") if method.start == "teacher" else ("path", method.start)
    assert [problem.key for problem in problems] == ([place] if method.needs else [])
    assert all(re.search("no such checkpoint|there is no file", problem.message) for problem in problems)
    train, data = options["train"], options["datasets"]["train"]
    preset = "bicubic" if method.name == "mrda_mln" else "setting1_x4"
    assert (data["preset"], data["gt_size"], options["manual_seed"]) == (preset, 64, 3)
    assert train["optim_g"]["lr"] == 1e-3
    expected = {"no_distillation_twice": 140}.get(method.name, 100 if method in ENCODERS else 70)
    assert train["total_iter"] == expected
    assert data["batch_size_per_gpu"] == (4 if method in ENCODERS else 2)
    phases = {"dasr", "cdcl", "teacher", "student", "student_no_contrast", "mrda_student", "lce"}
    assert train.get("encoder_iter", 0) == (100 if method in ENCODERS else 10 if method.name in phases else 0)


def test_all_methods_of_the_field_start_alike(budget):
    free = Budget(**{**budget.__dict__, "start": "free"})
    for method in METHODS:
        # What adapts MRDA's networks is none that is compared, and BasicSR's network starts freely as it is.
        if not method.is_compared or method.name == "msrresnet":
            continue
        found = training_options(method, free, 0)
        # LCE's network has a skip and activations in its upsampler always.
        expected = {"init_scale": 0.3} if method.name == "lce" else FREE_START
        for network in (found["network_g"], *([found["teacher"]["network"]] if "teacher" in found else [])):
            assert {key: network[key] for key in FREE_START if key in network} == expected
        assert check_of(found).problems == [] or method.needs
        assert not FREE_START.keys() & training_options(method, budget, 0)["network_g"].keys()


def test_escapes_are_read_off_logs(budget, tmp_path):
    log = (
        "".join(
            f"[..][epoch:  0, iter:     {iteration:,}, lr:(1.000e-03,)] l_pix: 9.0\n"
            + "".join(
                f"Validation {preset}\n\t # psnr: {value:.4f}\tBest: 99.0 @ 5 iter\n"
                for preset, value in zip(PRESETS, values, strict=True)
            )
            # Stopped after 1,050 and resumed from 100: its figures count once, and 1,100's was cut short.
            for iteration, values in (
                (50, (27.0, 26.0, 25.0)),
                (100, (1.0, 2.0, 3.0)),
                (100, (28.0, 27.0, 26.6)),
                (1050, (28.5, 27.5, 26.4)),
            )
        )
        + "[..][epoch:  0, iter:   1,100, lr:(1.000e-03,)] l_pix: 9.0\nValidation iso_1.2\n\t # psnr: 27.0000"
    )
    points = curve(log)
    assert points == {50: [27.0, 26.0, 25.0], 100: [28.0, 27.0, 26.6], 1050: [28.5, 27.5, 26.4]}
    assert escape(points) == 100
    assert escape({50: [30.0, 30.0, 26.5]}) is None


@pytest.mark.parametrize("variant", VARIANTS)
def test_variants_of_the_escape_are_valid(variant, budget, image_folder, monkeypatch):
    monkeypatch.setattr(dotted_names, "_local_code_is_allowed", True)
    assert check_of(options(variant, budget, 0, str(image_folder), 10)).problems == []


def test_variants_of_the_meta_stage_differ_in_the_adaptation_alone(budget):
    for stage in ("teacher", "student"):
        found = {variant: meta_stage.options(stage, variant, budget, 0) for variant in meta_stage.VARIANTS}
        adaptations = {}
        for variant, opt in found.items():
            place = ("path", "pretrain_network_meta") if stage == "teacher" else ("teacher", "path")
            assert [problem.key for problem in check_of(opt).problems] == [place]
            assert opt.pop("name") == f"mrda_{stage}_{variant}"
            adaptations[variant] = opt["train"].pop("adapt_opt")
            before = opt[place[0]].pop(place[1]).split("/")[1]
            of_teacher = "mrda_mln" if variant == "no_meta" else "mrda_meta"
            assert before == (of_teacher if stage == "teacher" else f"mrda_teacher_{variant}")
        assert all(opt == found["reset"] for opt in found.values())
        tail = stage == "teacher"
        anew, drifting = {"tail": tail, "reset": True}, {"tail": tail, "reset": False}
        assert adaptations == {"reset": anew, "no_meta": anew, "drift": drifting, "none": None}
    assert [meta_stage.student_of(variant).trainings for variant in meta_stage.VARIANTS] == [4, 4, 4, 3]


def test_without_codes_the_degradation_is_not_told():
    net = CodelessLightBSR(scale=4, **TINY).eval()
    lq = torch.rand(2, 3, 8, 8)
    with torch.no_grad():
        net.encoder.layers[0].weight.mul_(7)
        changed = net(lq)
        net.encoder.layers[0].weight.div_(7)
        assert torch.equal(changed, net(lq))


def test_a_training_that_was_stopped_is_not_finished(budget, tmp_path, monkeypatch):
    import benchmarks.study.training as module

    def stopped(command, cwd, stdout, **_):
        stdout.write("Stopped by SIGTERM after iteration 20, saved.\n")
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(module.subprocess, "run", stopped)
    opt = training_options(METHODS[0], budget, 0)
    with pytest.raises(RuntimeError, match="msrresnet"):
        module.train(opt, tmp_path)
    assert not (tmp_path / "finished").exists()


def test_ablations_differ_in_what_they_leave_out(budget):
    options = {method.name: training_options(method, budget, 0) for method in METHODS}
    assert options["teacher_no_contrast"]["train"]["contrastive_opt"]["loss_weight"] == 0
    assert options["teacher"]["network_g"] == options["teacher_no_contrast"]["network_g"]
    for one, other in (("student", "teacher"), ("student_no_contrast", "teacher_no_contrast")):
        assert options[one]["teacher"]["path"] == f"experiments/{other}/models/net_g_latest.pth"
        assert options[one]["teacher"]["network"] == options[other]["network_g"]
    assert options["no_distillation"]["network_g"] == options["student"]["network_g"]


def test_teachers_come_along():
    assert [method.name for method in with_what_they_need(["student", "dasr"])] == ["dasr", "teacher", "student"]
    with pytest.raises(KeyError):
        with_what_they_need(["studnet"])


def test_interval_over_seeds_is_students():
    mean, half = over_seeds([1.0, 2.0, 3.0])
    assert mean == 2
    assert half == pytest.approx(4.302653 / math.sqrt(3), rel=1e-5)
    assert math.isnan(over_seeds([1.0])[1])


@pytest.mark.parametrize("variant", misalignment.VARIANTS)
def test_trainings_on_misaligned_pairs_differ_in_what_is_compared_alone(variant, image_folder):
    budget = misalignment.Budget(str(image_folder), {"Six": str(image_folder)}, 8, 2, patch=8)
    opt, plain = (misalignment.options(name, 1.6, budget, 3) for name in (variant, "plain"))
    assert check_of(opt).problems == []
    assert (opt["network_g"], opt["manual_seed"]) == (plain["network_g"], 3)
    data, other = opt["datasets"]["train"], plain["datasets"]["train"]
    keys = {key for key in data.keys() | other.keys() if data.get(key) != other.get(key)}
    moves, blurs = {"misalign"}, {"misalign", "preset", "degradation"}
    assert keys == {"plain": set(), "mimicked": set(), "aligned": moves, "bicubic": blurs}[variant]
    assert opt["train"]["optim_g"] == plain["train"]["optim_g"]
    # Tested on the true blur, aligned.
    assert opt["datasets"]["val_Six"] == plain["datasets"]["val_Six"]
    assert opt["datasets"]["val_Six"]["degradation"] == {"sigma": 1.6}


def test_table_of_misalignment():
    log = "Validation Six\n\t # psnr: 20.0000\tBest: 20.0\n...\nValidation Six\n\t # psnr: 21.5000\tBest: 21.5\n"
    assert misalignment.last_psnr(log) == {"Six": 21.5}
    found = {("plain", 2.4, 0): {"Six": 20.0}, ("plain", 2.4, 1): {"Six": 21.0}}
    found |= {("aligned", 2.4, 0): {"Six": 21.0}, ("aligned", 2.4, 1): {"Six": 22.0}}
    lines = misalignment.table(found, [0, 1]).splitlines()
    assert lines[0] == "| training | Six, sigma 2.4 | minus plain |"
    assert lines[-1] == "| aligned | 21.50 ± 6.35 | +1.00 ± 0.00 |"
