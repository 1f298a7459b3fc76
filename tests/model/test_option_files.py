"""The option files that we ship are complete, and fit what they name."""

from __future__ import annotations

import functools
import inspect
import json
import lzma
import math
from pathlib import Path

import pytest
import torch
from basicsr.models.lr_scheduler import MultiStepRestartLR
from basicsr.utils.registry import ARCH_REGISTRY, DATASET_REGISTRY, LOSS_REGISTRY, MODEL_REGISTRY

from lightbsr_arch.methods.registry import pairings
from lightbsr_arch.weights.model_files import DEFAULT_MODEL, bundled_model
from lightbsr_model.data.photographs import BUNDLED_PHOTOGRAPHS, WALLPAPERS
from lightbsr_model.degradation import PRESETS, get_degradation
from lightbsr_model.degradation.burst import camera_of
from lightbsr_model.degradation.presets import MAX_SIGMA, SCALES, TEST_SIGMAS
from lightbsr_model.evaluation.comparison.settings import read_settings
from lightbsr_model.option_files.document import force_options, parse_document, read_document
from lightbsr_model.option_files.option_check import OptionCheck
from lightbsr_model.option_files.section_check import names_in
from lightbsr_model.option_files.whole_options import read_options, whole_text
from lightbsr_model.training.schedule import TWO_PHASE_SCHEDULES

from support.helpers import ROOT

ALL = {path.relative_to(ROOT / "options").as_posix(): path for path in (ROOT / "options").rglob("*.yml")}
LISTS = ("compare/compare_", "compare/analyze_", "small/compare")
FILES = {name: path for name, path in ALL.items() if not name.startswith(LISTS)}
YARDSTICKS = {f"compare/train_{name}.yml" for name in ("edsr", "msrresnet", "rcan", "swinir")}
BURSTS = "rbsr/"
STRATEGIES = ("gan/", "mimicked/")
"""Recipes that train any network, here a student or BasicSR's own."""
BASICSRS = {f"compare/train_{name}.yml" for name in ("realesrnet", "realesrgan")}
"""Recipes of BasicSR's own data and models."""
ENCODERS = {"small/train_encoder.yml", "small/train_encoder_setting2.yml"}
"""Recipes of an encoder alone."""
TRAINING = [
    name
    for name in FILES
    if "train" in name
    and name not in YARDSTICKS | BASICSRS | ENCODERS | {"lway/train_reconstructor.yml"}
    and not name.startswith((*STRATEGIES, BURSTS))
]
LIGHTBSR = [name for name in TRAINING if name.startswith(("train_", "lightbsr/"))]
TESTS = [name for name in FILES if name.startswith("test/")]
METHODS = {
    "lightbsr/train_teacher": "train_teacher",
    "lightbsr/train_student": "train_student",
    "dasr/train": "dasr/train",
    "cdcl/train": "cdcl/train",
    "dssr/train": "dssr/train",
    "lce/train": "lce/train",
    **{name: name for name in (f"kdsr/train_{size}_{kind}" for size in "ml" for kind in ("teacher", "student"))},
    **{name: name for name in (f"mrda/train_{stage}" for stage in ("mln", "meta", "teacher", "student"))},
}
"""Recipes that are given for every scale, without the end of their names, and the x4 file of each."""
OLD_PATHS = {
    **{
        f"test_{name}.yml": f"test/{name}.yml"
        for name in ("bicubic_x4", "gaussian8_x4", "setting2_x4", "setting2_old_x4")
    },
    **{f"test_setting1_x{scale}.yml": f"test/setting1_x{scale}.yml" for scale in (2, 3, 4)},
    **{f"train_{kind}_setting2.yml": f"lightbsr/train_{kind}_setting2.yml" for kind in ("teacher", "student")},
    **{f"compare/train_{method}.yml": f"{method}/train.yml" for method in ("dasr", "cdcl")},
    **{
        f"compare/train_kdsr_{name}.yml": f"kdsr/train_{name}.yml"
        for name in (*("m_teacher", "m_student", "l_teacher", "l_student"), "m_teacher_setting2", "m_student_setting2")
    },
}
"""Files of before, and what they are now."""
SETS = {"Set5", "Set14", "B100", "Urban100"}


@functools.cache
def _read(name):
    document = read_options(FILES[name])
    assert document.problems == []
    return document.options


def _accepts(cls, options, extra=()):
    arguments = {key: value for key, value in options.items() if key != "type"}
    unknown = set(arguments) - set(inspect.signature(cls).parameters) - set(extra)
    assert not unknown, f"{cls.__name__} has no {unknown}"


