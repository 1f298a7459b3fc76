"""Names that become folders, values that decide the figures, and arguments that do nothing."""

from __future__ import annotations

import pytest

from lightbsr_arch import LightBSRTeacher
from lightbsr_arch.errors import OptionError
from lightbsr_model.degradation import get_degradation
from lightbsr_model.option_files.folder_names import name_fault

from support.option_problems import check_of
from support.training_files import training_options

BAD_NAMES = ["../x", "/any/folder", "a\\b", ".", "..", "", " ", "a\0b", "a\nb", "a\x1b[31m", "n" * 201, 5]


@pytest.mark.parametrize("name", BAD_NAMES)
def test_a_name_is_one_part_of_a_path(image_folder, name):
    assert name_fault(name) is not None
    opt = training_options(image_folder)
    for place in (opt, opt["datasets"]["train"], opt["datasets"]["val"]):
        place["name"] = name
    keys = {problem.key for problem in check_of(opt).problems}
    assert keys == {("name",), ("datasets", "train", "name"), ("datasets", "val", "name")}


@pytest.mark.parametrize("name", ["x4", "EDSR_Lx4_f256b32", "Größe 😀", "v1.5", ".hidden", "n" * 200])
def test_a_good_name(name):
    assert name_fault(name) is None


def test_forced_names_and_suffixes(image_folder):
    opt = training_options(image_folder)
    problems = check_of(opt, force=["name=../x", "val:suffix=../../x"]).problems
    assert [problem.key for problem in problems] == [("name",), ("val", "suffix")]
    assert "expected the name of one folder, without / and \\, got '../x'" in problems[0].message


@pytest.mark.parametrize("is_train", [True, False])
@pytest.mark.parametrize(
    ("metric", "key", "message"),
    [
        ({"test_y_channel": "no"}, "test_y_channel", "expected true or false, got 'no'"),
        ({"crop_border": -4}, "crop_border", "expected an integer from 0 to 1000, got -4"),
        ({"crop_border": 4.5}, "crop_border", "expected an integer from 0 to 1000, got 4.5"),
        ({"test_y_chanel": True}, "test_y_chanel", "unknown key; did you mean test_y_channel"),
    ],
)
def test_values_of_metrics(image_folder, is_train, metric, key, message):
    opt = training_options(image_folder)
    opt["val"]["metrics"] = {"psnr": {"type": "calculate_psnr", "crop_border": 4, "better": "higher", **metric}}
    if not is_train:
        opt["datasets"] = {"val": opt["datasets"]["val"]}
        del opt["train"], opt["val"]["val_freq"]
    (problem,) = check_of(opt, is_train).problems
    assert problem.key == ("val", "metrics", "psnr", key)
    assert problem.message.startswith(message)
    assert problem.line is not None


@pytest.mark.parametrize("section", ["train", "val"])
def test_a_training_range_of_another_scale(image_folder, section):
    opt = training_options(image_folder)
    opt["datasets"][section]["preset"] = "setting1_x2"
    (problem,) = check_of(opt).problems
    assert problem.key == ("datasets", section, "preset")
    assert problem.message == (
        "setting1_x2 is the range of x2, but scale is 4: take setting1_x4. If x2's range is meant, override it: "
        "preset: setting1_x4 with degradation: {sigma: [0.2, 2.0]}."
    )
    opt["datasets"][section].update(preset="setting1_x4", degradation={"sigma": [0.2, 2.0]})
    assert check_of(opt).problems == []


def test_points_fit_any_scale():
    for preset in ("bicubic", "iso_1.2", "aniso_k1_n5"):
        for scale in (2, 3, 4):
            get_degradation(preset, scale=scale)
    with pytest.raises(OptionError, match="take setting2_x3"):
        get_degradation("setting2_x4", scale=3)


def test_temperature_of_a_teacher_says_where_it_is_set(image_folder):
    opt = training_options(image_folder, network_g={"temperature": 0.07})
    check = check_of(opt)
    assert check.problems == []
    warnings = {problem.key: problem.message for problem in check.warnings}
    assert "contrastive_opt: {temperature" in warnings["network_g", "temperature"]
    with pytest.warns(UserWarning, match="contrastive_opt"):
        LightBSRTeacher(temperature=0.1, num_group=1, num_block=1, queue_size=64)
