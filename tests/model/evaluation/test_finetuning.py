"""``lightbsr finetune``: a better model for one's own images, or none."""

from __future__ import annotations

import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from lightbsr.cli import finetune
from lightbsr_arch.errors import OptionError
from lightbsr_arch.weights.model_card import ModelCard
from lightbsr_arch.weights.model_files import load_model, save_model
from lightbsr_model.evaluation import finetuning
from lightbsr_model.evaluation.comparison.statistics import Interval

from support.helpers import run_command
from support.students import tiny


@pytest.fixture(scope="module")
def model_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "tiny.safetensors"
    net = tiny("LightBSR", image_skip=True)
    save_model(path, net.state_dict(), ModelCard("setting1_x4", {"name": "parent"}, "CC0-1.0"))
    return path


def _image(path, side=(140, 132), seed=0):
    generator = np.random.default_rng(seed)
    small = Image.fromarray(generator.integers(0, 256, (12, 12, 3), dtype=np.uint8))
    small.resize((side[1], side[0]), Image.BICUBIC).save(path)


@pytest.fixture
def own_images(tmp_path):
    folder = tmp_path / "own"
    folder.mkdir()
    for number in range(5):
        _image(folder / f"IMG ({number}).png", seed=number)
    return folder


def test_images_are_divided(own_images, tmp_path):
    shutil.copy(own_images / "IMG (0).png", own_images / "again.png")
    _image(own_images / "small.png", side=(100, 140))
    (own_images / "broken.jpg").write_bytes(b"\xff\xd8\xff")
    division = finetuning.divide(own_images, tmp_path / "run", 4)
    assert (division.learnt_from, division.kept) == (4, 1)
    assert len(division.left_out) == 3
    told = "\n".join(division.left_out)
    assert "broken.jpg" in told
    assert "small.png: 140x100, smaller than a patch of 128x128" in told
    # Names are sorted: the copy comes after the others.
    assert "again.png: the same image as" in told or "IMG (0).png: the same image as" in told
    learnt = {np.asarray(Image.open(path)).tobytes() for path in division.train.iterdir()}
    assert len(learnt) == 4
    (held_out,) = [path for path in own_images.glob("IMG*") if np.asarray(Image.open(path)).tobytes() not in learnt]
    # Quarters would be too small: it is held out as one crop, of multiples of the scale, in the middle.
    (crop,) = [np.asarray(Image.open(path)) for path in division.held_out.iterdir()]
    assert np.array_equal(crop, np.asarray(Image.open(held_out))[:140, :132])
    again = finetuning.divide(own_images, tmp_path / "run", 4)
    assert again == division


def test_few_large_images_are_held_out_in_quarters(tmp_path):
    folder = tmp_path / "own"
    folder.mkdir()
    for number in range(2):
        _image(folder / f"{number}.png", side=(803, 270), seed=number)
    division = finetuning.divide(folder, tmp_path / "run", 4)
    held_out = np.asarray(Image.open(folder / "1.png"))
    crops = [np.asarray(Image.open(path)) for path in sorted(division.held_out.iterdir())]
    assert [crop.shape for crop in crops] == [(384, 132, 3)] * 4
    # 401 rows, 8 above the crop; 135 columns, 1 left of it.
    assert np.array_equal(crops[3], held_out[401 + 8 : 401 + 392, 135 + 1 : 135 + 133])


def test_what_cannot_be_divided_is_named_and_nothing_is_lost(own_images, tmp_path):
    run = tmp_path / "run"
    with pytest.raises(OptionError, match="holds the images themselves"):
        finetuning.divide(own_images, tmp_path, 4)
    (run / "train").mkdir(parents=True)
    (run / "train" / "thesis.txt").write_text("mine")
    with pytest.raises(OptionError, match=r"train holds thesis\.txt, which no fine-tuning put there"):
        finetuning.divide(own_images, run, 4)
    assert (run / "train" / "thesis.txt").read_text() == "mine"
    for path in sorted(own_images.iterdir())[1:]:
        path.unlink()
    with pytest.raises(OptionError, match="1 of 1 images can be used, expected at least 2 different ones of 128x128"):
        finetuning.divide(own_images, tmp_path / "other", 4)


def test_setting(model_file):
    model = load_model(model_file)
    assert finetuning.setting_of(model, None) == "setting1_x4"
    assert finetuning.setting_of(model, "photo_x4") == "photo_x4"
    with pytest.raises(OptionError, match=r"--preset: .*photo_x2"):
        finetuning.setting_of(model, "photo_x2")
    with pytest.raises(OptionError, match="--preset"):
        finetuning.setting_of(replace(model, card=ModelCard()), None)


def test_verdict():
    def verdict(low, clean):
        gains = {"iso_2.4": Interval(0.1, low, 0.2), "bicubic": Interval(clean, clean - 0.1, clean + 0.1)}
        return finetuning.Verdict(gains, "iso_2.4").is_better

    assert verdict(0.01, 0.0)
    assert verdict(0.01, -0.05)
    assert not verdict(0.0, 0.0)
    assert not verdict(0.01, -0.06)