def test_all_files_are_there():
    names = {"train_teacher", "train_student", "train_teacher_setting2", "train_student_setting2"}
    names |= {f"demo/{name}" for name in ("train_teacher", "train_student", "test_student", "test_bicubic")}
    assert {f"{name}.yml" for name in names} <= FILES.keys()
    assert OLD_PATHS.keys() <= FILES.keys()
    # What setup.py installs: *.yml and */*.yml.
    assert all(name.count("/") <= 1 for name in ALL)
    later = ("gan/", "small/", "dssr/", "mrda/", "lce/", "mimicked/", "tddsr/", "lway/", "rdsr/", BURSTS)
    assert sum(len(path.read_text().splitlines()) for name, path in ALL.items() if not name.startswith(later)) < 1350


def test_the_recipe_that_is_named_where_a_teacher_is_missing_trains_one():
    found = {pairing.teacher: _read(pairing.recipe.removeprefix("options/")) for pairing in pairings()}
    assert {"LightBSRTeacher", "KDSRTeacher"} <= found.keys()
    assert all(opt["network_g"]["type"] == teacher for teacher, opt in found.items())


@pytest.mark.parametrize("old", sorted(OLD_PATHS))
def test_a_path_of_before_is_the_recipe(old):
    assert len(FILES[old].read_text().splitlines()) == 1
    assert _read(old) == _read(OLD_PATHS[old])


@pytest.mark.parametrize("name", sorted(FILES.keys() - OLD_PATHS.keys()))
def test_shown_file_is_the_file(name):
    shown = whole_text(_read(name))
    again = parse_document(shown)
    assert again.problems == []
    assert whole_text(again.options) == shown
    _holds(again.options, _read(name))


@pytest.mark.parametrize("name", ["demo/train_student.yml", "kdsr/train_m_student.yml", "compare/train_swinir.yml"])
def test_check_says_the_same_of_a_shown_file(name):
    shown = parse_document(whole_text(_read(name)))
    assert _findings(shown) == _findings(read_options(FILES[name]))


def _findings(document):
    """What the check says of a file: of data that are not there, mostly."""
    check = OptionCheck(document, is_train="train" in document.options)
    # A set that is missing is one problem for all presets of a list.
    return {problem.message for problem in check.run()}, [(problem.key, problem.message) for problem in check.warnings]


def _holds(whole, part):
    for key, value in part.items():
        if isinstance(value, dict):
            _holds(whole[key], value)
        else:
            assert (type(whole[key]), whole[key]) == (type(value), value), key


@pytest.mark.parametrize("scale", [2, 3])
@pytest.mark.parametrize("method", sorted(METHODS))
def test_recipe_of_another_scale(method, scale):
    opt, x4 = _read(f"{method}_x{scale}.yml"), _read(f"{METHODS[method]}.yml")
    data = opt["datasets"]["train"]
    assert (opt["scale"], opt["name"]) == (scale, x4["name"].replace("_x4_", f"_x{scale}_"))
    # The same LR patches.
    assert data["gt_size"] / scale == x4["datasets"]["train"]["gt_size"] / 4
    presets = [dataset["preset"] for key, dataset in opt["datasets"].items() if key != "train"]
    if x4["datasets"]["train"]["preset"] == "bicubic":
        assert {data["preset"], *presets} == {"bicubic"}
    else:
        assert data["preset"] == f"setting1_x{scale}"
        assert get_degradation(data["preset"], scale=scale).sigma == (0.2, MAX_SIGMA[scale])
        assert presets == [f"iso_{sigma}" for sigma in TEST_SIGMAS[scale]]
    network = {**x4["network_g"], "scale": scale}
    assert opt["network_g"] == network
    assert opt["train"] == x4["train"]
    for key, value in x4["path"].items():
        assert opt["path"][key] == (value.replace("_x4_", f"_x{scale}_") if isinstance(value, str) else value)
    if "teacher" in opt:
        assert opt["teacher"]["path"] == x4["teacher"]["path"].replace("_x4_", f"_x{scale}_")
        assert opt["teacher"]["network"] == {**x4["teacher"]["network"], "scale": scale}


@pytest.mark.parametrize("name", sorted(FILES))
def test_names_and_arguments_are_known(name):
    opt = _read(name)
    assert opt["model_type"] in names_in(MODEL_REGISTRY)
    assert opt["num_gpu"] == "auto"
    _accepts(ARCH_REGISTRY.get(opt["network_g"]["type"]), opt["network_g"])
    is_burst = name.startswith(BURSTS)
    if not is_burst:
        assert opt["network_g"].get("scale", opt["network_g"].get("upscale")) == opt["scale"]
    for key, dataset in opt["datasets"].items():
        assert dataset["type"] in names_in(DATASET_REGISTRY), key
        if is_burst:
            camera_of(dataset["camera"], dataset.get("camera_opt"))
        elif dataset.get("dataroot_lq") is None and (
            key != "train" or not (name in BASICSRS or dataset["type"] == "AdaptationDataset")
        ):
            get_degradation(dataset["preset"], dataset.get("degradation"))
    names = [dataset["name"] for dataset in opt["datasets"].values()]
    assert len(set(names)) == len(names)
    for metric in filter(None, (opt["val"].get("metrics") or {}).values()):
        if is_burst:
            assert metric["crop_border"] == 40
            continue
        assert metric["crop_border"] == opt["scale"]
        assert metric["type"] == "calculate_niqe" or metric["test_y_channel"] is True


