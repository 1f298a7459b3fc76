"""One scale for a whole file, and the file with all its defaults."""

from __future__ import annotations

import pytest
import torch
import yaml
from basicsr.utils.registry import ARCH_REGISTRY

import lightbsr
from lightbsr_model.option_files.document import parse_document, to_yaml
from lightbsr_model.option_files.whole_options import read_options, whole_text, with_defaults

from support.option_problems import complete, problems_of
from support.training_files import plain_training, training_options


def _complete(options, *forced):
    document = complete(options, *forced)
    assert document.problems == []
    return document


@pytest.mark.parametrize(
    ("network", "argument"),
    [
        ("LightBSR", "scale"),
        ("CdCL", "scale"),
        ("BicubicUpsampler", "scale"),
        ("MSRResNet", "upscale"),
        ("SwinIR", "upscale"),
        ("RRDBNet", "scale"),
    ],
)
def test_networks_get_the_scale(network, argument):
    options = {"scale": 3, "network_g": {"type": network}, "teacher": {"network": {"type": network}}}
    document = _complete(options)
    assert list(document.options["network_g"].items()) == [("type", network), (argument, 3)]
    assert document.options["teacher"]["network"] == {"type": network, argument: 3}
    assert document.problem(("network_g", argument), "").line == 1
    forced = _complete(options, "scale=2").options
    assert forced["network_g"][argument] == forced["teacher"]["network"][argument] == 2


def test_metrics_get_the_scale_as_border():
    metrics = {"psnr": {"type": "calculate_psnr"}, "ssim": {"type": "calculate_ssim", "crop_border": 0}}
    filled = _complete({"scale": 2, "val": {"metrics": metrics}}).options["val"]["metrics"]
    assert filled == {"psnr": {"type": "calculate_psnr", "crop_border": 2}, "ssim": metrics["ssim"]}


@pytest.mark.parametrize(
    "options",
    [
        {"network_g": {"type": "LightBSR"}},
        {"scale": "4", "network_g": {"type": "LightBSR"}},
        {"scale": True, "network_g": {"type": "LightBSR"}},
        {"scale": 4, "network_g": {"type": "LightBSR", "scale": 2}},
        {"scale": 4, "network_g": {"type": "VGGStyleDiscriminator", "num_in_ch": 3}},
        {"scale": 4, "network_g": {"type": "NoSuchNetwork"}},
        {"scale": 4, "network_g": {"type": "no.such.Network"}},
        {"scale": 4, "network_g": {"type": ["LightBSR"]}},
        {"scale": 4, "network_g": ["LightBSR"], "teacher": 5, "val": {"metrics": 5}},
        {"scale": 4, "val": {"metrics": {"psnr": {"type": "none"}, "ssim": 3}}},
    ],
)
def test_nothing_else_is_filled_in(options):
    assert _complete(options).options == options


class Foreign(torch.nn.Module):
    def __init__(self, scale: float = 0.1, upscale: int = 2) -> None:
        super().__init__()


class ForeignThatAsks(torch.nn.Module):
    def __init__(self, scale: int) -> None:
        super().__init__()


def test_a_scale_of_another_package_is_filled_in_only_where_it_asks(monkeypatch):
    monkeypatch.setitem(ARCH_REGISTRY._obj_map, "Foreign", Foreign)
    monkeypatch.setitem(ARCH_REGISTRY._obj_map, "ForeignThatAsks", ForeignThatAsks)
    networks = {"network_g": {"type": "Foreign"}, "network_d": {"type": "ForeignThatAsks"}}
    filled = _complete({"scale": 4, **networks}).options
    assert filled == {
        "scale": 4,
        "network_g": {"type": "Foreign"},
        "network_d": {"type": "ForeignThatAsks", "scale": 4},
    }


def test_a_scale_that_is_given_must_agree(image_folder):
    opt = training_options(image_folder)
    opt["network_g"]["scale"] = 2
    line = yaml.safe_dump(opt, sort_keys=False).splitlines().index("  scale: 2") + 1
    problems = problems_of(opt)
    assert len(problems) == 1
    assert problems[0].startswith(f"line {line}, network_g:scale: 2, but scale is 4: make them equal")


# ---- the whole file


