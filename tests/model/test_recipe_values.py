"""The recipes that we ship have the published values."""

from __future__ import annotations

import inspect
import json
import lzma

import pytest
import torch
from basicsr.utils.registry import ARCH_REGISTRY, LOSS_REGISTRY

from lightbsr_model.degradation import get_degradation
from lightbsr_model.training.schedule import TWO_PHASE_SCHEDULES

from support.helpers import ROOT
from support.shipped_options import OLD_PATHS, TRAINING, YARDSTICKS, accepts, read_shipped

LIGHTBSR = [name for name in TRAINING if name.startswith(("train_", "lightbsr/"))]


@pytest.mark.parametrize("name", LIGHTBSR)
def test_published_recipe(name):
    opt = read_shipped(name)
    data, train = opt["datasets"]["train"], opt["train"]
    assert (data["gt_size"], data["batch_size_per_gpu"]) == (64 * opt["scale"], 64)
    assert data["dataroot_gt"] == "datasets/DF2K_sub.lmdb"
    epoch = opt["train"]["scheduler"]["step_iter"]
    assert epoch == 3450 * 18 // 64
    assert (train["total_iter"], train["encoder_iter"]) == (700 * epoch, 100 * epoch)
    schedule = {"type": "TwoPhaseCosineLR", "warmup_iter": 5 * epoch, "step_iter": epoch, "eta_min": 1e-6}
    assert train["scheduler"] == schedule
    # `fused` and `channels_last` take the same steps faster; what changes results is off.
    assert train["optim_g"] == {"type": "Adam", "lr": 2e-4, "weight_decay": 0, "betas": [0.9, 0.99], "fused": True}
    assert (train["channels_last"], train["compile"], train["amp"]) == (True, False, "off")
    assert train["ema_decay"] == 0
    assert train["pixel_opt"] == {"type": "L1Loss", "loss_weight": 255.0, "reduction": "mean"}
    # Written out, and equal to the constructors' defaults, which are the published sizes.
    network = ARCH_REGISTRY.get(opt["network_g"]["type"])
    for key, parameter in inspect.signature(network).parameters.items():
        if key in opt["network_g"] and key not in ("prior", "prior_channels", "scale"):
            assert opt["network_g"][key] == parameter.default, key


@pytest.mark.parametrize(("name", "models"), [("realesrnet", "RealESRNetModel"), ("realesrgan", "RealESRGANModel")])
def test_basicsrs_real_esrgan_has_its_published_values(name, models):
    basicsr_options = json.loads(lzma.decompress((ROOT / "tests/model/bridge/basicsr_options.json.xz").read_bytes()))
    ours, theirs = (
        read_shipped(f"compare/train_{name}.yml"),
        basicsr_options[f"BasicSR/train/RealESRGAN/train_{name}_x4plus.yml"],
    )
    assert ours["model_type"] == theirs["model_type"] == models
    data = {key: value for key, value in theirs["datasets"]["train"].items() if key not in ("name", "dataroot_gt")}
    for key in ("meta_info", "io_backend"):
        data.pop(key)
    _holds_values(ours["datasets"]["train"], data)
    _holds_values(ours["train"], theirs["train"])
    flat = {
        key: value for key, value in theirs.items() if isinstance(value, (int, float, list)) and key != "manual_seed"
    }
    _holds_values(ours, flat)
    _holds_values(ours["network_g"], theirs["network_g"])


def _holds_values(whole, part):
    for key, value in part.items():
        if isinstance(value, dict):
            _holds_values(whole[key], value)
        else:
            assert whole[key] == value, key


def test_the_preset_is_real_esrgans():
    """Under the names of its options, of which `second_blur_prob` is `blur_prob2` here."""
    opt, options = read_shipped("compare/train_realesrnet.yml"), get_degradation("realworld_x4").recipe()
    published = {**opt, **opt["datasets"]["train"]}
    same = set(options) & set(published)
    assert {"kernel_list", "kernel_prob2", "blur_sigma", "betap_range2", "resize_range2", "jpeg_range"} <= same
    for key in same:
        assert options[key] == published[key], key
    assert options["blur_prob2"] == opt["second_blur_prob"]


