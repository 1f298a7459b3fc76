"""The command as a whole, on small networks and images."""

from __future__ import annotations

import csv
import json
import shutil
import sys
from pathlib import Path

import cv2
import pytest
import torch
import yaml
from basicsr.archs import build_network
from basicsr.models.sr_model import SRModel

import lightbsr
from lightbsr.shipped_options import shipped_options
from lightbsr_arch import LightBSR
from lightbsr_model.bridge import launcher
from lightbsr_model.evaluation.comparison.methods import NetworkRestoration
from lightbsr_model.option_files.dotted_names import allow_local_code

from support.helpers import TINY
from support.method_cases import ALL, CASES
from support.model_options import MSRRESNET

SWINIR = {
    "type": "SwinIR", "upscale": 4, "img_size": 16, "window_size": 8, "embed_dim": 12, "depths": [2], "num_heads": [2],
    "mlp_ratio": 2, "upsampler": "pixelshuffledirect",
}  # fmt: skip


def _rows(path):
    with path.open() as file:
        return list(csv.DictReader(file))


def _means(folder, model, preset, metric="psnr_y"):
    values = [
        float(row[metric]) for row in _rows(folder / "images.csv") if (row["method"], row["preset"]) == (model, preset)
    ]
    return sum(values) / len(values)


NETWORKS = {
    "bicubic": ({"type": "BicubicUpsampler", "scale": 4}, "SRModel"),
    "MSRResNet": (MSRRESNET, "SRModel"),
    "EDSR": ({"type": "EDSR", "num_in_ch": 3, "num_out_ch": 3, "num_feat": 8, "num_block": 1, "upscale": 4}, "SRModel"),
    "RCAN": (
        {"type": "RCAN", "num_in_ch": 3, "num_out_ch": 3, "num_feat": 16, "num_group": 1, "num_block": 1, "upscale": 4},
        "SRModel",
    ),
    "SwinIR": (SWINIR, "SwinIRModel"),
    **{case.network: (case.options(), case.model_type if case.sees else "SRModel") for case in ALL},
}


@pytest.mark.parametrize("case", sorted(NETWORKS))
def test_figures_are_those_of_basicsrs_own_test(case, settings, compare, run, tmp_path, monkeypatch, image_folder):
    torch.manual_seed(0)
    network, model_type = NETWORKS[case]
    entry, paths = {"name": case, "network": network}, {}
    if case != "bicubic":
        net = build_network(network)
        for value in net.parameters():
            value.data.mul_(0.5)
        torch.save({"params": net.state_dict()}, tmp_path / "net.pth")
        entry["path"] = paths["pretrain_network_g"] = str(tmp_path / "net.pth")
    code, folder = compare({**settings, "models": [entry], "presets": ["iso_2.4"]})
    assert code == 0
    recorded = {}
    monkeypatch.setattr(
        SRModel, "_log_validation_metric_values", lambda self, *_: recorded.update(self.metric_results), raising=True
    )
    metrics = {
        name: {"type": f"calculate_{name}", "crop_border": 4, "test_y_channel": True} for name in ("psnr", "ssim")
    }
    dataset = {"name": "Six", "type": "BlindDegradationBenchmarkDataset"}
    dataset.update(dataroot_gt=str(image_folder), preset="iso_2.4")
    options = {
        "name": "test", "model_type": model_type, "scale": 4, "num_gpu": 0, "manual_seed": 0, "network_g": network,
        "path": paths, "datasets": {"test_1": dataset}, "val": {"save_img": False, "suffix": None, "metrics": metrics},
    }  # fmt: skip
    run(launcher.test, options)
    assert _means(folder, case, "iso_2.4") == pytest.approx(recorded["psnr"], abs=1e-6)
    assert _means(folder, case, "iso_2.4", "ssim_y") == pytest.approx(recorded["ssim"], abs=1e-6)


