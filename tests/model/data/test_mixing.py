"""Several sets of images in one training (``datasets.train.mix``)."""

from __future__ import annotations

import re
import shutil
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import yaml
from basicsr.data import build_dataset
from torch.utils.data import default_collate

from lightbsr import main
from lightbsr_arch.errors import OptionError
from lightbsr_model.bridge import launcher
from lightbsr_model.bridge.training_data import ResumableSampler, SampleError, SampleIndex, SupervisedDataset
from lightbsr_model.data.image_sources import FolderImages, ImageReader
from lightbsr_model.data.lq_images import degradation_of_batches
from lightbsr_model.data.mixing import ImageMix
from lightbsr_model.degradation.base import params_of

from support.data_sets import PAIRED
from support.option_problems import check_of, problems_of
from support.training_files import assert_resumes_exactly, log_of, plain_training, training_options


@pytest.fixture
def sets(tmp_path, image_folder) -> tuple[Path, Path]:
    """Four images of astronaut and coffee, and two of chelsea."""
    folders = tmp_path / "people", tmp_path / "cats"
    for folder in folders:
        folder.mkdir()
    for path in sorted(image_folder.iterdir()):
        shutil.copy(path, folders["chelsea" in path.name])
    return folders


def _mix(*entries, **section):
    return build_dataset({**PAIRED, "mix": list(entries), **section})


def _two(sets, **section):
    first = {"dataroot_gt": str(sets[0]), "weight": 3}
    second = {"dataroot_gt": str(sets[1]), "preset": "setting2_x4", "degradation": {"jpeg": [30, 95]}}
    return _mix(first, second, **{"preset": "setting1_x4", **section})


# ---- which images


def test_sets_are_drawn_by_weight_and_images_alike(sets):
    dataset = _two(sets)
    count = 4000
    names = Counter(dataset.images.name(SampleIndex(place % 6, seed)) for seed, place in enumerate(range(count)))
    cats = sum(number for name, number in names.items() if "/cats/" in name)
    # Binomial(4000, 1/4): a standard deviation is 27.
    assert abs(cats - count / 4) < 4 * 27.4
    expected = {name: count * (1 / 8 if "/cats/" in name else 3 / 16) for name in names}
    assert len(expected) == 6
    chi_square = sum((names[name] - value) ** 2 / value for name, value in expected.items())
    assert chi_square < 20.5  # 5 degrees of freedom: 1 in 1000


@pytest.mark.parametrize("weights", [(1, 1, 1), (0.25, 0.5, 4), (1e-3, 1, 1e3)])
def test_any_weights(sets, weights):
    readers = [ImageReader(FolderImages(sets[number])) for number in (0, 1, 0)]
    mix = ImageMix(readers, weights)
    assert len(mix) == 10
    count = 3000
    chosen = Counter(mix.choose(0, seed)[0] for seed in range(count))
    for number, weight in enumerate(weights):
        share = weight / sum(weights)
        assert abs(chosen[number] - count * share) <= 4 * (count * share * (1 - share)) ** 0.5 + 1


def test_an_entry_has_its_own_degradation_and_inherits_the_rest(sets):
    dataset = _two(sets, views=2)
    assert len(dataset) == 6
    seen = set()
    for seed in range(40):
        index = SampleIndex(seed % 6, seed)
        sample = dataset[index]
        assert sample["gt_path"] == dataset.images.name(index)
        assert sample["gt_views"].shape == (2, 3, 32, 32)
        is_cat = "/cats/" in sample["gt_path"]
        seen.add(is_cat)
        isotropic = torch.equal(sample["kernel"], sample["kernel"].mT)
        assert (isotropic, sample["noise_level"] == 0, sample["jpeg_quality"] == 0) == (not is_cat,) * 3
    assert seen == {True, False}


def test_a_batch_of_both_is_degraded_as_each_asks(sets):
    dataset = _two(sets)
    samples = [dataset[SampleIndex(0, seed)] for seed in range(12)]
    cats = torch.tensor(["/cats/" in sample["gt_path"] for sample in samples])
    assert cats.any()
    assert not cats.all()
    batch = default_collate(samples)
    whole = degradation_of_batches(dataset.opt)
    assert whole == dataset.degradation
    lq = whole.apply(batch["gt_views"], params_of(whole, batch), 4, torch.Generator().manual_seed(0))
    quiet = {**params_of(whole, batch), "noise_level": torch.zeros(12), "jpeg_quality": torch.zeros(12)}
    blurred = whole.apply(batch["gt_views"], quiet, 4)
    assert torch.equal((lq != blurred).flatten(1).any(1), cats)
    assert degradation_of_batches({"type": "PairedImageDataset", "dataroot_gt": "x"}) is None


