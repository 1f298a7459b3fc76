"""``misalign``: pairs that do not lie over each other, made of clean images."""

from __future__ import annotations

import json
import math
import re

import pytest
import torch
import yaml
from basicsr.data import build_dataset

from lightbsr_arch.errors import ImageError, OptionError
from lightbsr_model.degradation import GaussianDegradation
from lightbsr_model.degradation.base import as_batch, without_margin
from lightbsr_model.degradation.misaligned import MisalignedDegradation, Misalignment, move
from lightbsr_model.training.batch_degrader import BatchDegrader

from support.data_sets import PAIRED, paired
from support.helpers import run_command
from support.option_problems import problems_of
from support.training_files import plain_training

BLUR = GaussianDegradation(sigma=(1.0, 3.0))
MOST = {"shift": 2.0, "rotation": 0.5, "zoom": 0.01, "gain": 0.1, "offset": 0.02}


def test_margin_is_what_may_come_into_view():
    assert Misalignment().margin(24) == 1
    assert Misalignment(shift=2.0).margin(24) == 3
    # 2 + 1 + (0.01 + 0.0087) * 12 = 3.22
    assert Misalignment(2.0, 0.5, 0.01).margin(24) == 4
    assert Misalignment(2.0, rotation=10).margin(48) == math.ceil(3 + math.radians(10) * 24)


def test_draws_are_uniform_seeded_and_leave_the_rest_as_it_is():
    degradation = MisalignedDegradation(BLUR, Misalignment(**MOST), 8)
    draws = [degradation.draw(torch.Generator().manual_seed(seed)) for seed in range(400)]
    motion, colours = (torch.stack([draw[name] for draw in draws]) for name in ("motion", "colours"))
    limits = torch.tensor([2.0, 2.0, math.radians(0.5), 0.01], dtype=torch.float64)
    away = (motion - torch.tensor([0, 0, 0, 1.0])) / limits
    tints = (colours - torch.tensor([[1.0], [0]])) / torch.tensor([[0.1], [0.02]], dtype=torch.float64)
    for values in (*away.unbind(1), *tints.flatten(1).unbind(1)):
        assert -1 <= values.min() < -0.95
        assert 0.95 < values.max() <= 1
        assert abs(values.mean()) < 0.15
        assert values.std() == pytest.approx(3**-0.5, rel=0.1)
    assert torch.equal(draws[3]["kernel"], BLUR.draw(torch.Generator().manual_seed(3))["kernel"])
    again = degradation.draw(torch.Generator().manual_seed(3))
    assert all(torch.equal(value, again[name]) for name, value in draws[3].items())


def test_nothing_is_moved_by_nothing():
    degradation = MisalignedDegradation(BLUR, Misalignment(), 8)
    gt = torch.randint(0, 256, (2, 3, 3, 40, 40)).byte()
    params = {name: value.expand(2, *value.shape[1:]).float() for name, value in as_batch(degradation.draw()).items()}
    whole = BLUR.apply(gt, params, 4)
    assert torch.equal(degradation.apply(gt, params, 4), whole[..., 1:-1, 1:-1])
    assert torch.equal(degradation.apply(gt[:, 0], params, 4), whole[:, 0, :, 1:-1, 1:-1])
    assert torch.equal(without_margin(gt, degradation, 4), gt[..., 4:-4, 4:-4])
    assert without_margin(gt, BLUR, 4) is gt or torch.equal(without_margin(gt, BLUR, 4), gt)