def test_a_model_is_made_better_and_another_is_not(own_images, model_file, tmp_path, capfd, monkeypatch):
    monkeypatch.chdir(tmp_path)
    # It begins as bicubic interpolation nearly, which any training betters.
    line = ["finetune", own_images, "-m", model_file, "-o", "new.safetensors", "--batch", 2]
    status, told = run_command(capfd, *line, "--iterations", 60, "--lr", 2e-3, "--seed", 3)
    assert status == 0, told
    model, parent = load_model("new.safetensors"), load_model(model_file)
    assert model.options == parent.options
    assert any(not torch.equal(value, parent.net.state_dict()[key]) for key, value in model.net.state_dict().items())
    said = model.card.training["finetuned"]
    assert model.card.training["name"] == "parent"
    assert (model.card.setting, model.card.licence) == ("setting1_x4", "CC0-1.0")
    assert (said["parent"], said["images"], said["held_out"], said["seed"]) == (str(model_file), 4, 1, 3)
    assert said["psnr_y_gain"]["setting1_x4"] > 0
    options = yaml.safe_load((tmp_path / "finetune/new/finetune.yml").read_text())
    assert options["datasets"]["train"]["preset"] == "setting1_x4"
    assert (tmp_path / "finetune/new/comparison/index.html").is_file()
    # What is there is not replaced unasked.
    status, told = run_command(capfd, *line)
    assert status == 2
    assert "new.safetensors is there already; --overwrite replaces it" in told


def _untrained(arguments, log, progress):
    """In place of a training: the weights that it would start from."""
    options = yaml.safe_load(Path(arguments[arguments.index("-opt") + 1]).read_text())
    models = log.parent / "experiments" / options["name"] / "models"
    models.mkdir(parents=True, exist_ok=True)
    shutil.copy(options["path"]["pretrain_network_g"], models / "net_g_latest.pth")


def test_what_is_not_better_is_not_written(own_images, model_file, tmp_path, capfd, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(finetune, "run_step", _untrained)
    status, told = run_command(capfd, "finetune", own_images, "-m", model_file, "-o", "new.safetensors")
    assert status == 1
    assert "setting1_x4: +0.00 dB [+0.00, +0.00]" in told
    assert "not better than" in told
    assert not (tmp_path / "new.safetensors").exists()
    checkpoint = tmp_path / "finetune/new/experiments/finetuned/models/net_g_latest.pth"
    assert f"`lightbsr export {checkpoint} -o new.safetensors`" in told
    assert load_model(checkpoint).options["type"] == "LightBSR"


@pytest.mark.parametrize("other", ["image", "--seed", "-m"])
def test_another_run_is_not_gone_on_with(own_images, model_file, tmp_path, capfd, monkeypatch, other):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(finetune, "run_step", _untrained)
    monkeypatch.setattr(finetune, "run_comparison", lambda *_: None)
    monkeypatch.setattr(finetune, "write_report", lambda *_: ["page"])
    monkeypatch.setattr(
        finetuning, "judge", lambda *_: finetuning.Verdict({"setting1_x4": Interval(0.0, 0.0, 0.0)}, "setting1_x4")
    )
    line = ["finetune", own_images, "-m", model_file]
    run_command(capfd, *line)
    # By the name of the images' folder.
    folder = tmp_path / "finetune/own"
    (folder / "experiments/mark").touch()
    assert "is of other images" not in run_command(capfd, *line)[1]
    assert (folder / "experiments/mark").exists()
    if other == "image":
        _image(own_images / "IMG (0).png", seed=9)
    elif other == "-m":
        net = tiny("LightBSR", image_skip=True)
        net.sr.last.bias.data += 0.01
        save_model(tmp_path / "other.safetensors", net.state_dict(), ModelCard("setting1_x4"))
        line[3] = tmp_path / "other.safetensors"
    else:
        line += ["--seed", 1]
    _, told = run_command(capfd, *line)
    assert "finetune/own/experiments is of other images, another model or other settings: it is kept as" in told
    (kept,) = folder.glob("experiments_*")
    assert (kept / "mark").exists()
    assert not (folder / "experiments/mark").exists()


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["-o", ""], "-o: expected a path, got an empty argument"),
        (["-o", "new.pth"], r"expected a name that ends with \.safetensors"),
        (["-o", "new.safetensors", "--iterations", "1"], "--iterations: expected 10 or more, got 1"),
        (["-o", "new.safetensors", "--lr", "nan"], "--lr: expected more than 0 and less than 1, got nan"),
        (["-o", "new.safetensors", "-m", "nowhere.pth"], "there is no model nowhere.pth"),
        (["-o", "new.safetensors", "--preset", "photo_x9"], "--preset"),
        (["-o", "own/IMG (0).png/new.safetensors"], r"IMG \(0\)\.png/new\.safetensors cannot be written"),
        (["nowhere"], "IMAGES: there is no folder nowhere.\n"),
    ],
)
def test_mistakes(own_images, tmp_path, capfd, monkeypatch, flags, words):
    monkeypatch.chdir(tmp_path)
    images = [] if flags[0] == "nowhere" else [own_images]
    status, told = run_command(capfd, "finetune", *images, *flags)
    assert status in (1, 2)
    assert re.search(words, told)
    assert not (tmp_path / "finetune").exists()
