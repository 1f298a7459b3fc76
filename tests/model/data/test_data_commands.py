"""What ``lightbsr data check``, ``degrade`` and ``show`` say and write."""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
import scipy.ndimage
import torch
from basicsr.data import build_dataset
from basicsr.utils.matlab_functions import imresize
from PIL import Image

from lightbsr import main
from lightbsr_model.data import worker_pool
from lightbsr_model.degradation import isotropic_gaussian_kernels
from lightbsr_model.degradation.kernel_shape import kernel_picture, kernel_shape
from lightbsr_model.degradation.kernels import anisotropic_gaussian_kernels

from support.helpers import ROOT


def _lr(folder: Path) -> dict[str, np.ndarray]:
    return {path.stem: cv2.imread(str(path))[:, :, ::-1] for path in folder.glob("*.png")}


def _benchmark(root: Path, **options):
    backend = {"type": "lmdb" if root.suffix == ".lmdb" else "disk"}
    section = {"type": "BlindDegradationBenchmarkDataset", "name": "b", "phase": "val", "scale": 4}
    return build_dataset({**section, "io_backend": backend, "dataroot_gt": str(root), **options})


# ---- degrade


@pytest.fixture
def hr(tmp_path, image_folder) -> Path:
    folder = tmp_path / "hr"
    shutil.copytree(image_folder, folder)
    (folder / "chelsea1.png").rename(folder / "v1.5 écrit.png")
    return folder


@pytest.mark.parametrize("preset", ["aniso_k3_n5", "setting2_x4", "iso_2.4"])
def test_lr_images_are_the_same_bits_by_every_way(tmp_path, hr, preset):
    folder, stored = tmp_path / "lr", tmp_path / "lr.lmdb"
    assert main(["data", "prepare", "folder", str(hr), "-o", str(tmp_path / "hr.lmdb"), "--whole"]) == 0
    words = ["--preset", preset, "--seed", "3", "--workers", "0"]
    assert main(["data", "degrade", str(hr), "-o", str(folder), *words]) == 0
    assert main(["data", "degrade", str(tmp_path / "hr.lmdb"), "-o", str(stored), *words]) == 0
    images = _lr(folder)
    assert set(images) == {path.stem for path in hr.iterdir()}
    from_folder = _benchmark(hr, preset=preset, seed=3)
    from_lmdb = _benchmark(tmp_path / "hr.lmdb", preset=preset, seed=3)
    finished = _benchmark(hr, dataroot_lq=str(folder))
    finished_lmdb = _benchmark(tmp_path / "hr.lmdb", dataroot_lq=str(stored))
    entries = {entry["name"]: entry for entry in json.loads((folder / "info/degradation.json").read_text())["images"]}
    assert len(entries) == 6
    for index in range(6):
        name = from_folder.images.stem(index)
        samples = [dataset[index] for dataset in (from_folder, from_lmdb, finished, finished_lmdb)]
        for sample in samples:
            expected = torch.from_numpy(images[name].transpose(2, 0, 1).copy()).float() / 255
            assert torch.equal(sample["lq"], expected)
            assert torch.equal(sample["gt"], samples[0]["gt"])
        assert torch.equal(samples[0]["kernel"], torch.tensor(entries[name]["kernel"], dtype=torch.float64).float())
        assert samples[0]["noise_level"] == pytest.approx(entries[name]["noise_level"])
    again = json.loads((stored / "degradation.json").read_text())
    assert {entry["name"]: entry for entry in again["images"]} == entries
    kernel = cv2.imread(str(folder / "info/kernels/coffee0.png"), cv2.IMREAD_UNCHANGED)
    assert (kernel == kernel_picture(torch.tensor(entries["coffee0"]["kernel"]))).all()


@pytest.mark.slow
def test_workers_write_the_same_bits(tmp_path, hr, monkeypatch):
    monkeypatch.setattr(worker_pool, "WORTH_STARTING", 1)
    for workers in ("0", "2"):
        arguments = ["-o", str(tmp_path / workers), "--preset", "aniso_k9_n10", "--workers", workers]
        assert main(["data", "degrade", str(hr), *arguments]) == 0
    ours, theirs = (_lr(tmp_path / workers) for workers in "02")
    assert all((ours[name] == theirs[name]).all() for name in ours)
    assert len(ours) == 6