@pytest.mark.parametrize("name", sorted(TRAINING))
def test_training_file(name):
    opt = _read(name)
    train = opt["train"]
    for key in ("contrastive_opt", "channel_opt", "spatial_opt", "corrector_opt", "pixel_opt", "detail_opt"):
        if key in train:
            _accepts(LOSS_REGISTRY.get(train[key]["type"]), train[key])
    kind = train["scheduler"]["type"]
    _accepts(MultiStepRestartLR if kind == "MultiStepLR" else TWO_PHASE_SCHEDULES[kind], train["scheduler"])
    for rate in (train["optim_g"]["lr"], *(train["scheduler"].get(key, 0.0) for key in ("eta_min", "encoder_lr"))):
        assert isinstance(rate, float)
    assert 0 <= (train["encoder_iter"] or 0) < train["total_iter"]
    if "student" in name:
        teacher = _read(name.replace("student", "teacher"))
        network = opt["teacher"]["network"]
        _accepts(ARCH_REGISTRY.get(teacher["network_g"]["type"]), network)
        for key, value in network.items():
            assert teacher["network_g"][key] == value, key
        student = {
            key: value
            for key, value in opt["network_g"].items()
            if key not in ("type", "layer_scale_init", "sample_steps")
        }
        for key, value in student.items():
            assert teacher["network_g"][key] == value, key
        assert opt["teacher"]["path"] == f"experiments/{teacher['name']}/models/net_g_latest.pth"
        assert opt["datasets"]["train"]["preset"] == teacher["datasets"]["train"]["preset"]
    elif opt["network_g"]["type"] == "LightBSRTeacher":
        assert opt["datasets"]["train"]["views"] == 4
        degradation = get_degradation(opt["datasets"]["train"]["preset"])
        if opt["network_g"].get("prior") == "parameters":
            assert opt["network_g"]["prior_channels"] == len(degradation.vector_names())
        else:
            assert opt["network_g"]["prior_channels"] == (18 if degradation.is_noisy else 15)


@pytest.mark.parametrize("name", LIGHTBSR)
def test_published_recipe(name):
    opt = _read(name)
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
        _read(f"compare/train_{name}.yml"),
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
    opt, options = _read("compare/train_realesrnet.yml"), get_degradation("realworld_x4").recipe()
    published = {**opt, **opt["datasets"]["train"]}
    same = set(options) & set(published)
    assert {"kernel_list", "kernel_prob2", "blur_sigma", "betap_range2", "resize_range2", "jpeg_range"} <= same
    for key in same:
        assert options[key] == published[key], key
    assert options["blur_prob2"] == opt["second_blur_prob"]


def test_the_small_models_encoder_is_its_students():
    opt, student = _read("small/train_encoder.yml"), _read("small/train_student.yml")
    for key in ("model_type", "network_g", "teacher"):
        assert opt[key] == student[key]
    length = opt["train"]["total_iter"]
    assert (opt["train"]["encoder_iter"], opt["train"]["scheduler"]["periods"]) == (length, [length])
    assert opt["train"]["degradation_opt"] == student["train"]["degradation_opt"]
    assert student["path"]["pretrain_network_g"] == f"experiments/{opt['name']}/models/net_g_latest.pth"
    assert opt["path"]["pretrain_network_g"] is None


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
    opt = _read(OLD_PATHS[f"compare/train_{name}.yml"])
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
    opt, second, small = (_read(f"dssr/train{end}.yml") for end in ("", "_setting2", "_small"))
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
    for key, parameter in inspect.signature(network).parameters.items():
        assert opt["network_g"][key] == parameter.default
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
    opt = _read(f"mrda/train_{stage}{setting}.yml")
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
        name = _read(f"mrda/train_{before}{'' if before == 'mln' else setting}.yml")["name"]
        assert opt["path"][key] == f"experiments/{name}/models/net_g_latest.pth"


