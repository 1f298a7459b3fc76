"""What is declared of keys decides which values pass: one line per problem, never a traceback, never silence."""

from __future__ import annotations

import copy
import math
import re

import pytest
import torch
from basicsr.utils.registry import DATASET_REGISTRY, MODEL_REGISTRY

from lightbsr_model.option_files.class_options import declared
from lightbsr_model.option_files.declared import sections
from lightbsr_model.option_files.declared.kinds import KINDS, arguments_of, is_ours
from lightbsr_model.option_files.document import OptionDocument
from lightbsr_model.option_files.keys_read import keys_read_by
from lightbsr_model.option_files.option_check import OptionCheck
from lightbsr_model.runtime.declared_keys import keys_of, shown

from support.method_cases import CASES
from support.option_problems import problems_of
from support.training_files import plain_training
from support.training_files import training_options as shared_options

DELETE = type("Nothing", (), {"__repr__": lambda _: "nothing"})()


def training_options(images, **changes):
    """A copy: some of its sections are shared by all tests."""
    return copy.deepcopy(shared_options(images, **changes))


def _put(opt, key, value):
    *place, name = key.split(":")
    section = opt
    for word in place:
        section = section.setdefault(word, {})
    if value is DELETE:
        del section[name]
    else:
        section[name] = value


TRAIN, SET, NET = "train:", "datasets:train:", "network_g:"
ADAM, LOSS, CONTRAST, PSNR = "train:optim_g:", "train:pixel_opt:", "train:contrastive_opt:", "val:metrics:psnr:"
COSINE = {"type": "CosineAnnealingRestartLR"}

