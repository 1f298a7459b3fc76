"""``lightbsr data show`` and ``data degrade`` on real-world presets."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from basicsr.data import build_dataset

from lightbsr import main
from lightbsr_model.degradation import get_degradation
from lightbsr_model.degradation.second_order import SecondOrderDegradation

from support.by_hand import ByHand
from support.helpers import ROOT


@pytest.fixture
def hr(tmp_path, image_folder) -> Path:
    folder = tmp_path / "hr"
    shutil.copytree(image_folder, folder)
    return folder


def _benchmark(root, **options):
    section = {"type": "BlindDegradationBenchmarkDataset", "name": "b", "phase": "val", "scale": 4}
    return build_dataset({**section, "io_backend": {"type": "disk"}, "dataroot_gt": str(root), **options})


@pytest.mark.parametrize("preset", ["photo_x4", "realworld_x4"])
def test_json_is_enough_to_make_the_images_elsewhere(tmp_path, hr, preset):
    arguments = ["--preset", preset, "--seed", "3", "--workers", "0"]
    arguments += ["--set", "shuffle_prob=0.5", "antialias=false"]
    assert main(["data", "degrade", str(hr), "-o", str(tmp_path / "lr"), *arguments]) == 0
    document = json.loads((tmp_path / "lr/info/degradation.json").read_text())
    assert (document["scale"], document["seed"], len(document["images"])) == (4, 3, 6)
    assert {"pillow", "libjpeg_turbo"} <= document["versions"].keys()
    assert "standard_normal((3 or, if grey, 1, height, width))" in document["method"]
    overrides = {"shuffle_prob": 0.5, "antialias": False}
    assert SecondOrderDegradation(document["degradation"]) == get_degradation(preset, overrides)
    assert not (tmp_path / "lr/info/kernels").exists()
    dataset = _benchmark(hr, preset=preset, degradation=overrides, seed=3)
    off = []
    for index, entry in enumerate(document["images"]):
        written = cv2.imread(str(tmp_path / f"lr/{entry['name']}.png"))[:, :, ::-1]
        sample = dataset[index]
        assert dataset.images.stem(index) == entry["name"]
        assert torch.equal(sample["lq"], torch.from_numpy(written.transpose(2, 0, 1).copy()).float() / 255)
        gt = cv2.imread(str(hr / f"{entry['name']}.png"))[:, :, ::-1]
        height, width = entry["gt_size"]
        made = ByHand(torch.from_numpy(gt[:height, :width].transpose(2, 0, 1).copy()), 4, entry["seed"]).run(entry)
        assert list(made.shape[:2]) == entry["lr_size"]
        off.append(np.abs(made - written).mean())
    # A value at a half may round either way, and a compression makes more of it.
    assert max(off) < 0.3
    assert np.median(off) < 0.05


def test_presets_of_their_scale_and_mistakes(tmp_path, hr, capsys):
    assert main(["data", "degrade", str(hr), "-o", str(tmp_path / "x2"), "--preset", "photo_x2", "--workers", "0"]) == 0
    assert json.loads((tmp_path / "x2/info/degradation.json").read_text())["scale"] == 2
    assert (
        main(["data", "degrade", str(hr), "-o", str(tmp_path / "a"), "--preset", "photo_x4", "--set", "sigma=1"]) == 2
    )
    assert "degradation.sigma: unknown parameter; did you mean blur_sigma" in capsys.readouterr().err
    assert main(["data", "degrade", str(hr), "-o", str(tmp_path / "b"), "--preset", "photo_x4", "--scale", "2"]) == 2
    assert "photo_x4 is made for x4, but scale is 2: take photo_x2" in capsys.readouterr().err


@pytest.mark.parametrize("degrade_in", ["device", "loader"])
def test_show_draws_what_a_training_sees(tmp_path, capsys, monkeypatch, degrade_in):
    monkeypatch.chdir(tmp_path)
    data = f"{{preset: realworld_x4, degrade_in: {degrade_in}, degradation: {{blur_prob2: 1, final_sinc_prob: 1}}}}"
    Path("run.yml").write_text(f"base: {ROOT}/options/demo/train_teacher.yml\ndatasets: {{train: {data}}}\n")
    for name in ("a.png", "b.png"):
        assert main(["data", "show", "-opt", "run.yml", "-o", name, "--samples", "2"]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[:2] == said[3:5]
    assert all("noise" in line and "JPEG" in line and "sinc" in line for line in said[:2])
    image = cv2.imread("a.png")
    if degrade_in == "loader":  # on the device noise is drawn anew
        assert (image == cv2.imread("b.png")).all()
    # Two rows of four views, each with its LR image, and three kernels.
    assert image.shape == (2 * (192 + 2 * 22 + 8), 11 * 200 + 8, 3)


def test_show_runs_by_itself(tmp_path):
    """In a fresh process, where nothing has made BasicSR importable before."""
    options = ["-opt", str(ROOT / "options/demo/train_teacher.yml"), "-o", str(tmp_path / "a.png"), "--samples", "1"]
    subprocess.run([sys.executable, "-m", "lightbsr", "data", "show", *options], check=True)
    assert (tmp_path / "a.png").is_file()