def test_motion_is_what_is_said():
    images = torch.rand(4, 3, 24, 40)
    motion = torch.tensor([[1.0, 0, 0, 1], [0, -2, 0, 1], [0, 0, math.pi, 1], [0, 0, 0, 0.5]])
    moved = move(images, motion, 2)
    close = {"rtol": 0, "atol": 1e-4}
    torch.testing.assert_close(moved[0, :, :, :-2], images[0, :, :, 2:], **close)
    torch.testing.assert_close(moved[1, :, 4:], images[1, :, :-4], **close)
    torch.testing.assert_close(moved[2], images[2].flip(1, 2), **close)
    # At half the magnification the LR image shows the middle of the HR image, twice as large.
    assert (moved[3, :, :, 19:21].mean() - images[3, :, 11:13, 19:21].mean()).abs() < 0.5
    square = torch.zeros(1, 1, 32, 32)
    square[..., 12:20, 12:20] = 1
    assert move(square, torch.tensor([[0.0, 0, 0, 0.5]]), 1).sum() == pytest.approx(4 * 64, rel=0.05)
    assert move(square, torch.tensor([[0.0, 0, math.pi / 4, 1]]), 1)[0, 0, 11, 16] > 0.5 > square[0, 0, 11, 16]


def test_colours_are_what_is_said():
    degradation = MisalignedDegradation(GaussianDegradation(), Misalignment(gain=0.1, offset=0.02), 8)
    params = {name: value.float() for name, value in as_batch(degradation.draw()).items()}
    params["colours"] = torch.tensor([[[0.9, 1.0, 1.1], [0.02, 0.0, -0.02]]])
    lq = degradation.apply(torch.full((1, 3, 40, 40), 102.0), params, 4)
    assert lq.shape == (1, 3, 8, 8)
    torch.testing.assert_close(lq[0, :, 3, 3], torch.tensor([97.0, 102, 107]) / 255)
    assert torch.equal((255 * lq).round(), 255 * lq)


def test_described_in_plain_values():
    degradation = MisalignedDegradation(BLUR, Misalignment(**MOST), 8)
    params = degradation.draw(torch.Generator().manual_seed(1))
    said = json.loads(json.dumps(degradation.describe(params)))
    assert said["misalignment"]["shift"] == params["motion"][:2].tolist()
    assert math.radians(said["misalignment"]["rotation"]) == pytest.approx(float(params["motion"][2]))
    assert (said["misalignment"]["gain"], said["misalignment"]["offset"]) == tuple(params["colours"].tolist())
    assert "kernel_shape" in said
    assert degradation.recipe()["misalign"] == MOST
    assert degradation.quantities() == BLUR.quantities()
    wider = degradation.covering([MisalignedDegradation(GaussianDegradation(sigma=(0, 1)), Misalignment(**MOST), 8)])
    assert wider.misalignment == degradation.misalignment
    assert wider.degradation.sigma == (0, 3)


@pytest.mark.parametrize("views", [1, 2])
def test_loader_and_device_make_the_same_pairs(image_folder, views):
    options = {"preset": "iso_2.4", "misalign": MOST, "gt_size": 32, "views": views}
    torch.manual_seed(0)
    here = paired(image_folder, **options, degrade_in="loader")[1]
    torch.manual_seed(0)
    sample = paired(image_folder, **options)[1]
    assert sample["gt_views"].shape == (views, 3, 64, 64)
    opt = {"manual_seed": 0, "rank": 0, "datasets": {"train": {**PAIRED, **options}}}
    batch = {key: value[None] for key, value in sample.items() if torch.is_tensor(value)}
    made = BatchDegrader(opt, torch.device("cpu"))(batch)
    assert here["lq"].shape == made.lq.shape[1:] == (3, 8, 8)
    torch.testing.assert_close(made.lq[0], here["lq"], rtol=0, atol=1.01 / 255)
    assert torch.equal(made.gt[0], here["gt"])
    assert torch.equal(sample["motion"], here["motion"])
    still = paired(image_folder, **{**options, "misalign": None}, degrade_in="loader")[1]
    assert "motion" not in still


