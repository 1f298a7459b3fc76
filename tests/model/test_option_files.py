"""The option files that we ship are complete, and fit what they name."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from basicsr.models.lr_scheduler import MultiStepRestartLR
from basicsr.utils.registry import ARCH_REGISTRY, DATASET_REGISTRY, LOSS_REGISTRY, MODEL_REGISTRY

from lightbsr_arch.methods.registry import pairings
from lightbsr_arch.weights.model_files import SMALL_MODEL, bundled_model
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

from support.shipped_options import ALL, BASICSRS, BURSTS, FILES, OLD_PATHS, TRAINING, accepts, read_shipped

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
SETS = {"Set5", "Set14", "B100", "Urban100"}


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
    found = {pairing.teacher: read_shipped(pairing.recipe.removeprefix("options/")) for pairing in pairings()}
    assert {"LightBSRTeacher", "KDSRTeacher"} <= found.keys()
    assert all(opt["network_g"]["type"] == teacher for teacher, opt in found.items())


@pytest.mark.parametrize("old", sorted(OLD_PATHS))
def test_a_path_of_before_is_the_recipe(old):
    assert len(FILES[old].read_text().splitlines()) == 1
    assert read_shipped(old) == read_shipped(OLD_PATHS[old])


@pytest.mark.parametrize("name", sorted(FILES.keys() - OLD_PATHS.keys()))
def test_shown_file_is_the_file(name):
    shown = whole_text(read_shipped(name))
    again = parse_document(shown)
    assert again.problems == []
    assert whole_text(again.options) == shown
    _holds(again.options, read_shipped(name))


@pytest.mark.parametrize("name", ["demo/train_student.yml", "kdsr/train_m_student.yml", "compare/train_swinir.yml"])
def test_check_says_the_same_of_a_shown_file(name):
    shown = parse_document(whole_text(read_shipped(name)))
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
    opt, x4 = read_shipped(f"{method}_x{scale}.yml"), read_shipped(f"{METHODS[method]}.yml")
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
    opt = read_shipped(name)
    assert opt["model_type"] in names_in(MODEL_REGISTRY)
    assert opt["num_gpu"] == "auto"
    accepts(ARCH_REGISTRY.get(opt["network_g"]["type"]), opt["network_g"])
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
    opt = read_shipped(name)
    train = opt["train"]
    for key in ("contrastive_opt", "channel_opt", "spatial_opt", "corrector_opt", "pixel_opt", "detail_opt"):
        if key in train:
            accepts(LOSS_REGISTRY.get(train[key]["type"]), train[key])
    kind = train["scheduler"]["type"]
    accepts(MultiStepRestartLR if kind == "MultiStepLR" else TWO_PHASE_SCHEDULES[kind], train["scheduler"])
    for rate in (train["optim_g"]["lr"], *(train["scheduler"].get(key, 0.0) for key in ("eta_min", "encoder_lr"))):
        assert isinstance(rate, float)
    assert 0 <= (train["encoder_iter"] or 0) < train["total_iter"]
    if "student" in name:
        teacher = read_shipped(name.replace("student", "teacher").replace("_long", ""))
        network = opt["teacher"]["network"]
        accepts(ARCH_REGISTRY.get(teacher["network_g"]["type"]), network)
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


def test_the_small_models_encoder_is_its_students():
    opt, student = read_shipped("small/train_encoder.yml"), read_shipped("small/train_student.yml")
    for key in ("model_type", "network_g", "teacher"):
        assert opt[key] == student[key]
    length = opt["train"]["total_iter"]
    assert (opt["train"]["encoder_iter"], opt["train"]["scheduler"]["periods"]) == (length, [length])
    assert opt["train"]["degradation_opt"] == student["train"]["degradation_opt"]
    assert student["path"]["pretrain_network_g"] == f"experiments/{opt['name']}/models/net_g_latest.pth"
    assert opt["path"]["pretrain_network_g"] is None


def test_every_test_preset_has_its_file():
    covered = {scale: set() for scale in (2, 3, 4)}
    for name in TESTS:
        if "bicubic" in name:
            continue
        opt = read_shipped(name)
        pairs = [(dataset["dataroot_gt"], dataset["preset"]) for dataset in opt["datasets"].values()]
        assert len(set(pairs)) == len(pairs)
        presets = {preset for _, preset in pairs}
        assert set(pairs) == {(f"datasets/{folder}", preset) for folder in SETS for preset in presets}
        assert list(opt["datasets"]) == sorted(opt["datasets"])
        covered[opt["scale"]] |= presets
    assert covered[2] == {"bicubic", "iso_0.6", "iso_1.2", "iso_1.8"}
    assert covered[3] == {"bicubic", "iso_0.8", "iso_1.6", "iso_2.4"}
    fixed = {name for name in PRESETS if name not in SCALES}
    assert covered[4] - set(SCALES) == fixed - {"iso_0.6", "iso_0.8", "iso_1.6"}


def test_the_small_model_holds_its_test_pictures_out(image_folder):
    trained = {Path(photo.file).stem for photo in (*BUNDLED_PHOTOGRAPHS, *WALLPAPERS)}
    for kind in ("teacher", "student"):
        datasets = read_shipped(f"small/train_{kind}.yml")["datasets"]
        assert datasets["train"]["dataroot_gt"] == "datasets/wallpapers_sub.lmdb"
        assert set(datasets["val"]["pictures"]) == {"coffee", "chelsea"}
        assert not trained & {"coffee", "chelsea"}
    document = read_document(ALL["small/compare.yml"])
    force_options(document, [f"sets:{name}={image_folder}" for name in ("Set5", "Set14")])
    settings = read_settings(document, "compare.yml")
    assert [model.path for model in settings.models] == [None, str(bundled_model(SMALL_MODEL))]


def test_demo_holds_its_test_pictures_out():
    for kind in ("teacher", "student"):
        trained = set(read_shipped(f"demo/train_{kind}.yml")["datasets"]["train"]["pictures"])
        for name in ("demo/test_student.yml", "demo/test_bicubic.yml"):
            for dataset in read_shipped(name)["datasets"].values():
                assert not trained & set(dataset["pictures"])
    assert math.isclose(read_shipped("demo/train_student.yml")["network_g"]["layer_scale_init"], 0.1)