def test_json_is_enough_to_make_the_images_elsewhere(tmp_path, hr):
    """By SciPy's convolution and BasicSR's copy of MATLAB's imresize, from the JSON alone."""
    arguments = ["--preset", "aniso_k3_n5", "--border", "symmetric"]
    assert main(["data", "degrade", str(hr), "-o", str(tmp_path / "lr"), *arguments]) == 0
    document = json.loads((tmp_path / "lr/info/degradation.json").read_text())
    off = total = 0
    for entry in document["images"]:
        gt = cv2.imread(str(hr / f"{entry['name']}.png"))[:, :, ::-1].astype(np.float64)
        kernel = np.array(entry["kernel"])[:, :, None]
        blurred = scipy.ndimage.convolve(gt, kernel, mode="mirror")
        low = imresize(blurred, 1 / document["scale"]).transpose(2, 0, 1)
        noise = np.random.RandomState(entry["seed"]).standard_normal(low.shape)
        made = np.clip(np.round(low + entry["noise_level"] * noise), 0, 255).transpose(1, 2, 0)
        written = cv2.imread(str(tmp_path / f"lr/{entry['name']}.png"))[:, :, ::-1]
        assert list(written.shape[:2]) == entry["lr_size"]
        difference = np.abs(made - written)
        assert difference.max() <= 1
        off, total = off + (difference > 0).sum(), total + difference.size
    # BasicSR's imresize works in float32.
    assert off / total < 1e-3


def test_jpeg_is_a_real_encoders(tmp_path, hr):
    arguments = ["--preset", "setting2_x4", "--workers", "0", "--set", "noise_level=[1, 9]"]
    for name, jpeg in (("plain", []), ("jpeg", ["jpeg=[40, 60]"])):
        assert main(["data", "degrade", str(hr), "-o", str(tmp_path / name), *arguments, *jpeg]) == 0
    plain, compressed = _lr(tmp_path / "plain"), _lr(tmp_path / "jpeg")
    document = json.loads((tmp_path / "jpeg/info/degradation.json").read_text())
    assert document["degradation"]["jpeg"] == [40, 60]
    assert "pillow" in document["versions"]
    assert "JPEG of jpeg_quality" in document["method"]
    assert len(document["images"]) == 6
    for entry in document["images"]:
        assert 40 <= entry["jpeg_quality"] <= 60
        file = io.BytesIO()
        Image.fromarray(plain[entry["name"]]).save(file, "JPEG", quality=entry["jpeg_quality"])
        assert (np.asarray(Image.open(file)) == compressed[entry["name"]]).all()
    sample = _benchmark(hr, preset="setting2_x4", degradation={"noise_level": [1, 9], "jpeg": [40, 60]})[0]
    assert sample["jpeg_quality"] == document["images"][0]["jpeg_quality"]
    without = json.loads((tmp_path / "plain/info/degradation.json").read_text())
    assert "jpeg" not in json.dumps(without).lower()
    assert "pillow" not in without["versions"]


def test_stock_dataset_pairs_what_degrade_writes(tmp_path, hr):
    assert main(["data", "degrade", str(hr), "-o", str(tmp_path / "lr"), "--preset", "iso_1.2"]) == 0
    roots = {"dataroot_gt": str(hr), "dataroot_lq": str(tmp_path / "lr"), "io_backend": {"type": "disk"}}
    stock = build_dataset({"type": "PairedImageDataset", "name": "s", "phase": "val", "scale": 4, **roots})
    ours = _benchmark(hr, preset="iso_1.2")
    samples = {Path(stock[index]["gt_path"]).stem: stock[index] for index in range(len(stock))}
    for index in range(6):
        sample = samples[ours.images.stem(index)]
        assert torch.equal(sample["lq"], ours[index]["lq"])
        assert torch.equal(sample["gt"], ours[index]["gt"])