def test_what_does_not_fit_is_named(image_folder, tmp_path):
    with pytest.raises(ImageError, match=r"96x80 is too small for a crop of gt_size 64, with 12 pixels around it"):
        paired(image_folder, gt_size=64, misalign={"shift": 2.0})[0]
    opt = plain_training(image_folder)
    opt["datasets"]["train"].update(gt_size=64, misalign={"shift": 2.0})
    (problem,) = problems_of(opt)
    assert "datasets:train:gt_size: 64 and 24 for misalign, but" in problem
    opt["datasets"]["train"].update(gt_size=32, misalign={"shift": -1, "tilt": 3})
    found = problems_of(opt)
    assert any("misalign:shift: expected a number from 0 to 64, got -1" in problem for problem in found)
    assert any("misalign:tilt: unknown key" in problem for problem in found)
    finished = {**PAIRED, "dataroot_gt": str(image_folder), "dataroot_lq": str(image_folder), "misalign": {"shift": 1}}
    with pytest.raises(OptionError, match="misalign: has no effect on the finished LQ images"):
        build_dataset(finished)
    opt = plain_training(image_folder)
    opt["datasets"]["train"].update(dataroot_lq=str(image_folder), preset=None, misalign={"shift": 1})
    assert any("misalign: has no effect on the finished LQ images" in problem for problem in problems_of(opt))


def test_show_draws_pairs_and_says_how_they_are_moved(image_folder, tmp_path, capfd, monkeypatch):
    monkeypatch.chdir(tmp_path)
    opt = plain_training(image_folder)
    opt["datasets"]["train"].update(misalign=MOST, degrade_in="device")
    (tmp_path / "run.yml").write_text(yaml.safe_dump(opt))
    status, told = run_command(capfd, "data", "show", "-opt", "run.yml", "--samples", 2)
    assert status == 0
    assert (
        len(re.findall(r"moved by \(-?[012]\.\d\d, -?[012]\.\d\d\) LR px, -?0\.\d\d deg, x(0\.99|1\.0[01])\d", told))
        == 2
    )


def test_entries_of_a_mix_are_moved_alike(image_folder):
    mix = [{"dataroot_gt": str(image_folder)}, {"dataroot_gt": str(image_folder), "preset": "bicubic"}]
    dataset = build_dataset({**PAIRED, "preset": "iso_2.4", "misalign": MOST, "mix": mix})
    assert dataset.degradation.degradation.sigma == (0, 2.4)
    assert dataset[0]["gt_views"].shape == (1, 3, 64, 64)
    assert dataset[0]["motion"].shape == (4,)


def test_real_world_degradations_are_moved_too(image_folder):
    opt = {**PAIRED, "preset": "realworld_x4", "misalign": MOST, "degradation_per": "sizes", "pool": 4}
    dataset = build_dataset({**opt, "dataroot_gt": str(image_folder), "batch_size_per_gpu": 2})
    inner = dataset.degradation.degradation
    assert dataset.degradation.vector_names() == inner.vector_names()
    samples = [dataset[0], dataset[1]]
    batch = {
        name: torch.stack([sample[name] for sample in samples])
        for name in ("gt_views", "degradation", "motion", "colours")
    }
    assert dataset.degradation.summary(samples[0]) == inner.summary(samples[0])
    degrader = BatchDegrader({"manual_seed": 0, "rank": 0, "datasets": {"train": opt}}, torch.device("cpu"))
    degrader.begin(1)
    made = degrader(batch)
    side = PAIRED["gt_size"]
    assert made.gt.shape == (2, 3, side, side)
    assert made.lq.shape == (2, 3, side // 4, side // 4)
    # Each keeps its own motion, where sizes are shared.
    shared = inner.sharing_sizes({"degradation": batch["degradation"]})
    assert torch.equal(made.params["degradation"], shared["degradation"])
    assert torch.equal(made.params["motion"], batch["motion"])
    assert torch.equal(made.parameters, inner.vector(shared))
    with pytest.raises(AttributeError, match="sharing_sizes"):
        MisalignedDegradation(BLUR, Misalignment(), 8).sharing_sizes  # noqa: B018
