"""The option files of BasicSR and Real-ESRGAN: none is refused for its words.

``basicsr_options.json.xz`` holds the settings of all 76, with PATH for every path.
"""

from __future__ import annotations

import json
import lzma
from pathlib import Path

import pytest
from basicsr.utils.registry import MODEL_REGISTRY

from lightbsr_model.option_files.class_lookup import look_up

from support.option_problems import check_of

FILES = json.loads(lzma.decompress(Path(__file__).with_name("basicsr_options.json.xz").read_bytes()))

LACKING = {
    # The 2021 file writes save_img at the top; BasicSR's test reads opt['val'] and dies.
    "BasicSR/test/RCAN/test_RCAN.yml": {"val": "missing"},
    # BasicSR 1.4.2 has no such loss.
    "BasicSR/train/HiFaceGAN/train_hifacegan.yml": {
        "train:feature_matching_opt:type": "no loss is named 'GANFeatLoss'; did you mean GANLoss; neither BasicSR 1.4.2"
    },
}
"""What BasicSR itself cannot do."""

IDLE = {
    "BasicSR/train/BasicVSR/train_BasicVSR_Vimeo90K_BDx4.yml": ["datasets:train:interval_list"],
    "BasicSR/train/BasicVSR/train_BasicVSR_Vimeo90K_BIx4.yml": ["datasets:train:interval_list"],
    "BasicSR/train/BasicVSR/train_IconVSR_Vimeo90K_BDx4.yml": ["datasets:train:interval_list"],
    "BasicSR/train/BasicVSR/train_IconVSR_Vimeo90K_BIx4.yml": ["datasets:train:interval_list"],
    "BasicSR/train/EDVR/train_EDVR_L_x4_SR_REDS.yml": ["network_g:ema_decay"],
    "BasicSR/train/EDVR/train_EDVR_L_x4_SR_REDS_woTSA.yml": ["network_g:ema_decay"],
    "BasicSR/train/StyleGAN/train_StyleGAN2_256_Cmul2_FFHQ.yml": ["train:net_d_init_iters", "train:net_d_iters"],
    "BasicSR/train/EDVR/train_EDVRM_woTSA_GAN_TODO.yml": [
        *("network_d", "train:gan_opt", "train:net_d_init_iters", "train:net_d_iters", "train:optim_d")
    ],
    "BasicSR/test/EDVR/test_EDVR_L_x4_SR_Vimeo90K.yml": ["datasets:test:padding"],
    "BasicSR/test/RCAN/test_RCAN.yml": ["save_img"],
    "BasicSR/test/TOF/test_TOF_official.yml": ["save_img"],
}
"""Keys that nothing reads, beside ``gt_size`` and ``use_shuffle`` of Real-ESRGAN's data sets."""


def _check(settings):
    return check_of(json.dumps(settings, indent=1), is_train="train" in settings)


@pytest.mark.parametrize("name", sorted(FILES))
def test_no_file_is_refused_for_its_words(name):
    check = _check(FILES[name])
    lacking = dict(LACKING.get(name, {}))
    for problem in check.problems:
        key = ":".join(problem.key)
        if key in lacking:
            assert problem.message.startswith(lacking.pop(key))
        else:
            assert any(word in problem.message for word in ("no folder PATH", "no file PATH", "PATH is no LMDB")), (
                problem
            )
    assert not lacking
    idle = [problem for problem in check.warnings if problem.key != ("num_gpu",)]
    assert all(problem.message.startswith("has no effect") for problem in idle), idle
    usual = {("datasets", "train", "use_shuffle"), ("datasets", "train", "gt_size")}
    assert sorted(":".join(problem.key) for problem in idle if problem.key not in usual) == IDLE.get(name, [])


def test_all_files_are_there():
    assert len(FILES) == 76
    assert sum("Real-ESRGAN/" in name for name in FILES) == 6
    assert FILES.keys() >= {*LACKING, *IDLE}


def test_names_with_the_suffix_of_basicsr_registry():
    assert look_up(MODEL_REGISTRY, "RealESRGANModel") is MODEL_REGISTRY.get("RealESRGANModel_basicsr")
    assert look_up(MODEL_REGISTRY, ["RealESRGANModel"]) is None
    settings = FILES["Real-ESRGAN/train_realesrgan_x4plus.yml"]
    problems = _check({**settings, "model_type": "RealESRGANModle"}).problems
    assert [problem.message for problem in problems if problem.key == ("model_type",)] == [
        "no model is named 'RealESRGANModle'; did you mean RealESRGANModel, RealESRNetModel, ESRGANModel; neither BasicSR "
        "1.4.2 nor lightbsr has it: for one of another package write package.module.RealESRGANModle"
    ]
    # What such a model reads nobody knows: the rest of the file is not blamed for it.
    assert not [problem for problem in problems if "unknown key" in problem.message]


@pytest.mark.parametrize(
    ("section", "key", "message"),
    [
        (("train",), "ema_decy", "unknown key; did you mean ema_decay"),
        (("train",), "resize_prob", "unknown key"),
        ((), "resize_probs", "unknown key; did you mean resize_prob"),
        (("datasets", "train"), "sinc_probb", "unknown key; did you mean sinc_prob"),
        (("network_g",), "ema_decy", "unknown key"),
        (("val",), "flip_sequ", "unknown key"),
    ],
)
def test_a_typo_stays_an_error(section, key, message):
    settings = json.loads(json.dumps(FILES["Real-ESRGAN/train_realesrgan_x4plus.yml"]))
    settings["val"] = {"val_freq": 5, "save_img": False}
    place = settings
    for name in section:
        place = place[name]
    place[key] = 1
    found = {problem.key: problem.message for problem in _check(settings).problems}
    assert found[(*section, key)].startswith(message)


def test_keys_of_another_model_are_named_with_it():
    settings = {**FILES["BasicSR/train/EDSR/train_EDSR_Lx4.yml"]}
    settings["train"] = {**settings["train"], "gan_opt": {"type": "GANLoss", "gan_type": "vanilla"}, "ldl_opt": None}
    check = _check(settings)
    assert [(problem.key, problem.message) for problem in check.warnings if problem.key != ("num_gpu",)] == [
        (("train", "gan_opt"), "has no effect: SRModel does not read it, SRGANModel among others does")
    ]