def test_several_presets_and_overrides(tmp_path, hr, capsys):
    words = ["--preset", "iso_0.6", "iso_1.2", "--scale", "2", "--set", "noise_level=[1,5]"]
    assert main(["data", "degrade", str(hr), "-o", str(tmp_path / "lr.v1"), *words]) == 0
    for preset, sigma in (("iso_0.6", 0.6), ("iso_1.2", 1.2)):
        document = json.loads((tmp_path / "lr.v1" / preset / "info/degradation.json").read_text())
        assert document["scale"] == 2
        assert document["degradation"]["noise_level"] == [1.0, 5.0]
        for entry in document["images"]:
            assert 1 <= entry["noise_level"] <= 5
            assert entry["lr_size"] == [40, 48]
            expected = isotropic_gaussian_kernels(torch.tensor([sigma], dtype=torch.float64))[0]
            assert np.array(entry["kernel"]) == pytest.approx(expected.numpy(), abs=1e-12)
    assert len({entry["noise_level"] for entry in document["images"]}) == 6
    # What differs is said value by value.
    words[-1] = "noise_level=[1,6]"
    assert main(["data", "degrade", str(hr), "-o", str(tmp_path / "lr.v1"), *words]) == 2
    told = capsys.readouterr().err
    assert "exists, made with degradation.noise_level [1.0, 5.0] (now [1.0, 6.0]): name another output" in told


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--preset", "iso_1.3"], "did you mean iso_1"),
        (["--preset", "iso_1.2", "--set", "sigam=2"], "did you mean sigma"),
        (["--preset", "iso_1.2", "--set", "sigma"], "NAME=VALUE"),
    ],
)
def test_degrading_by_what_there_is_not(tmp_path, hr, words, message, capsys):
    assert main(["data", "degrade", str(hr), "-o", str(tmp_path / "lr"), *words]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "lr").exists()
    assert main(["data", "degrade", str(tmp_path / "nowhere"), "-o", str(tmp_path / "lr"), "--preset", "bicubic"]) == 2
    assert "nowhere" in capsys.readouterr().err


@pytest.mark.parametrize(("lambda_1", "lambda_2", "degrees"), [(2.0, 1.0, 30.0), (1.5, 0.8, 135.0), (2.2, 2.1, 90.0)])
def test_kernel_shape_is_that_of_the_gaussian(lambda_1, lambda_2, degrees):
    values = (torch.tensor([value], dtype=torch.float64) for value in (lambda_1, lambda_2, np.deg2rad(degrees)))
    shape = kernel_shape(anisotropic_gaussian_kernels(*values)[0])
    assert shape.lambda_1 == pytest.approx(lambda_1, rel=0.01)
    assert shape.lambda_2 == pytest.approx(lambda_2, rel=0.01)
    assert shape.theta == pytest.approx(degrees, abs=0.5)


# ---- check


def test_check_counts_and_finds(tmp_path, image_folder, capsys):
    folder = tmp_path / "pictures"
    shutil.copytree(image_folder, folder)
    assert main(["data", "check", str(folder), "--gt-size", "64"]) == 0
    said = capsys.readouterr().out
    assert "6 images, 0 of them unreadable" in said
    assert "96 wide, 80 high, 0.0 megapixels" in said
    assert "6 PNG RGB 8 bit" in said
    assert "by 1 processes" in said  # so few are read without workers
    assert "No problems." in said
    cv2.imwrite(str(folder / "twin.bmp"), cv2.imread(str(folder / "coffee0.png")))
    cv2.imwrite(str(folder / "deep.png"), np.zeros((70, 70), np.uint16))
    cv2.imwrite(str(folder / "small.png"), np.zeros((63, 70, 4), np.uint8))
    (folder / "text.png").write_text("hello")
    assert main(["data", "check", str(folder), "--gt-size", "64", "--workers", "0"]) == 1
    captured = capsys.readouterr()
    assert "10 images, 1 of them unreadable" in captured.out
    assert "1 PNG RGBA 8 bit" in captured.out
    assert "16 bit" in captured.out
    assert f"the same image: {folder}/coffee0.png, {folder}/twin.bmp" in captured.out
    assert f"PROBLEM {folder}/small.png: 70x63 is too small, 64 pixels are needed" in captured.out
    assert f"PROBLEM {folder}/text.png: cannot be read" in captured.out
    assert "2 problems" in captured.err