# ---- the same in every run


def test_samples_are_a_function_of_their_place(sets):
    runs = []
    for start in (0, 0, 5):
        dataset = SupervisedDataset(_two(sets))
        sampler = ResumableSampler(dataset, 1, 0, 2, seed=3)
        sampler.set_epoch(1)
        sampler.start_at(1, start)
        torch.manual_seed(start)  # what the process drew before is of no account
        runs.append(
            [(sample["gt_path"], sample["gt_views"], sample["kernel"]) for sample in map(dataset.__getitem__, sampler)]
        )
    assert len(runs[0]) == 12
    for other, first in ((runs[1], 0), (runs[2], 5)):
        for one, again in zip(runs[0][first:], other, strict=True):
            assert one[0] == again[0]
            assert torch.equal(one[1], again[1])
            assert torch.equal(one[2], again[2])


def test_a_plain_loader_draws_anew_each_epoch(sets):
    dataset = _two(sets)
    torch.manual_seed(0)
    first, second = ([dataset[index]["gt_path"] for index in range(6)] for _ in range(2))
    torch.manual_seed(0)
    assert [dataset[index]["gt_path"] for index in range(6)] == first != second


def test_a_run_goes_on_as_if_it_had_not_stopped(run, tmp_path, sets):
    opt = training_options(sets[0])
    train_set = opt["datasets"]["train"]
    del train_set["dataroot_gt"], train_set["preset"]
    train_set["mix"] = [
        {"dataroot_gt": str(sets[0]), "preset": "setting1_x4", "weight": 2},
        {"dataroot_gt": str(sets[1]), "preset": "setting2_x4"},
    ]
    assert_resumes_exactly(run, tmp_path, opt)
    for name in ("whole", "resumed"):
        assert "Training data: 6 images" in log_of(tmp_path / f"experiments/{name}")


def test_basicsrs_own_model_trains_on_a_mix(run, tmp_path, sets):
    opt = plain_training(sets[0])
    del opt["datasets"]["train"]["dataroot_gt"]
    opt["datasets"]["train"]["mix"] = [
        {"dataroot_gt": str(sets[0]), "weight": 3},
        {"dataroot_gt": str(sets[1]), "preset": "aniso_k3_n10", "degradation": {"jpeg": 50}},
    ]
    run(launcher.train, opt)
    losses = re.findall(r"l_pix: (\S+)", log_of(tmp_path / "experiments/run"))
    assert len(losses) == 5
    assert all(np.isfinite(float(loss)) for loss in losses)


# ---- what is wrong


def test_a_bad_image_is_named_and_replaced(sets, capsys):
    (sets[1] / "chelsea0.png").write_text("no image")
    dataset = SupervisedDataset(_two(sets), skip_bad_images=1)
    index = next(
        index
        for index in (SampleIndex(0, seed) for seed in range(100))
        if dataset.dataset.images.name(index).endswith("chelsea0.png")
    )
    assert dataset[index]["gt_path"].endswith("chelsea1.png")
    assert f"({sets[1]}/chelsea0.png) cannot be loaded" in capsys.readouterr().out
    with pytest.raises(SampleError, match=r"chelsea0\.png\) cannot be loaded"):
        dataset[index]


def _pairs(sets) -> dict[str, str]:
    folder = sets[0].parent / "lq"
    folder.mkdir()
    for path in sets[0].iterdir():
        cv2.imwrite(str(folder / path.name), cv2.imread(str(path))[::4, ::4])
    return {"dataroot_gt": str(sets[0]), "dataroot_lq": str(folder)}


def test_finished_pairs_mix_among_themselves(sets):
    pairs = _pairs(sets)
    dataset = _mix(pairs, {**pairs, "weight": 2})
    assert dataset.degradation is None
    batch = default_collate([dataset[index] for index in range(4)])
    assert batch["lq"].shape == (4, 3, 8, 8)


