"""The command as a whole, on small networks and images."""

from __future__ import annotations

import csv
import re

import numpy as np
import pytest
import torch
import yaml

import lightbsr
from lightbsr_arch import LightBSR
from lightbsr_model.data.image_sources import open_images
from lightbsr_model.degradation import isotropic_gaussian_kernels
from lightbsr_model.degradation.exact import benchmark_lq
from lightbsr_model.evaluation.analysis.settings import AnalysisSettings

from support.helpers import ROOT, TINY
from support.method_cases import CASES


@pytest.fixture
def settings(image_folder):
    return {
        "name": "small",
        "scale": 4,
        "images": str(image_folder),
        "models": [{"name": "ours", "network": {"type": "LightBSR", "scale": 4, **TINY}}],
        "sigmas": [0.5, 3.0],
        "noise_levels": [0, 20],
        "patch": 64,
        "device": "cpu",
    }


@pytest.fixture
def analyze(tmp_path):
    def run(content, folder="out"):
        path = tmp_path / "analyze.yml"
        path.write_text(yaml.safe_dump(content, sort_keys=False))
        return lightbsr.main(["analyze", "-opt", str(path), "-o", str(tmp_path / folder)]), tmp_path / folder

    return run


def test_codes_are_those_of_the_network_on_the_benchmarks_lr_images(settings, analyze, tmp_path, image_folder, capsys):
    torch.manual_seed(5)
    net = LightBSR(scale=4, **TINY)
    torch.save({"params": net.state_dict()}, tmp_path / "net.pth")
    settings["models"] = [
        {"name": "ours", "path": str(tmp_path / "net.pth")},
        {"name": "by its module", "path": str(tmp_path / "net.pth"), "code": "encoder"},
    ]
    code, folder = analyze(settings)
    assert code == 0
    assert "| ours |" in capsys.readouterr().out
    with np.load(folder / "codes_ours.npz") as data:
        vectors, image, point, names = (data[key] for key in ("vectors", "image", "point", "names"))
    assert vectors.shape == (6 * 4, 16)
    assert image.tolist() == [number for number in range(6) for _ in range(4)]
    assert point.tolist() == list(range(4)) * 6
    assert list(names) == ["astronaut0", "astronaut1", "chelsea0", "chelsea1", "coffee0", "coffee1"]
    # Image 4 under sigma 3, noise 0.
    images = open_images({"dataroot_gt": str(image_folder)})
    gt = torch.from_numpy(images.read(4)[8:72, 16:80].transpose(2, 0, 1).copy())
    lq = benchmark_lq(gt, isotropic_gaussian_kernels(torch.tensor([3.0], dtype=torch.float64))[0], 0, 4, "clamp", 0)
    with torch.no_grad():
        expected = net.eval().represent(lq[None])[0]
    np.testing.assert_allclose(vectors[4 * 4 + 2], expected, rtol=1e-5, atol=1e-6)
    with np.load(folder / "codes_by its module.npz") as data:
        np.testing.assert_allclose(data["vectors"], vectors, rtol=1e-5, atol=1e-6)
    assert {"index.html", "table.md", "table.csv", "codes_ours.png"} <= {path.name for path in folder.iterdir()}
    page = (folder / "index.html").read_text()
    assert page.count("<img ") == 2
    assert "http:" not in page
    assert "https:" not in page


def test_same_seed_same_numbers(settings, analyze):
    settings["models"].append({"name": "DASR", "network": CASES["DASR"].options()})
    tables = []
    for folder in ("one", "two"):
        code, out = analyze(settings, folder)
        assert code == 0
        tables.append([(out / name).read_bytes() for name in ("table.csv", "codes_ours.png")])
    assert tables[0] == tables[1]
    _, out = analyze({**settings, "seed": 1}, "three")
    assert (out / "table.csv").read_bytes() != tables[0][0]