def test_check_pairs(tmp_path, image_folder, capsys):
    lq = tmp_path / "lq"
    lq.mkdir()
    for path in image_folder.iterdir():
        cv2.imwrite(str(lq / f"{path.stem}x4.png"), cv2.imread(str(path))[::4, ::4])
    words = ["data", "check", str(image_folder), "--lq", str(lq)]
    assert main([*words, "--filename-tmpl", "{}x4"]) == 0
    assert main(words) == 2
    assert "6 of 6 GT images have no LQ image" in capsys.readouterr().err
    cv2.imwrite(str(lq / "coffee0x4.png"), np.zeros((20, 23, 3), np.uint8))
    assert main([*words, "--filename-tmpl", "{}x4"]) == 1
    assert "coffee0x4.png: 23x20, times 4, does not fit the 96x80 of" in capsys.readouterr().out


def test_check_reads_all_sets_of_an_option_file(tmp_path, image_folder, capsys):
    options = tmp_path / "train.yml"
    options.write_text(
        "scale: 4\ndatasets:\n"
        f"  train: {{type: BlindDegradationPairedDataset, dataroot_gt: {image_folder}, preset: iso_1.2, gt_size: 88,"
        " num_worker_per_gpu: 2, dataset_enlarge_ratio: 10}\n"
        f"  val: {{type: BlindDegradationBenchmarkDataset, dataroot_gt: {image_folder}, preset: iso_1.2}}\n"
        "  test_1: {type: BlindDegradationBenchmarkDataset, io_backend: {type: bundled}, pictures: [coffee], preset: bicubic}\n"
    )
    assert main(["data", "check", "-opt", str(options)]) == 1
    said = capsys.readouterr().out
    assert all(f"train.yml datasets:{key}" in said for key in ("train", "val", "test_1"))
    assert said.count("96x80 is too small, 88 pixels are needed") == 6
    assert "an epoch of 60 samples: about" in said
    assert "num_worker_per_gpu 2" in said
    assert main(["data", "check", str(tmp_path / "missing.yml")]) == 2
    assert main(["data", "check", str(tmp_path / "missing")]) == 2


# ---- show


def test_show_draws_what_a_training_sees(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    options = str(ROOT / "options/demo/train_teacher.yml")
    for name in ("a.png", "b.png"):
        assert main(["data", "show", "-opt", options, "-o", name, "--samples", "3"]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[:3] == said[4:7]
    assert all(" px, noise level 0.0" in line for line in said[:3])
    picture = cv2.imread("a.png")
    assert (picture == cv2.imread("b.png")).all()
    # Three rows of four views, each with its LR image, and the kernel: 192 pixels and a gap of 8 each.
    assert picture.shape == (3 * (192 + 2 * 22 + 8), 9 * 200 + 8, 3)
    # The LR image beside a GT patch is its image in small: alike when both are blurred.
    gt, lr = picture[22:214, 8:200].astype(float), picture[22:214, 208:400].astype(float)
    assert np.abs(cv2.blur(gt, (32, 32)) - cv2.blur(lr, (32, 32))).mean() < 6
    assert main(["data", "show", "-opt", options, "-o", "c.png", "--samples", "3", "--seed", "1"]) == 0
    assert (picture != cv2.imread("c.png")).any()


def test_show_names_an_ending_that_it_cannot_write(tmp_path, capsys):
    options = str(ROOT / "options/demo/train_teacher.yml")
    assert main(["data", "show", "-opt", options, "-o", str(tmp_path / "data.xyz")]) == 2
    assert "data.xyz: expected a name that ends with one of .png" in capsys.readouterr().err


def test_show_needs_a_training_set(capsys):
    assert main(["data", "show", "-opt", str(ROOT / "options/test_bicubic_x4.yml")]) == 2
    assert "datasets:train" in capsys.readouterr().err