REFUSED = [
    ("scale", 4.0, "expected an integer from 1 to 16, got 4.0"),
    ("scale", DELETE, "missing; .*BlindDegradationPairedDataset"),
    (SET + "gt_size", DELETE, "missing; expected an integer from 11"),
    (SET + "gt_size", 4, "an integer from 11 .*reflects.*, got 4"),
    (SET + "gt_size", 8, "an integer from 11 .*, got 8"),
    *((SET + "views", value, "expected an integer from 1 to 64") for value in (0, -1, 2.5, "4", None)),
    *((ADAM + "lr", value, "expected a number from 0 to 1000") for value in (math.inf, 1e300, math.nan, -1, "x")),
    *(
        (ADAM + "betas", value, "expected a list of 2 values, each a number >= 0 and < 1")
        for value in (2, [0.9], [1.5, 0.9], [math.nan, 0.9], "x")
    ),
    *((ADAM + "weight_decay", value, "expected a number from 0") for value in (-1, math.nan)),
    *((TRAIN + "channels_last", value, "expected true or false") for value in ("yes", [])),
    ("val:save_img", "yes", "expected true or false, got 'yes'"),
    *((LOSS + "loss_weight", value, "expected a number from 0") for value in (math.nan, -1)),
    *((CONTRAST + "temperature", value, "expected a number > 0") for value in (0, -0.07)),
    (LOSS + "reduction", "average", "expected mean or sum .*, got 'average'"),
    (CONTRAST + "reduction", "none", "expected mean or sum .a training needs one number"),
    *(("train:scheduler:warmup_iter", value, "expected an integer >= 0") for value in (-1, 1.5)),
    *((NET + "queue_size", value, "expected an integer from 1 to 1048576") for value in (0, -1, 1.5, 1e10, 10**10)),
    (NET + "queue_size", 7, "expected a multiple of the batch .2 samples per process, 2 in all., got 7"),
    (NET + "layer_scale_init", 0, "expected a number > 0"),
    *((PSNR + "crop_border", value, "expected an integer from 0 to 1000") for value in (-4, "4", 100000)),
    (PSNR + "better", "bigger", "expected higher or lower"),
    ("train:optim_g", DELETE, "missing; expected a section with the `type` of the optimiser"),
    ("train:pixel_opt", DELETE, "missing; expected a section with the `type` of the loss"),
    ("train:pixel_opt", None, "missing"),
    ("train:contrastive_opt", DELETE, "missing; expected a section with the `type` of the loss"),
    ("train:encoder_iter", DELETE, "missing"),
    ("network_g", DELETE, "missing; LightBSRTeacherModel needs it"),
    (ADAM + "lr", DELETE, "missing; expected a number"),
    (ADAM + "type", "LBFGS", "computes the loss several times"),
    (ADAM + "type", "SparseAdam", "sparse gradients"),
    (ADAM + "type", "Muon", "matrices"),
    (ADAM + "type", 5, "expected the name of the optimiser, got 5"),
    (ADAM + "type", DELETE, "missing; expected the name of the optimiser"),
    ("train:scheduler", {"type": "MultiStepLR"}, "milestones: missing"),
    ("train:scheduler", {"type": "MultiStepLR", "milestones": None}, "milestones: missing"),
    ("train:scheduler", {"type": "MultiStepLR", "milestones": [3], "restarts": [0, 3]}, "restart_weights: 1 values"),
    ("train:scheduler", {**COSINE, "periods": ["a"]}, "periods: expected a list .*, got .'a'."),
    ("train:scheduler", {**COSINE, "periods": [9]}, "end at iteration 9, after total_iter 5"),
    ("train:scheduler", {**COSINE, "periods": [2, 2], "restart_weights": [1, 1]}, "iteration 4, before total_iter 5"),
    ("train:scheduler", {**COSINE, "periods": [2, 3]}, "restart_weights: 1 values, but periods"),
    ("train:amp", "bf17", "expected off, bf16, fp16 or ~, got 'bf17'"),
    ("train:encoder_iter", "a", "expected an integer >= 0, got 'a'"),
    ("train:accum_iter", 3, "expected a divisor of batch_size_per_gpu, 2, got 3"),
    (SET + "io_backend:typ", "disk", "unknown key; did you mean type"),
    (SET + "io_backend", "disk", "expected a section of keys, got 'disk'"),
    (SET + "prefetch_mode", "cuda", "add pin_memory: true"),
    (SET + "preset", ["bicubic"], "expected a string or ~"),
    (SET + "degradation", [1], "expected a section of keys or ~, got .1."),
    (SET + "dataroot_gt", 5, "expected a string or ~, got 5"),
    ("path:strict_load_g", "no", "expected true or false, got 'no'"),
    ("path:pretrain_network_g", ["a.pth"], "expected a string or ~, got .'a.pth'."),
    ("path:resume_state", ["a.state"], "expected a string or ~"),
    ("logger:wandb:projekt", "x", "unknown key; did you mean project"),
    ("dist_params:port", 0, "expected an integer from 1 to 65535 or ~, got 0"),
    ("manual_seed", 2**32, "expected an integer from 0"),
]


@pytest.mark.parametrize(("key", "value", "words"), REFUSED, ids=lambda value: shown(value)[:40])
def test_a_value_that_does_not_fit_is_one_line(image_folder, key, value, words):
    opt = training_options(image_folder)
    _put(opt, key, value)
    found = problems_of(opt)
    assert len(found) == 1, found
    assert re.match(rf"(line \d+, )?{key}.*?: ", found[0])
    assert found[0].startswith("line ") or ":" not in key
    assert re.search(words, found[0]), found[0]


ALLOWED = [
    ("train:warmup_iter", -1),  # BasicSR's word for none
    ("train:total_iter", 5e0),
    ("val:val_freq", 5e3),
    *(("train:amp", value) for value in ("bf16", "off", None, False)),  # YAML reads off as False
    ("train:optim_g", {"type": "Adafactor", "lr": 1e-3, "eps": [None, 1e-3]}),
    ("train:optim_g:fused", True),
    ("train:scheduler", {**COSINE, "periods": [2.0, 3], "restart_weights": [1, 0.5]}),
    ("train:scheduler", {"type": "MultiStepLR", "milestones": [2.0]}),
    ("datasets:train:prefetch_mode", None),
    ("manual_seed", None),
    ("path", None),
    ("network_g:prior_components", None),
]