RECIPES = {  # optimiser, its rate and betas; encoder phase and both; batch, LR patch, views; pixel weight (the spec's)
    "dasr": ("Adam", 1e-4, 0.999, 100, 600, 32, 48, 2, 255),
    "cdcl": ("AdamW", 2e-4, 0.999, 100, 700, 64, 64, 4, 255),
    "kdsr_m_teacher": ("Adam", 1e-4, 0.999, 0, 500, 64, 64, 1, 1),
    "kdsr_l_teacher": ("Adam", 1e-4, 0.999, 0, 500, 64, 64, 1, 1),
    "kdsr_m_student": ("Adam", 1e-4, 0.999, 0, 600, 64, 64, 1, 1),
    "kdsr_l_student": ("Adam", 1e-4, 0.999, 0, 600, 64, 64, 1, 1),
    "kdsr_m_teacher_setting2": ("Adam", 1e-4, 0.999, 0, 500, 64, 64, 1, 1),
    "kdsr_m_student_setting2": ("Adam", 1e-4, 0.999, 100, 600, 64, 64, 1, 1),
}
STEPS = {  # rate at the start of these epochs
    "dasr": {0: 1e-3, 60: 1e-4, 100: 1e-4, 225: 5e-5, 599: 1.25e-5},
    "cdcl": {0: 1e-3, 60: 2e-4, 100: 4e-5, 104: 2e-4, 699: 1e-6},
    "kdsr_m_teacher": {0: 1e-4, 125: 5e-5, 499: 1.25e-5},
    "kdsr_l_student": {0: 1e-4, 149: 1e-4, 150: 5e-5, 599: 1.25e-5},
    "kdsr_m_student_setting2": {0: 2e-4, 99: 2e-4, 100: 1e-4, 225: 5e-5},
}


@pytest.mark.parametrize("name", sorted(RECIPES))
def test_recipe_of_a_baseline(name):
    opt = read_shipped(OLD_PATHS[f"compare/train_{name}.yml"])
    optimiser, rate, beta, encoder, total, batch, patch, views, weight = RECIPES[name]
    data, train = opt["datasets"]["train"], opt["train"]
    optim = train["optim_g"]
    assert (optim["type"], optim["lr"], optim["betas"]) == (optimiser, rate, [0.9, beta])
    assert (train["encoder_iter"] or 0, train["total_iter"]) == (970 * encoder, 970 * total)
    assert (data["batch_size_per_gpu"], data["gt_size"], data["views"]) == (batch, 4 * patch, views)
    assert (data.get("degradation_per") == "batch") == name.startswith("kdsr")
    assert train["pixel_opt"]["loss_weight"] == weight
    if name in STEPS:
        scheduler = dict(train["scheduler"])
        optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], rate)
        lengths = {"encoder_iter": train["encoder_iter"] or 0, "total_iter": train["total_iter"]}
        schedule = TWO_PHASE_SCHEDULES[scheduler.pop("type")](optimizer, **lengths, **scheduler)
        for epoch, expected in STEPS[name].items():
            schedule.last_epoch = 970 * epoch
            assert schedule.get_lr()[0] == pytest.approx(expected), epoch