def test_what_comes_out(settings, compare, capsys, image_folder):
    settings["cost"], settings["cost_size"] = True, [16, 20]
    settings["boxes"] = [{"set": "Six", "image": "coffee0", "preset": "bicubic", "box": [10, 20, 30, 16]}]
    settings["published"] = ["DASR"]
    code, folder = compare(settings)
    assert code == 0
    assert "| ours |" in capsys.readouterr().out
    names = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    for preset in ("bicubic", "iso_2.4"):
        assert {
            f"{kind}_{preset}.{ending}" for kind in ("table", "differences") for ending in ("md", "csv", "tex")
        } <= names
        assert f"scatter_{preset}.png" in names
    assert {"index.html", "images.csv"} <= names
    assert not [name for name in names if name.endswith(".part")]
    rows = _rows(folder / "images.csv")
    assert len(rows) == 2 * 2 * 6
    hashes = {}
    for row in rows:
        hashes.setdefault((row["preset"], row["image"]), set()).add(row["lr_sha256"])
    assert all(len(each) == 1 for each in hashes.values())
    # The table's mean is that of its images, and the cost that of the network.
    table = {row["method"]: row for row in _rows(folder / "table_iso_2.4.csv")}
    assert float(table["ours"]["Six PSNR-Y"]) == pytest.approx(_means(folder, "ours", "iso_2.4"))
    net = LightBSR(scale=4, **TINY)
    assert float(table["ours"]["Parameters (M)"]) * 1e6 == pytest.approx(sum(v.numel() for v in net.parameters()))
    assert float(table["bicubic"]["Parameters (M)"]) == 0
    assert float(table["ours"]["Time (ms)"]) > 0
    # A crop as asked for: 5 panels of 30x16, twice as large, and its LR and GT pixels.
    crop = cv2.imread(str(folder / "crops/Six_bicubic_coffee0_10_20.png"))
    assert crop.shape == (2 * 16 + 52, 4 * (60 + 8) - 8, 3)
    gt = cv2.imread(str(image_folder / "coffee0.png"))[20:36, 10:40]
    assert (crop[26:-26:2, 3 * 68 :: 2] == gt).all()
    page = (folder / "index.html").read_text()
    assert page.count("<img ") == 2 + 3  # two scatters, two chosen crops, one asked for


def test_averaged_weights_are_preferred_and_can_be_chosen(settings, compare, trained):
    settings["models"] += [
        {"name": "plain", "path": str(trained), "param_key": "params"},
        {"name": "averaged", "path": str(trained), "param_key": "params_ema"},
    ]
    code, folder = compare(settings)
    assert code == 0
    assert (
        _means(folder, "ours", "iso_2.4") == _means(folder, "averaged", "iso_2.4") != _means(folder, "plain", "iso_2.4")
    )


def _report(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.suffix in (".csv", ".md", ".tex")}


@pytest.mark.parametrize("moment", [0, 3, 7, 11])
def test_goes_on_where_it_was_stopped(settings, compare, monkeypatch, moment):
    code, whole = compare(settings, "whole")
    assert code == 0
    restore = NetworkRestoration.restore
    calls = []

    def counted(self, sample, place):
        if len(calls) == moment:
            raise KeyboardInterrupt
        calls.append(place)
        return restore(self, sample, place)

    monkeypatch.setattr(NetworkRestoration, "restore", counted)
    assert compare(settings, "stopped")[0] == 130
    # As a kill leaves it: a line and an image cut short.
    stopped = whole.with_name("stopped")
    with (stopped / "restored.jsonl").open("a") as file:
        file.write('\n["ours/Six/bicub')
    (stopped / "images/bicubic/Six/bicubic").mkdir(parents=True, exist_ok=True)
    (stopped / "images/bicubic/Six/bicubic/chelsea1.part").write_bytes(b"cut")
    done = len(calls)
    monkeypatch.setattr(NetworkRestoration, "restore", lambda self, *rest: calls.append(0) or restore(self, *rest))
    code, _ = compare(settings, "stopped")
    assert code == 0
    assert len(calls) - done == 2 * 2 * 6 - done
    assert _report(stopped) == _report(whole)
    calls.clear()
    assert compare(settings, "stopped")[0] == 0
    assert calls == []