@pytest.mark.parametrize(("key", "value"), ALLOWED, ids=str)
def test_a_value_that_fits(image_folder, key, value):
    opt = training_options(image_folder)
    _put(opt, key, value)
    assert problems_of(opt) == []


def test_iterations_written_with_an_exponent_become_integers(image_folder):
    opt = training_options(image_folder)
    opt["val"]["val_freq"], opt["train"]["scheduler"] = 5e3, {"type": "MultiStepLR", "milestones": [2.0, 3]}
    assert OptionCheck(OptionDocument(options=opt), is_train=True).run() == []
    values = [opt["val"]["val_freq"], *opt["train"]["scheduler"]["milestones"]]
    assert values == [5000, 2, 3]
    assert all(type(value) is int for value in values)


SR = "train:pixel_opt: missing; SRModel learns by pixel_opt, perceptual_opt or both"


@pytest.mark.parametrize(
    ("key", "value", "problem"),
    [
        ("train:pixel_opt", DELETE, SR),
        ("train:pixel_opt", None, SR),
        ("train:optim_g", DELETE, "train:optim_g: missing"),
        ("network_g", DELETE, "network_g: missing; SRModel needs it"),
        (
            "datasets:train",
            {"name": "x", "type": "PairedImageDataset", "batch_size_per_gpu": 2, "num_worker_per_gpu": 0},
            "gt_size: missing",
        ),
        ("model_type", "SRGANModel", "network_d: missing; SRGANModel needs it"),
        ("model_type", "SRGANModel", "train:gan_opt: missing; SRGANModel needs it"),
    ],
)
def test_what_basicsr_models_need(image_folder, key, value, problem):
    opt = plain_training(image_folder)
    assert problems_of(opt) == []
    _put(opt, key, value)
    assert any(problem in line for line in problems_of(opt))


def test_a_loss_that_basicsr_may_do_without_may_be_null(image_folder):
    opt = plain_training(image_folder)
    opt.update(model_type="SRGANModel", network_d={"type": "UNetDiscriminatorSN", "num_in_ch": 3})
    opt["train"].update(optim_d=opt["train"]["optim_g"], gan_opt={"type": "GANLoss", "gan_type": "lsgan"}, ldl_opt=None)
    assert problems_of(opt) == []


# ---- every declared key


def _declared_keys():
    """Every declared key with its place, of a teacher's file or of a student's."""
    teacher, student = MODEL_REGISTRY.get("LightBSRTeacherModel"), MODEL_REGISTRY.get("LightBSRStudentModel")
    training_set = {
        **keys_of(sections.TrainingLoader),
        **declared(DATASET_REGISTRY.get("BlindDegradationPairedDataset")),
    }
    places = {
        "": keys_of(sections.TrainingTop),
        "path": keys_of(sections.Path),
        "train": {**declared(teacher, "train"), **declared(MODEL_REGISTRY.get("CdCLModel"), "train")},
        "val": {**keys_of(sections.TrainingVal), **keys_of(sections.SRVal)},
        "logger": keys_of(sections.Logger),
        "logger:wandb": keys_of(sections.Wandb),
        "dist_params": keys_of(sections.DistParams),
        "teacher": declared(student, "teacher"),
        "datasets:train": training_set,
        "datasets:train:io_backend": keys_of(sections.IoBackend),
        "datasets:val": declared(DATASET_REGISTRY.get("BlindDegradationBenchmarkDataset")),
        "network_g": arguments_of(KINDS["arch"].registry.get("LightBSRTeacher"), "arch")[0],
        "train:optim_g": arguments_of(torch.optim.Adam, "optimiser")[0],
        "train:contrastive_opt": arguments_of(KINDS["loss"].registry.get("DegradationContrastiveLoss"), "loss")[0],
        "train:pixel_opt": arguments_of(KINDS["loss"].registry.get("L1Loss"), "loss")[0],
        "train:scheduler": arguments_of(KINDS["scheduler"].registry["TwoPhaseCosineLR"], "scheduler")[0],
        "val:metrics:psnr": arguments_of(KINDS["metric"].registry.get("calculate_psnr"), "metric")[0],
    }
    return {
        (*place.split(":"), f"{name}g" if key.rule.prefix else name) if place else (name + "g" * key.rule.prefix,): key
        for place, keys in places.items()
        for name, key in keys.items()
    }


