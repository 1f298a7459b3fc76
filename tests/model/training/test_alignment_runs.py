"""Runs of a network that learns from misaligned pairs, made of clean images or found as they are."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch

from lightbsr_arch.errors import OptionError
from lightbsr_model.bridge import launcher

from support.helpers import run_command
from support.option_problems import problems_of
from support.training_cases import STRATEGIES
from support.training_files import as_test, assert_resumes_exactly, log_of, plain_training, training_options

MISALIGN = {"shift": 2.0, "rotation": 0.5, "zoom": 0.01, "gain": 0.1, "offset": 0.02}


def _options(images, **data):
    opt = STRATEGIES["MimickedAlignmentModel"].apply(training_options(images))
    opt["train"].update(scheduler={"type": "MultiStepLR", "milestones": [3]}, residual={}, grad_clip=0.01, total_iter=4)
    opt["datasets"]["train"].update(views=1, **data)
    return opt


@pytest.fixture(scope="module")
def shots(tmp_path_factory, image_folder):
    """LQ images that show some pixels more on one side, and less on another, than their GT images."""
    root = tmp_path_factory.mktemp("shots")
    for folder in ("gt", "lq"):
        (root / folder).mkdir()
    for path in image_folder.iterdir():
        image = cv2.imread(str(path))
        cv2.imwrite(str(root / "gt" / path.name), image[:77, 4:])
        cv2.imwrite(str(root / "lq" / path.name), cv2.resize(image, (24, 20), interpolation=cv2.INTER_AREA))
    return root


@pytest.mark.parametrize("degrade_in", ["device", "loader"])
def test_resumes_exactly_on_misaligned_pairs(run, tmp_path, image_folder, degrade_in):
    opt = _options(image_folder, degrade_in=degrade_in, misalign=MISALIGN)
    assert problems_of(opt) == []
    assert_resumes_exactly(run, tmp_path, opt)
    assert (tmp_path / "experiments/whole/models/net_mim_latest.pth").is_file()
    assert "l_align" in log_of(tmp_path / "experiments/whole")
    states = [torch.load(tmp_path / f"experiments/{name}/training_states/4.state") for name in ("whole", "resumed")]
    assert len(states[0]["optimizers"]) == len(states[0]["schedulers"]) == 2
    for first, second in zip(*(state["optimizers"] for state in states), strict=True):
        for number, values in first["state"].items():
            assert all(torch.equal(value, second["state"][number][name]) for name, value in values.items())


def test_other_models_learn_from_misaligned_pairs_too(run, tmp_path, image_folder):
    opt = plain_training(image_folder)
    opt["datasets"]["train"].update(misalign=MISALIGN, degrade_in="device")
    opt["train"]["total_iter"] = 2
    assert problems_of(opt) == []
    run(launcher.train, opt)
    assert (tmp_path / "experiments/run/models/net_g_latest.pth").is_file()


def test_unequal_pairs_are_taken_where_they_are_aligned(run, tmp_path, shots, capfd):
    finished = {"dataroot_gt": str(shots / "gt"), "dataroot_lq": str(shots / "lq"), "preset": None}
    opt = _options(shots / "gt", **finished, name="aligned")
    opt["name"] = "aligned"
    assert problems_of(opt) == []
    run(launcher.train, opt)
    # What it has learnt is a network like any other.
    weights = str(tmp_path / "experiments/aligned/models/net_g_latest.pth")
    tested = as_test({**opt, "model_type": "SRModel"}, path={"pretrain_network_g": weights})
    run(launcher.test, tested)
    capfd.readouterr()
    assert run_command(capfd, "data", "check", "-opt", tmp_path / "aligned.yml")[0] == 0
    plain = plain_training(shots / "gt")
    plain["datasets"]["train"].update(finished)
    with pytest.raises(OptionError, match=r"24x20, times the scale 4, is not the 92x77 of its GT image"):
        run(launcher.train, plain)
    plain["datasets"]["train"]["unequal_pairs"] = True
    (problem,) = problems_of(plain)
    assert "datasets:train:unequal_pairs: SRModel takes pairs as they are" in problem
    capfd.readouterr()


def test_pairs_of_another_scale_are_refused_there_too(run, tmp_path, shots):
    lq = tmp_path / "lq"
    lq.mkdir()
    for path in (shots / "lq").iterdir():
        cv2.imwrite(str(lq / path.name), np.zeros((40, 48, 3), np.uint8))
    opt = _options(shots / "gt", dataroot_gt=str(shots / "gt"), dataroot_lq=str(lq), preset=None)
    with pytest.raises(OptionError, match=r"48x40, times the scale 4, .*a pair of another scale"):
        run(launcher.train, opt)
