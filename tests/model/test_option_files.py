"""The option files that we ship are complete, and fit what they name."""

from __future__ import annotations

import inspect
import math

import pytest
import yaml
from basicsr.utils.registry import ARCH_REGISTRY, DATASET_REGISTRY, LOSS_REGISTRY, MODEL_REGISTRY

from lightbsr_model.degradation import PRESETS, get_degradation
from lightbsr_model.models import TwoPhaseCosineLR

from helpers import ROOT

FILES = {path.relative_to(ROOT / "options").as_posix(): path for path in (ROOT / "options").rglob("*.yml")}
TRAINING = [name for name in FILES if "train_" in name]
TESTS = [name for name in FILES if "test_" in name]
SETS = {"Set5", "Set14", "B100", "Urban100"}


def _read(name):
    return yaml.safe_load(FILES[name].read_text())


def _accepts(cls, options, extra=()):
    arguments = {key: value for key, value in options.items() if key != "type"}
    unknown = set(arguments) - set(inspect.signature(cls).parameters) - set(extra)
    assert not unknown, f"{cls.__name__} has no {unknown}"


def test_all_files_are_there():
    assert {
        "train_teacher.yml",
        "train_student.yml",
        "train_teacher_setting2.yml",
        "train_student_setting2.yml",
    } <= FILES.keys()
    assert {
        "demo/train_teacher.yml",
        "demo/train_student.yml",
        "demo/test_student.yml",
        "demo/test_bicubic.yml",
    } <= FILES.keys()


@pytest.mark.parametrize("name", sorted(FILES))
def test_names_and_arguments_are_known(name):
    opt = _read(name)
    assert opt["model_type"] in MODEL_REGISTRY
    assert opt["num_gpu"] == "auto"
    _accepts(ARCH_REGISTRY.get(opt["network_g"]["type"]), opt["network_g"])
    assert opt["network_g"]["scale"] == opt["scale"]
    for key, dataset in opt["datasets"].items():
        assert dataset["type"] in DATASET_REGISTRY, key
        get_degradation(dataset["preset"], dataset.get("degradation"))
    names = [dataset["name"] for dataset in opt["datasets"].values()]
    assert len(set(names)) == len(names)
    for metric in opt["val"]["metrics"].values():
        assert metric["crop_border"] == opt["scale"]
        assert metric["test_y_channel"] is True


@pytest.mark.parametrize("name", sorted(TRAINING))
def test_training_file(name):
    opt = _read(name)
    train = opt["train"]
    for key in ("contrastive_opt", "channel_opt", "spatial_opt", "pixel_opt"):
        if key in train:
            _accepts(LOSS_REGISTRY.get(train[key]["type"]), train[key])
    _accepts(TwoPhaseCosineLR, train["scheduler"])
    assert isinstance(train["optim_g"]["lr"], float)
    assert isinstance(train["scheduler"]["eta_min"], float)
    assert 0 < train["encoder_iter"] < train["total_iter"]
    if "student" in name:
        teacher = _read(name.replace("student", "teacher"))
        network = opt["teacher"]["network"]
        _accepts(ARCH_REGISTRY.get("LightBSRTeacher"), network)
        for key, value in network.items():
            assert teacher["network_g"][key] == value, key
        student = {key: value for key, value in opt["network_g"].items() if key not in ("type", "layer_scale_init")}
        for key, value in student.items():
            assert teacher["network_g"][key] == value, key
        assert opt["teacher"]["path"] == f"experiments/{teacher['name']}/models/net_g_latest.pth"
        assert opt["datasets"]["train"]["preset"] == teacher["datasets"]["train"]["preset"]
    else:
        assert opt["datasets"]["train"]["views"] == 4
        noisy = get_degradation(opt["datasets"]["train"]["preset"]).is_noisy
        assert opt["network_g"]["prior_channels"] == (18 if noisy else 15)


@pytest.mark.parametrize("name", [name for name in TRAINING if not name.startswith("demo/")])
def test_published_recipe(name):
    opt = _read(name)
    data, train = opt["datasets"]["train"], opt["train"]
    assert (data["gt_size"], data["batch_size_per_gpu"]) == (256, 64)
    assert data["dataroot_gt"] == "datasets/DF2K_sub.lmdb"
    epoch = opt["train"]["scheduler"]["step_iter"]
    assert epoch == 3450 * 18 // 64
    assert (train["total_iter"], train["encoder_iter"]) == (700 * epoch, 100 * epoch)
    assert train["scheduler"] == {
        "type": "TwoPhaseCosineLR",
        "warmup_iter": 5 * epoch,
        "step_iter": epoch,
        "eta_min": 1e-6,
    }
    # `fused` and `channels_last` take the same steps faster; what changes results is off.
    assert train["optim_g"] == {"type": "Adam", "lr": 2e-4, "weight_decay": 0, "betas": [0.9, 0.99], "fused": True}
    assert (train["channels_last"], train["compile"], train["amp"]) == (True, False, "off")
    assert train["ema_decay"] == 0
    assert train["pixel_opt"] == {"type": "L1Loss", "loss_weight": 255.0, "reduction": "mean"}
    # Written out, and equal to the constructors' defaults, which are the published sizes.
    network = ARCH_REGISTRY.get(opt["network_g"]["type"])
    for key, parameter in inspect.signature(network).parameters.items():
        if key in opt["network_g"] and key != "prior_channels":
            assert opt["network_g"][key] == parameter.default, key


def test_every_test_preset_has_its_file():
    covered = {scale: set() for scale in (2, 3, 4)}
    for name in TESTS:
        if name.startswith("demo/") or "bicubic" in name:
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
    fixed = {name for name in PRESETS if not name.startswith("setting")}
    assert covered[4] == fixed - {"iso_0.6", "iso_0.8", "iso_1.6"}


def test_demo_holds_its_test_pictures_out():
    for kind in ("teacher", "student"):
        trained = set(_read(f"demo/train_{kind}.yml")["datasets"]["train"]["pictures"])
        for name in ("demo/test_student.yml", "demo/test_bicubic.yml"):
            for dataset in _read(name)["datasets"].values():
                assert not trained & set(dataset["pictures"])
    assert math.isclose(_read("demo/train_student.yml")["network_g"]["layer_scale_init"], 0.1)