KEYS = _declared_keys()
WRONG = [
    *(None, [], [None], ["a", {"b": 1}], {}, {"type": []}, {"a": {"b": [1]}}, True, -1, 10**30, -(10**5000), 2.5),
    *(math.nan, -math.inf, "", "no such word", "\x1b[31m", "a" * 5000),
]
TEXTS = [value for value in WRONG if isinstance(value, str)]


def test_all_keys_are_thrown_at():
    assert len(KEYS) > 130
    assert {key[0] for key in KEYS} >= {"name", "datasets", "network_g", "path", "train", "val", "logger", "teacher"}


def _is_told(rule, value):
    """Whether a value must be named by a problem or a warning; a typed section is judged by more than its declaration."""
    is_required = value is None and rule.is_required
    return rule.fault(value) is not None or is_required or bool(rule.rule.kind and value is not None)


def _check_values(base, values):
    opt = copy.deepcopy(base)
    for key, value in values.items():
        _put(opt, ":".join(key), copy.deepcopy(value))
    check = OptionCheck(OptionDocument(options=opt), is_train=True)
    named = {problem.key for problem in (*check.run(), *check.warnings)}
    for key, value in values.items():
        if _is_told(KEYS[key], value):
            assert any(name[: len(key)] == key for name in named), (key, shown(value), named)


@pytest.mark.parametrize("place", sorted({key[:-1] for key in KEYS}), ids=":".join)
def test_wrong_values_of_every_declared_key(image_folder, tmp_path, place):
    """A value is refused by a line that names its key, unless its declaration allows it."""
    base, student = training_options(image_folder), CASES["LightBSR"]
    if place == ("teacher",):
        student.apply(base, student.save_teacher(tmp_path))
    base["datasets"]["train"]["io_backend"] = {"type": "disk"}
    base["logger"]["wandb"] = {"project": None}
    keys = [key for key in KEYS if key[:-1] == place]
    # The class decides which other keys there are.
    together = [key for key in keys if key[-1] not in ("type", "model_type", "datasets")]
    for value in WRONG:
        _check_values(base, dict.fromkeys(together, value))
    for number, key in enumerate(keys):
        reaches_the_disk = KEYS[key].fault("a") is None
        alone = WRONG if key not in together else TEXTS if reaches_the_disk else [WRONG[number % len(WRONG)]]
        for value in alone:
            _check_values(base, {key: value})


NETWORK_PATHS = ("pretrain_network", "param_key", "strict_load")


@pytest.mark.parametrize("registry", [MODEL_REGISTRY, DATASET_REGISTRY])
def test_our_classes_declare_every_key_that_their_source_reads(registry):
    ours = [(name, cls) for name, cls in registry if is_ours(cls)]
    assert len(ours) >= 2
    general = {
        "": {*keys_of(sections.TrainingTop), *("is_train", "dist", "rank", "world_size", "teacher", "network_g")},
        "val": {*keys_of(sections.Val), *keys_of(sections.SRVal)},
        "path": {
            *keys_of(sections.Path),
            *(f"{key}{network}" for key in ("pretrain_network_", "param_key_") for network in ("g", "meta")),
            "strict_load_g",
        },
    }
    for name, cls in ours:
        if registry is DATASET_REGISTRY:
            assert keys_read_by(cls).of() <= {*declared(cls), *keys_of(sections.Loader)}, name
            continue
        assert keys_read_by(cls).of("train") <= declared(cls, "train").keys(), name
        assert keys_read_by(cls).of("teacher") <= declared(cls, "teacher").keys(), name
        for section, known in general.items():
            read = keys_read_by(cls).of(*section.split(":") if section else ())
            others = {
                key.replace("network", part)
                for key in (*cls.networks, *getattr(cls, "optional_networks", ()))
                for part in ("network", *NETWORK_PATHS)
            }
            assert read <= known | others, (name, section)