def test_defaults_of_every_class(image_folder):
    opt = _complete(plain_training(image_folder)).options
    opt["teacher"] = {"network": {"type": "LightBSRTeacher", "scale": 4}}
    opt["network_d"] = {"type": "SwinIR"}
    whole = with_defaults(opt)
    assert whole["train"]["scheduler"] == {
        **{"type": "MultiStepLR", "milestones": [4], "gamma": 0.5},
        **{"restarts": (0,), "restart_weights": (1,)},
    }
    assert whole["train"]["pixel_opt"]["reduction"] == "mean"
    assert whole["teacher"]["network"]["queue_size"] == 8192
    train, val = whole["datasets"]["train"], whole["datasets"]["val"]
    assert (train["border"], train["use_rot"], train["degradation_per"]) == ("clamp", True, "sample")
    assert (train["degrade_in"], train["views"], val["seed"]) == ("loader", 1, 0)
    # A class cannot be written as YAML.
    assert "norm_layer" not in whole["network_d"]
    assert whole["network_d"]["embed_dim"] == 96


def test_given_values_are_left_alone(image_folder):
    opt = _complete(training_options(image_folder)).options
    before = yaml.safe_dump(opt)
    with_defaults(opt)
    assert yaml.safe_dump(opt) == before


@pytest.mark.parametrize(
    "value",
    [
        *("2e-4", "1e5", "off", "~", "null", "2020-01-01", "0x10", "1_000", "1:30", "<<", "#", "é", "-"),
        *("", "a: b", "\x07"),
        *(2e-4, 1e-300, 1e300, float("inf"), 1.0, 10**20, 0, True, None, [1, [2, 3]], [{"a": [1.5, "x"]}], {}, []),
        *("x" * 300, "a " * 200, "two\nlines", " spaces "),
    ],
)
def test_values_are_written_as_they_are_read(value):
    text = to_yaml({"a": value, "again": value})
    document = parse_document(text)
    assert document.problems == []
    assert document.options == {"a": value, "again": value}
    assert "&id" not in text
    assert type(document.options["a"]) is type(value)


@pytest.mark.parametrize("make", [training_options, plain_training])
def test_shown_file_trains_the_same(make, image_folder, tmp_path, capsys):
    opt = make(image_folder)
    del opt["network_g"]["scale" if "scale" in opt["network_g"] else "upscale"]
    opt["num_gpu"] = 2  # a warning where there are none
    opt["datasets"]["val"].pop("preset")
    opt["datasets"]["val"]["presets"] = ["iso_1.2", "iso_2.4"]
    (tmp_path / "below.yml").write_text(yaml.safe_dump(opt, sort_keys=False))
    (tmp_path / "run.yml").write_text("base: below.yml\nmanual_seed: 5\n")
    arguments = ["check", "-opt", str(tmp_path / "run.yml"), "--show", "--force_yml", "train:ema_decay=0.5"]
    assert lightbsr.main(arguments) == 0
    printed, warnings = capsys.readouterr()
    assert "num_gpu: 2 asked for" in warnings or torch.cuda.device_count() > 1
    (tmp_path / "shown.yml").write_text(printed)
    document, shown = read_options(tmp_path / "run.yml", ["train:ema_decay=0.5"]), read_options(tmp_path / "shown.yml")
    assert whole_text(document.options) == whole_text(shown.options) == printed
    assert shown.options["manual_seed"] == 5
    assert shown.options["train"]["ema_decay"] == 0.5
    assert list(shown.options["datasets"]) == ["train", "val_1", "val_2"]
    assert lightbsr.main(["check", "-opt", str(tmp_path / "shown.yml")]) == 0


def test_a_file_with_problems_is_shown_too(image_folder, tmp_path, capsys):
    opt = training_options(image_folder, train={"total_iter": 0})
    (tmp_path / "run.yml").write_text(yaml.safe_dump(opt))
    assert lightbsr.main(["check", "-opt", str(tmp_path / "run.yml"), "--show"]) == 2
    printed, problems = capsys.readouterr()
    assert yaml.safe_load(printed)["train"]["total_iter"] == 0
    assert "train:total_iter: expected" in problems
    (tmp_path / "run.yml").write_text("base: none.yml")
    assert lightbsr.main(["check", "-opt", str(tmp_path / "run.yml"), "--show"]) == 2
    printed, problems = capsys.readouterr()
    assert printed == ""
    assert "line 1, base: there is no file" in problems