def test_recipe_without_an_encoder_phase():
    """DSSR's, as far as its published option file was seen; setting 2's kernels are those of DIV2KRK."""
    opt, second, small = (read_shipped(f"dssr/train{end}.yml") for end in ("", "_setting2", "_small"))
    data, train = opt["datasets"]["train"], opt["train"]
    assert (data["preset"], data["border"], data["gt_size"], data["batch_size_per_gpu"]) == (
        *("setting1_x4", "symmetric", 256, 16),
    )
    assert (train["total_iter"], train["encoder_iter"]) == (480000, None)
    assert (train["optim_g"]["type"], train["optim_g"]["lr"], train["optim_g"]["betas"]) == ("Adam", 2e-4, [0.9, 0.99])
    milestones = [80000, 160000, 240000, 320000, 400000]
    assert train["scheduler"] == {"type": "MultiStepLR", "milestones": milestones, "gamma": 0.5}
    assert train["pixel_opt"] == train["detail_opt"] == {"type": "L1Loss", "loss_weight": 1.0, "reduction": "mean"}
    network = ARCH_REGISTRY.get("DSSR")
    sizes = {key: parameter.default for key, parameter in inspect.signature(network).parameters.items()}
    # It starts as published.
    assert [sizes.pop(key) for key in ("image_skip", "tail_activation", "init_scale")] == [False, None, None]
    assert opt["network_g"] == {"type": "DSSR", **sizes}
    data = second["datasets"]["train"]
    degradation = get_degradation(data["preset"], data["degradation"], second["scale"])
    assert (degradation.lambda_1, degradation.lambda_2, degradation.theta) == ((0.6, 5), (0.6, 5), (0, 180))
    assert (degradation.kernel, degradation.kernel_disturb, degradation.is_noisy) == ("anisotropic", 0.25, False)
    assert small["datasets"]["train"]["io_backend"] == {"type": "bundled"}


MRDA = {  # batch; epoch, number of epochs, of them the code alone, epochs after which the rate is halved (the spec's)
    "mln": (64, 971, 600, 0, 125),
    "meta": (32, 216, 600, 0, 150),
    "teacher": (16, 1294, 500, 0, 125),
    "student": (16, 647, 500, 100, 125),
}


@pytest.mark.parametrize("stage", MRDA)
@pytest.mark.parametrize("setting", ["", "_setting2"])
def test_stages_of_mrda(stage, setting):
    if (stage, setting) == ("mln", "_setting2"):
        return  # its images are bicubic
    opt = read_shipped(f"mrda/train_{stage}{setting}.yml")
    batch, epoch, epochs, alone, halved = MRDA[stage]
    data, train = opt["datasets"]["train"], opt["train"]
    assert (data["batch_size_per_gpu"], data["gt_size"], data["views"]) == (batch, 256, 1)
    assert data["preset"] == ("bicubic" if stage == "mln" else "setting2_x4" if setting else "setting1_x4")
    assert (data.get("degradation_per") == "batch") == (stage in ("teacher", "student"))
    assert (train["total_iter"], train["encoder_iter"] or 0) == (epochs * epoch, alone * epoch)
    assert train["optim_g"] == {"type": "Adam", "lr": 1e-4, "weight_decay": 0, "betas": [0.9, 0.999], "fused": True}
    assert (train["scheduler"]["joint_step"], train["scheduler"]["joint_gamma"]) == (halved * epoch, 0.5)
    assert (train["pixel_opt"]["loss_weight"], train["ema_decay"]) == (1.0, 0)
    rates = [1e-2, 5e-3, 5e-3, 5e-3, 5e-3]
    if stage == "meta":
        assert train["meta_opt"] == {"tasks": 5, "steps": 5, "lr": 1e-2}
    elif stage != "mln":
        assert train["adapt_opt"] == {"rates": rates, "tail": stage == "teacher", "reset": True}
    if stage == "student":
        assert (train["scheduler"]["encoder_step"], train["scheduler"]["encoder_gamma"]) == (60 * epoch, 0.1)
        loss = train["channel_opt"]
        assert (loss["loss_weight"], loss["temperature"], loss["l1_weight"]) == (1.0, 0.15, 0.1)
        assert "spatial_opt" not in train
    # Each stage starts from what the one before it leaves.
    before = {"meta": "mln", "teacher": "meta"}.get(stage)
    if before is not None:
        key = "pretrain_network_g" if stage == "meta" else "pretrain_network_meta"
        name = read_shipped(f"mrda/train_{before}{'' if before == 'mln' else setting}.yml")["name"]
        assert opt["path"][key] == f"experiments/{name}/models/net_g_latest.pth"