@pytest.mark.parametrize("name", sorted(YARDSTICKS))
def test_yardstick_has_the_data_and_the_budget_of_lightbsr(name):
    opt, ours = _read(name), _read("train_student.yml")
    for key in ("preset", "border", "gt_size", "batch_size_per_gpu", "dataroot_gt"):
        assert opt["datasets"]["train"][key] == ours["datasets"]["train"][key]
    assert opt["datasets"]["train"]["degrade_in"] == "loader"
    assert opt["train"]["total_iter"] == ours["train"]["total_iter"]


def test_recipes_of_bursts():
    ours, published, taught, small = (_read(f"rbsr/train{end}.yml") for end in ("", "_published", "_spynet", "_small"))
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
    test, trained = _read("rbsr/test.yml"), ours["datasets"]["val"]
    assert {**test["datasets"]["test"], "phase": "val"} == {**trained, "phase": "val"}


MIMICKED = {name: f"mimicked/train_{name}.yml" for name in ("plain", "bicubic", "aligned", "mimicked", "real")}


def test_recipe_of_mimicked_alignment():
    plain, mimicked = _read(MIMICKED["plain"]), _read(MIMICKED["mimicked"])
    for opt in map(_read, MIMICKED.values()):
        data, train = opt["datasets"]["train"], opt["train"]
        assert opt["network_g"] == plain["network_g"]
        assert (data["gt_size"], data["batch_size_per_gpu"]) == (128, 32)
        optim = {"type": "AdamW", "lr": 1e-3, "weight_decay": 0, "betas": [0.9, 0.9]}
        assert train["optim_g"] == optim == train.get("optim_mim", optim)
        assert train["grad_clip"] == 0.01
        schedule = {"periods": [200000], "restart_weights": [1], "eta_min": 1e-7}
        assert train["scheduler"] == {"type": "CosineAnnealingRestartLR", **schedule}
        assert (train["total_iter"], train["warmup_iter"]) == (200000, -1)
        _accepts(LOSS_REGISTRY.get(train["pixel_opt"]["type"]), train["pixel_opt"])
    weights = [mimicked["train"][key]["loss_weight"] for key in ("pixel_opt", "align_opt", "low_pass_opt")]
    assert weights == [1, 1, 0.01]
    moved = {name: _read(path)["datasets"]["train"].get("misalign") for name, path in MIMICKED.items()}
    assert moved["plain"]["shift"] == 2.0
    assert moved["mimicked"] == moved["plain"]
    assert [moved[name] for name in ("aligned", "bicubic", "real")] == [None] * 3


def test_every_test_preset_has_its_file():
    covered = {scale: set() for scale in (2, 3, 4)}
    for name in TESTS:
        if "bicubic" in name:
            continue
        opt = _read(name)
        pairs = [(dataset["dataroot_gt"], dataset["preset"]) for dataset in opt["datasets"].values()]
        assert len(set(pairs)) == len(pairs)
        presets = {preset for _, preset in pairs}
        assert set(pairs) == {(f"datasets/{folder}", preset) for folder in SETS for preset in presets}
        assert list(opt["datasets"]) == sorted(opt["datasets"])
        covered[opt["scale"]] |= presets
    assert covered[2] == {"bicubic", "iso_0.6", "iso_1.2", "iso_1.8"}
    assert covered[3] == {"bicubic", "iso_0.8", "iso_1.6", "iso_2.4"}
    fixed = {name for name in PRESETS if name not in SCALES}
    assert covered[4] == fixed - {"iso_0.6", "iso_0.8", "iso_1.6"}


def test_the_small_model_holds_its_test_pictures_out(image_folder):
    trained = {Path(photo.file).stem for photo in (*BUNDLED_PHOTOGRAPHS, *WALLPAPERS)}
    for kind in ("teacher", "student"):
        datasets = _read(f"small/train_{kind}.yml")["datasets"]
        assert datasets["train"]["dataroot_gt"] == "datasets/wallpapers_sub.lmdb"
        assert set(datasets["val"]["pictures"]) == {"coffee", "chelsea"}
        assert not trained & {"coffee", "chelsea"}
    document = read_document(ALL["small/compare.yml"])
    force_options(document, [f"sets:{name}={image_folder}" for name in ("Set5", "Set14")])
    settings = read_settings(document, "compare.yml")
    assert [model.path for model in settings.models] == [None, str(bundled_model(DEFAULT_MODEL))]


def test_demo_holds_its_test_pictures_out():
    for kind in ("teacher", "student"):
        trained = set(_read(f"demo/train_{kind}.yml")["datasets"]["train"]["pictures"])
        for name in ("demo/test_student.yml", "demo/test_bicubic.yml"):
            for dataset in _read(name)["datasets"].values():
                assert not trained & set(dataset["pictures"])
    assert math.isclose(_read("demo/train_student.yml")["network_g"]["layer_scale_init"], 0.1)