WRONG = {
    "no list": ({"mix": {"dataroot_gt": "A"}}, "mix", "expected a list of "),
    "empty": ({"mix": []}, "mix", "expected a list of data sets"),
    "no section": ({"mix": ["A"]}, "mix:0", "expected keys and values, .*got 'A'"),
    "unknown key": ({"mix": [{}, {"wieght": 2}]}, "mix:1:wieght", "an entry takes dataroot_gt, .*weight"),
    "shared key": ({"mix": [{}, {"gt_size": 64}]}, "mix:1:gt_size", "is given once, beside mix"),
    "weight 0": ({"mix": [{"weight": 0}]}, "mix:0:weight", "expected a number above 0, got 0"),
    "weight true": ({"mix": [{"weight": True}]}, "mix:0:weight", "expected a number above 0, got True"),
    "weight inf": ({"mix": [{"weight": float("inf")}]}, "mix:0:weight", "expected a number above 0, got inf"),
    "preset": ({"mix": [{}, {"preset": "setting3_x4"}]}, "mix:1:preset", "no degradation is named 'setting3_x4'"),
    "degradation": ({"mix": [{"degradation": {"jpg": 3}}]}, "mix:0:degradation:jpg", "unknown parameter"),
    "no folder": ({"mix": [{}, {"dataroot_gt": "nowhere"}]}, "mix:1:dataroot_gt", "there is no folder nowhere"),
}


@pytest.mark.parametrize(("section", "key", "message"), WRONG.values(), ids=WRONG.keys())
def test_mistakes_are_named_by_entry(sets, section, key, message):
    opt = training_options(sets[0])
    opt["datasets"]["train"].update(section)
    problems = [problem.partition("datasets:train:")[2] for problem in problems_of(opt)]
    assert len(problems) == 1
    assert problems[0].startswith(f"{key}: ")
    assert re.search(message, problems[0])
    name = re.sub(r":(\d)", r"[\1]", key).replace(":", ".")
    with pytest.raises(OptionError, match=rf"{re.escape(name)}[.:] ?.*{message}"):
        _mix(**{"dataroot_gt": str(sets[0]), "preset": "setting1_x4", **section})


def test_finished_pairs_beside_degraded_images(sets):
    entries = [{"dataroot_gt": str(sets[1]), "preset": "setting1_x4"}, _pairs(sets)]
    message = r"mix\[1\]: finished LQ images \(dataroot_lq\) beside images to be degraded \(preset\)"
    with pytest.raises(OptionError, match=message):
        _mix(*entries)


def test_a_good_mix_passes_the_check_and_all_its_images_make_a_batch(sets):
    opt = training_options(sets[0], network_g={"queue_size": 84})
    train_set = opt["datasets"]["train"]
    del train_set["dataroot_gt"]
    train_set.update(mix=[{"dataroot_gt": str(folder)} for folder in sets], batch_size_per_gpu=6)
    assert check_of(opt).problems == []
    train_set["batch_size_per_gpu"] = 7
    (problem,) = check_of(opt).problems
    assert "7, but 6 images" in problem.message
    train_set.update(gt_size=84, batch_size_per_gpu=2)
    first, second = check_of(opt).problems
    assert first.key == ("datasets", "train", "mix", "0", "gt_size")
    assert "cats/chelsea0.png is 96x80" in second.message


# ---- commands


def test_commands_on_data_look_at_every_entry(tmp_path, sets, capsys):
    opt = training_options(sets[0])
    del opt["datasets"]["train"]["dataroot_gt"], opt["datasets"]["val"]
    opt["datasets"]["train"]["mix"] = [
        {"dataroot_gt": str(sets[0])},
        {"dataroot_gt": str(sets[1]), "preset": "aniso_k3_n5", "degradation": {"jpeg": [40, 60]}, "weight": 5},
    ]
    path = tmp_path / "run.yml"
    path.write_text(yaml.safe_dump(opt))
    assert main(["data", "check", "-opt", str(path), "--workers", "0"]) == 0
    said = capsys.readouterr().out
    assert "datasets:train:mix:0" in said
    assert f"{sets[1]}: 2 images, 0 of them unreadable" in said
    assert main(["data", "show", "-opt", str(path), "-o", str(tmp_path / "a.png"), "--samples", "12"]) == 0
    rows = [line for line in capsys.readouterr().out.splitlines() if "noise level" in line]
    assert len(rows) == 12
    for row in rows:
        quality = re.search(r"noise level (\d+)\.\d, JPEG quality (\d+)$", row)
        assert (quality is not None) == row.startswith("chelsea")
        assert quality is None or (quality[1] == "5" and 40 <= int(quality[2]) <= 60)
    assert {row.startswith("chelsea") for row in rows} == {True, False}