@pytest.mark.parametrize("name", sorted(YARDSTICKS))
def test_yardstick_has_the_data_and_the_budget_of_lightbsr(name):
    opt, ours = read_shipped(name), read_shipped("train_student.yml")
    for key in ("preset", "border", "gt_size", "batch_size_per_gpu", "dataroot_gt"):
        assert opt["datasets"]["train"][key] == ours["datasets"]["train"][key]
    assert opt["datasets"]["train"]["degrade_in"] == "loader"
    assert opt["train"]["total_iter"] == ours["train"]["total_iter"]


def test_recipes_of_bursts():
    ours, published, taught, small = (
        read_shipped(f"rbsr/train{end}.yml") for end in ("", "_published", "_spynet", "_small")
    )
    for opt in (ours, published, taught):
        data, train = opt["datasets"]["train"], opt["train"]
        assert (data["gt_size"], data["batch_size_per_gpu"], data["use_hflip"], data["use_rot"]) == (
            384,
            16,
            True,
            False,
        )
        assert train["optim_g"] == {"type": "AdamW", "lr": 1e-4, "weight_decay": 0.01, "betas": [0.9, 0.999]}
        schedule = {"warmup_iter": 0, "step_iter": 1000, "eta_min": 1e-6}
        assert (train["total_iter"], train["scheduler"]) == (400000, {"type": "TwoPhaseCosineLR", **schedule})
        assert train["pixel_opt"] == {"type": "L1Loss", "loss_weight": 1.0, "reduction": "mean"}
        network = ARCH_REGISTRY.get("RBSR")
        for key, parameter in inspect.signature(network).parameters.items():
            assert key == "flow_net" or opt["network_g"][key] == parameter.default, key
    assert (published["datasets"]["train"]["frames"], published["network_g"]["flow_net"]) == (14, "spynet")
    assert (taught["train"]["flow_iter"], taught["train"]["flow_opt"]["loss_weight"]) == (20000, 0.1)
    data = small["datasets"]["train"]
    assert (data["frames"], data["gt_size"], data["batch_size_per_gpu"], data["camera"]) == ([2, 8], 192, 2, "small")
    assert not {*data["pictures"]} & {*small["datasets"]["val"]["pictures"]}
    test, trained = read_shipped("rbsr/test.yml"), ours["datasets"]["val"]
    assert {**test["datasets"]["test"], "phase": "val"} == {**trained, "phase": "val"}


MIMICKED = {name: f"mimicked/train_{name}.yml" for name in ("plain", "bicubic", "aligned", "mimicked", "real")}


def test_recipe_of_mimicked_alignment():
    plain, mimicked = read_shipped(MIMICKED["plain"]), read_shipped(MIMICKED["mimicked"])
    for opt in map(read_shipped, MIMICKED.values()):
        data, train = opt["datasets"]["train"], opt["train"]
        assert opt["network_g"] == plain["network_g"]
        assert (data["gt_size"], data["batch_size_per_gpu"]) == (128, 32)
        optim = {"type": "AdamW", "lr": 1e-3, "weight_decay": 0, "betas": [0.9, 0.9]}
        assert train["optim_g"] == optim == train.get("optim_mim", optim)
        assert train["grad_clip"] == 0.01
        schedule = {"periods": [200000], "restart_weights": [1], "eta_min": 1e-7}
        assert train["scheduler"] == {"type": "CosineAnnealingRestartLR", **schedule}
        assert (train["total_iter"], train["warmup_iter"]) == (200000, -1)
        accepts(LOSS_REGISTRY.get(train["pixel_opt"]["type"]), train["pixel_opt"])
    weights = [mimicked["train"][key]["loss_weight"] for key in ("pixel_opt", "align_opt", "low_pass_opt")]
    assert weights == [1, 1, 0.01]
    moved = {name: read_shipped(path)["datasets"]["train"].get("misalign") for name, path in MIMICKED.items()}
    assert moved["plain"]["shift"] == 2.0
    assert moved["mimicked"] == moved["plain"]
    assert [moved[name] for name in ("aligned", "bicubic", "real")] == [None] * 3