def test_other_weights_are_restored_again(settings, compare, trained, tmp_path):
    path = tmp_path / "own.pth"
    shutil.copy(trained, path)
    settings["models"][1]["path"] = str(path)
    _, folder = compare(settings)
    before = _means(folder, "ours", "iso_2.4")
    torch.save({"params": torch.load(trained)["params"]}, path)
    assert compare(settings)[0] == 0
    assert _means(folder, "ours", "iso_2.4") != before


def test_other_lr_images_are_refused(settings, compare, capsys):
    assert compare(settings)[0] == 0
    assert compare({**settings, "border": "symmetric"})[0] == 1
    assert "differs from when the comparison" in capsys.readouterr().err
    noisy = {**settings, "presets": ["aniso_k1_n10"]}
    assert compare(noisy, "noisy")[0] == 0
    assert compare({**noisy, "seed": 1}, "noisy")[0] == 1


@pytest.fixture
def finished(settings, compare, image_folder, tmp_path):
    """SR images of another program: ours, under their names; and the LR images that they were made of."""
    _, folder = compare(settings, "elsewhere")
    arguments = [str(image_folder), "-o", str(tmp_path / "lr/Six"), "--preset", "bicubic", "iso_2.4", "--workers", "0"]
    assert lightbsr.main(["data", "degrade", *arguments]) == 0
    return {"name": "theirs", "results": str(folder / "images/ours"), "lr": str(tmp_path / "lr")}


def test_finished_images_stand_beside_the_others(settings, compare, finished):
    unchecked = {"name": "unchecked", "results": finished["results"]}
    code, folder = compare({**settings, "models": [*settings["models"], finished, unchecked]})
    assert code == 0
    assert _means(folder, "theirs", "iso_2.4") == _means(folder, "ours", "iso_2.4")
    table = (folder / "table_bicubic.md").read_text()
    assert "LR images not checked, because only SR images were given: unchecked." in table


def test_finished_images_of_other_lr_images_are_refused(settings, compare, finished, write_image, capsys):
    path = Path(finished["lr"]) / "Six/iso_2.4/coffee1.png"
    image = cv2.imread(str(path))[:, :, ::-1].copy()
    image[3, 4, 0] ^= 1
    write_image(path, image)
    assert compare({**settings, "models": [finished]})[0] == 2
    error = capsys.readouterr().err
    assert "theirs" in error
    assert str(path) in error
    assert "another LR image" in error


def test_finished_images_that_do_not_fit_are_named(settings, compare, finished, write_image, capsys):
    path = Path(finished["results"]) / "Six/bicubic/coffee1.png"
    write_image(path, cv2.imread(str(path))[:-1, :, ::-1])
    assert compare({**settings, "models": [finished]})[0] == 2
    assert "coffee1.png is 96x79, expected 96x80" in capsys.readouterr().err
    path.unlink()
    assert compare({**settings, "models": [finished]})[0] == 2
    assert f"there is no {path}" in capsys.readouterr().err


