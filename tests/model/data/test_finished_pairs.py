"""Data sets of GT images whose LQ images are there."""

from __future__ import annotations

import re

import cv2
import numpy as np
import pytest
import torch
from basicsr.data import build_dataset

from lightbsr_arch.errors import ImageError, OptionError

from support.data_sets import BENCHMARK, benchmark, paired
from support.option_problems import problems_of
from support.training_files import training_options


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    """GT images whose every 4x4 block is one LQ pixel."""
    root = tmp_path_factory.mktemp("pairs")
    rng = np.random.default_rng(0)
    for folder in ("gt", "lq"):
        (root / folder).mkdir()
    for number in range(5):
        lq = rng.integers(0, 256, (20, 24, 3), dtype=np.uint8)
        cv2.imwrite(str(root / f"lq/{number}_small.png"), lq)
        cv2.imwrite(str(root / f"gt/{number}.png"), lq.repeat(4, axis=0).repeat(4, axis=1))
    return root


@pytest.mark.parametrize("views", [1, 3])
def test_crops_of_finished_pairs_belong_together(pairs, views):
    options = {"preset": None, "dataroot_lq": str(pairs / "lq"), "filename_tmpl": "{}_small", "views": views}
    dataset = paired(pairs / "gt", **options)
    torch.manual_seed(0)
    seen = set()
    for index in [0, 1, 2, 3, 4] * 6:
        sample = dataset[index]
        assert sample["lq"].shape[-3:] == (3, 8, 8)
        assert torch.equal(sample["gt"], sample["lq"].repeat_interleave(4, dim=-1).repeat_interleave(4, dim=-2))
        assert sample["lq_path"].endswith(f"{index}_small.png")
        assert "kernel" not in sample
        seen.add(sample["lq"].numpy().tobytes())
    assert len(seen) == 30


def test_finished_pairs_are_basicsrs(pairs):
    roots = {"dataroot_gt": str(pairs / "gt"), "dataroot_lq": str(pairs / "lq"), "filename_tmpl": "{}_small"}
    stock = build_dataset(
        {"type": "PairedImageDataset", "name": "s", "phase": "val", "scale": 4, "io_backend": {"type": "disk"}, **roots}
    )
    ours = build_dataset({**BENCHMARK, **roots})
    expected = {sample["gt_path"]: sample for sample in (stock[index] for index in range(5))}
    for index in range(5):
        sample = ours[index]
        for key in ("lq", "gt"):
            assert torch.equal(sample[key], expected[sample["gt_path"]][key])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"preset": "iso_1.2"}, "preset: has no effect on the finished LQ images"),
        ({"preset": None, "filename_tmpl": "x4"}, "filename_tmpl: expected a name with one {}"),
        ({"preset": None, "filename_tmpl": "{}x4"}, "dataroot_lq: 5 of 5 GT images have no LQ image"),
        ({"preset": None, "dataroot_lq": "nowhere"}, "dataroot_lq: there is no folder nowhere"),
        ({"preset": None, "dataroot_lq": None}, "preset: missing"),
    ],
)
def test_finished_pairs_that_do_not_fit(pairs, options, message):
    options = {"dataroot_lq": str(pairs / "lq"), "filename_tmpl": "{}_small", **options}
    for make in (paired, benchmark):
        with pytest.raises(OptionError, match=message):
            make(pairs / "gt", **options)
    opt = training_options(pairs / "gt")
    opt["datasets"]["train"].update({"preset": None, **options})
    (problem,) = problems_of(opt)
    assert re.search(f"datasets:train:{message}", problem)


def test_finished_pairs_pass_the_check(pairs):
    opt = training_options(pairs / "gt")
    opt["datasets"]["train"].update(preset=None, dataroot_lq=str(pairs / "lq"), filename_tmpl="{}_small")
    assert problems_of(opt) == []


def test_gt_is_cut_to_its_finished_lq(pairs, tmp_path):
    for number in range(5):
        gt = cv2.imread(str(pairs / f"gt/{number}.png"))
        cv2.imwrite(str(tmp_path / f"{number}.png"), cv2.copyMakeBorder(gt, 0, 3, 0, 2, cv2.BORDER_CONSTANT))
    options = {"preset": None, "dataroot_lq": str(pairs / "lq"), "filename_tmpl": "{}_small"}
    wide, exact = (benchmark(folder, **options) for folder in (tmp_path, pairs / "gt"))
    assert torch.equal(wide[1]["gt"], exact[1]["gt"])
    assert wide[1]["gt"].shape == (3, 80, 96)


def test_pair_of_other_sizes_is_named(pairs, tmp_path):
    for number in range(5):
        cv2.imwrite(str(tmp_path / f"{number}.png"), np.zeros((20, 22, 3), np.uint8))
    options = {"preset": None, "dataroot_lq": str(tmp_path)}
    for dataset in (paired(pairs / "gt", **options), benchmark(pairs / "gt", **options)):
        with pytest.raises(ImageError, match=r"0\.png: 22x20, times the scale 4, .*96x80"):
            dataset[0]


def test_unequal_pairs_are_laid_over_each_others_centre(pairs, tmp_path):
    """GT images that lack 8 rows at the top and have 12 columns more at each side."""
    for number in range(5):
        gt = cv2.imread(str(pairs / f"gt/{number}.png"))
        cv2.imwrite(str(tmp_path / f"{number}.png"), cv2.copyMakeBorder(gt[8:-8], 0, 0, 12, 12, cv2.BORDER_REPLICATE))
    options = {"preset": None, "dataroot_lq": str(pairs / "lq"), "filename_tmpl": "{}_small"}
    with pytest.raises(ImageError, match=r"24x20, times the scale 4, is not the 120x64 of its GT image .*0\.png\.$"):
        paired(tmp_path, **options)[0]
    dataset = paired(tmp_path, **options, unequal_pairs=True)
    torch.manual_seed(0)
    tops = set()
    for _ in range(40):
        sample = dataset[0]
        assert torch.equal(sample["gt"], sample["lq"].repeat_interleave(4, dim=-1).repeat_interleave(4, dim=-2))
        tops.add(sample["lq"].numpy().tobytes())
    assert len(tops) > 20


def test_unequal_pairs_that_are_too_different(pairs, tmp_path):
    options = {"preset": None, "dataroot_lq": str(pairs / "lq"), "filename_tmpl": "{}_small", "unequal_pairs": True}
    for number in range(5):
        cv2.imwrite(str(tmp_path / f"{number}.png"), np.zeros((160, 192, 3), np.uint8))
    with pytest.raises(
        ImageError, match=r"192x160 .*differs by more than 8 LQ pixels or 5% a side: a pair of another scale"
    ):
        paired(tmp_path, **options)[0]
    for number in range(5):
        cv2.imwrite(str(tmp_path / f"{number}.png"), np.zeros((61, 96, 3), np.uint8))
    with pytest.raises(ImageError, match="share no crop of 15 LQ pixels: leave the pair out, or lower gt_size"):
        paired(tmp_path, **{**options, "gt_size": 60})[0]