def test_every_encoder_conditioned_method(settings, analyze, tmp_path):
    for name in ("KDSRTeacher", "CdCL", "DASR"):
        torch.save({"params": CASES[name].build().state_dict()}, tmp_path / f"{name}.pth")
        settings["models"].append({"name": name, "path": str(tmp_path / f"{name}.pth")})
    teacher = {"type": "LightBSRTeacher", "scale": 4, "prior_channels": 18, "queue_size": 8, **TINY}
    settings["models"].append({"name": "teacher", "network": teacher})
    code, folder = analyze(settings)
    assert code == 0
    with (folder / "table.csv").open() as file:
        rows = {row["method"]: row for row in csv.DictReader(file)}
    assert list(rows) == ["ours", "KDSRTeacher", "CdCL", "DASR", "teacher"]
    assert set(rows["ours"]) == {
        "method", "Silhouette by degradation", "Silhouette by content", "Sigma, R^2", "Kernel, accuracy", "Noise level, R^2",
        "Retrieval@1",
    }  # fmt: skip
    # It is given the kernel: even an untrained one can be read.
    assert float(rows["teacher"]["Sigma, R^2"]) > 0.8
    assert float(rows["teacher"]["Kernel, accuracy"]) == 1


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (
            {"network": {"type": "MSRResNet", "num_feat": 8, "num_block": 1, "upscale": 4}},
            "set `code` to the module .*conv_first",
        ),
        ({"network": {"type": "LightBSR", "scale": 4, **TINY}, "code": "encode"}, "has no module 'encode' .*encoder"),
    ],
)
def test_network_without_a_code_is_explained(settings, analyze, capsys, entry, message):
    settings["models"] = [{"name": "x", **entry}]
    assert analyze(settings)[0] == 2
    error = capsys.readouterr().err
    assert re.search(message, error), error


def test_any_module_of_any_network(settings, analyze):
    network = {"type": "MSRResNet", "num_feat": 8, "num_block": 1, "upscale": 4}
    settings["models"] = [{"name": "x", "network": network, "code": "body"}]
    code, folder = analyze(settings)
    assert code == 0
    with np.load(folder / "codes_x.npz") as data:
        assert data["vectors"].shape == (24, 8)


def test_all_problems_of_a_file_at_once(settings, analyze, capsys):
    settings.update(images="/nowhere", sigmas=[1.0], patch=63, seen=2.0, cuont=3, device="tpu")
    settings["models"].append({"name": "done", "results": "/tmp"})
    assert analyze(settings)[0] == 2
    error = capsys.readouterr().err
    for words in (
        "there is no folder /nowhere",
        "patch: expected a multiple of the scale 4, got 63",
        "seen: expected a fraction",
        "cuont: unknown key; did you mean count",
        "device: expected auto",
        "existing SR images have no codes",
    ):
        assert words in error, words
    settings.update(images="bundled", patch=64, seen=0.5, device="cpu")
    del settings["cuont"], settings["models"][1]
    assert analyze(settings)[0] == 2
    assert "at least two kernels" in capsys.readouterr().err
    assert analyze({**settings, "sigmas": [1.0, -2.0]})[0] == 2
    assert "sigma: expected 0" in capsys.readouterr().err


def test_image_smaller_than_the_patch_is_named(settings, analyze, capsys):
    assert analyze({**settings, "patch": 84})[0] == 2
    assert "astronaut0.png: 96x80 is too small for a patch of 84" in capsys.readouterr().err


def test_bundled_pictures_by_one_word(settings, analyze):
    settings.update(images="bundled", count=4, patch=64)
    code, folder = analyze(settings)
    assert code == 0
    with np.load(next(folder.glob("codes_*.npz"))) as data:
        assert len(set(data["image"].tolist())) == 4


def test_shipped_file_is_complete():
    shipped = yaml.safe_load((ROOT / "options/compare/analyze_setting1_x4.yml").read_text())
    assert set(shipped) == set(AnalysisSettings.__dataclass_fields__)