def test_all_problems_of_a_file_at_once(settings, compare, capsys, trained):
    settings.update(
        presets=["iso_2.5"], metrics=["psnr_y", "vmaf"], reference="our", published=["SRCNN"], crop=3, border="wrap"
    )
    settings["models"] += [
        {"name": "ours", "path": "/nowhere.pth"},
        {"name": "x2", "network": {"type": "LightBSR", "scale": 2, **TINY}},
        {"name": "typo", "network": {"type": "MSRResNett"}},
        {"name": "both", "results": "/nowhere", "path": str(trained)},
        {"name": "a/b", "network": {"type": "BicubicUpsampler"}},
        {"name": "nothing"},
        {"name": "steps", "network": {"type": "ResidualShiftUNet", "scale": 4, "sample_steps": 99}},
        {"name": "typo", "network": {"type": "LightBSR", "scale": 4, "num_fea": 8}},
    ]
    settings["sets"]["Two"] = "/nowhere"
    code, folder = compare(settings)
    assert code == 2
    assert not folder.exists()
    error = capsys.readouterr().err
    for words in (
        "no degradation is named 'iso_2.5'; did you mean iso_",
        "no metric is named 'vmaf'",
        "no model is named 'our'; did you mean ours",
        "no published figures of 'SRCNN'",
        "crop: unknown key; did you mean crops",
        "border: expected clamp, symmetric, got 'wrap'",
        "'ours' is used twice",
        "there is no file /nowhere.pth",
        "the network's scale is 2, the comparison's is 4",
        "no network is named 'MSRResNett'; did you mean MSRResNet",
        "has no effect together with `results`",
        "there is no folder /nowhere",
        "the name of one folder, without / and",
        "expected `network`, `path` or `results`",
        "steps: this network's process has 15: expected 1 to that, got 99",
        "unexpected keyword argument 'num_fea'",
    ):
        assert words in error, words
    lines = [line for line in error.splitlines() if "line " in line]
    assert len(lines) >= 14


def test_checkpoint_of_another_network_is_named(settings, compare, capsys):
    settings["models"][1]["network"] = {"type": "LightBSR", "scale": 4, **TINY, "num_block": 3}
    assert compare(settings)[0] == 2
    assert "models, ours: " in capsys.readouterr().err


def test_a_third_partys_network_by_its_dotted_name(settings, compare, tmp_path, monkeypatch, capsys):
    (tmp_path / "someones_archs.py").write_text(
        "import torch\nclass Nearest(torch.nn.Module):\n"
        "    def forward(self, x):\n        return torch.nn.functional.interpolate(x, scale_factor=4)\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    settings["models"].append({"name": "theirs", "network": {"type": "someones_archs.Nearest"}})
    assert compare(settings)[0] == 2  # it lies where anybody may have put it
    assert "add --allow-local-code" in capsys.readouterr().err
    try:
        code, folder = compare(settings, "out", "--allow-local-code")
    finally:
        allow_local_code(False)
    assert code == 0
    assert _means(folder, "theirs", "bicubic") < _means(folder, "bicubic", "bicubic")


def test_what_draws_is_asked_for_before_anything_is_computed(settings, compare, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    code, folder = compare({**settings, "cost": True})
    assert code == 2
    assert "matplotlib is required and cannot be imported: pip install 'lightbsr[plot]'" in capsys.readouterr().err
    assert not folder.exists()
    assert compare(settings)[0] == 0


def test_shipped_file_is_complete(tmp_path):
    from lightbsr_model.evaluation.comparison.settings import Settings

    shipped = yaml.safe_load((shipped_options() / "compare/compare_setting1_x4.yml").read_text())
    assert set(shipped) == set(Settings.__dataclass_fields__)
    assert json.dumps(shipped)


def test_real_world_presets_are_compared_unasked(settings, compare, tmp_path):
    """A teacher that is told all parameters too; and its cost is measured."""
    network = {**CASES["LightBSRTeacher"].options(), "prior": "parameters", "prior_channels": 65}
    torch.save({"params": build_network(network).state_dict()}, tmp_path / "teacher.pth")
    models = [*settings["models"], {"name": "teacher", "path": str(tmp_path / "teacher.pth")}]
    code, folder = compare({**settings, "models": models, "presets": ["photo_x4", "realworld_x4"], "cost": True})
    assert code == 0
    means = {
        (name, preset): _means(folder, name, preset)
        for name in ("bicubic", "ours", "teacher")
        for preset in ("photo_x4", "realworld_x4")
    }
    assert means["bicubic", "photo_x4"] > means["bicubic", "realworld_x4"] + 2
    assert len(set(means.values())) == 6
    assert compare({**settings, "scale": 2, "presets": ["photo_x4"]}, "other")[0] == 2
