"""A key counts where it is read: what is followed of a class's code, and what the check makes of it."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest
from basicsr.utils.registry import DATASET_REGISTRY, MODEL_REGISTRY

from lightbsr_model.option_files.keys_read import keys_read_by
from lightbsr_model.runtime.declared_keys import keys_of
from lightbsr_model.training.train_options import LoopOptions

from support.method_cases import CASES
from support.option_problems import problems_of
from support.training_files import training_options


def build(opt, name="default_name"):
    return opt["helped"], opt[name]


class Helper:
    def __init__(self, options: dict[str, Any], kind: str) -> None:
        self.options = options
        self.kind = kind

    def use(self):
        return self.options.get("used_by_helper")


class Base:
    def __init__(self, opt):
        self.opt = opt
        self.prepare()

    def prepare(self):
        self.opt["train"]["never_called"]

    def named(self, key):
        return self.opt["train"].get(key)

    @property
    def train_opt(self):
        return self.opt.get("train") or {}


class Derived(Base):
    def __init__(self, opt):
        super().__init__(opt)
        self.later()
        self.kept = dict(self.opt["val"])
        Helper(self.opt["helper"], "x")

    def prepare(self):
        section = train = self.opt["train"]
        if "tested" in train:
            section.pop("popped", None)
        for key in ("first", "second"):
            section[key]
        for name, dataset in self.opt["datasets"].items():
            dataset["of_every_set"], self.opt["datasets"][name]
        build(deepcopy(train), name="named")
        self.named("asked")
        self.train_opt["of_property"]
        [entry["listed"] for entry in (self.opt["a"], self.opt["b"])]

    def later(self):
        self.kept.get("kept")
        return f"{self.opt['val']['in_text']}"


def test_what_is_followed():
    read = keys_read_by(Derived)
    assert read.of("train") == {*("tested", "popped", "first", "second", "helped", "named", "asked", "of_property")}
    assert read.of("datasets", "train") == read.of("datasets", "val_2") == {"of_every_set"}
    assert read.of("val") == {"kept", "in_text"}
    assert read.of("helper") == {"used_by_helper"}
    assert read.of("a") == read.of("b") == {"listed"}


def test_keys_of_basicsr_models():
    own = keys_read_by(MODEL_REGISTRY.get("SRModel")).of("train")
    # In a process that has trained, our stand-ins of BasicSR's methods read keys of every model.
    assert own - keys_of(LoopOptions).keys() == {*("ema_decay", "optim_g", "pixel_opt", "perceptual_opt")}
    gan = keys_read_by(MODEL_REGISTRY.get("SRGANModel")).of("train")
    assert gan >= {"gan_opt", "ldl_opt", "optim_d", "net_d_iters", "net_d_init_iters"}
    assert keys_read_by(DATASET_REGISTRY.get("SingleImageDataset")).of() == {
        *("dataroot_lq", "io_backend", "meta_info_file", "mean", "std", "color")
    }


@pytest.mark.parametrize(
    ("section", "key", "value", "message"),
    [
        (
            "train",
            "border",
            "clamp",
            "train:border: unknown key here; it is read from datasets:train: move or remove it",
        ),
        (
            "train",
            "degradation_per",
            "batch",
            "train:degradation_per: unknown key here; it is read from datasets:train",
        ),
        ("train", "preset", "bicubic", "train:preset: unknown key here; it is read from datasets:train"),
        ("train", "print_freq", 5, "train:print_freq: unknown key"),
        ("train", "temperature", 0.1, "train:temperature: unknown key"),
        ("train", "optim_d", {"type": "Adam", "lr": 1e-4}, "train:optim_d: unknown key; did you mean optim_g"),
        ("train", "spatial_opt", {"type": "SpatialDistillationLoss"}, "train:spatial_opt: unknown key"),
        ("val", "ema_decay", 0.9, "val:ema_decay: unknown key here; it is read from train"),
        ("network_d", "type", "LightBSR", "network_d: unknown key"),
        ("teacher", "path", "x.pth", "teacher: unknown key"),
        ("", "encoder_iter", 3, "encoder_iter: unknown key here; it is read from train"),
        ("", "border", "clamp", "border: unknown key here; it is read from datasets:train"),
    ],
)
def test_a_key_in_a_section_that_does_not_read_it(image_folder, section, key, value, message):
    opt = training_options(image_folder)
    (opt.setdefault(section, {}) if section else opt)[key] = value
    problems = problems_of(opt)
    assert any(f", {message}" in problem for problem in problems), problems


@pytest.mark.parametrize("key", ["total_iter", "encoder_iter", "views", "mean", "seed", "meta_info", "val_freq"])
def test_a_key_that_the_data_set_does_not_read(image_folder, key):
    opt = training_options(image_folder)
    opt["datasets"]["train"] |= {"views": 4, key: 3}
    problems = problems_of(opt)
    assert problems == [] if key == "views" else f"datasets:train:{key}: unknown key" in problems[0], problems


def test_a_students_keys_count(image_folder, tmp_path):
    opt = CASES["LightBSR"].apply(training_options(image_folder), tmp_path / "teacher.pth")
    opt["train"].update(compile=False, channels_last=True, sync_bn=True)
    opt["teacher"]["start_student"] = False
    assert all("unknown key" not in problem for problem in problems_of(opt))
