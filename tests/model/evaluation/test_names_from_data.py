"""Names in an LMDB that lead elsewhere, or that a terminal, a browser or a spreadsheet would act on."""

from __future__ import annotations

import csv
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import yaml

from lightbsr import main
from lightbsr_arch import LightBSR
from lightbsr_arch.errors import OptionError
from lightbsr_arch.saving import inside

from support.helpers import TINY
from support.lmdb_files import write_lmdb

ESCAPE = "\x1b]0;owned\x07\x1b[31mred"
ODD = "=1+1|a`<script>alert(1)</script>\u202e"
"""A name that is good for a file: its ``/`` makes folders."""


def _store(place: Path, names: list[str]) -> Path:
    """An LMDB as BasicSR's tools write it, of noise images by the names."""
    rng = np.random.default_rng(0)
    images = (cv2.imencode(".png", rng.integers(0, 256, (32, 32, 3), np.uint8))[1].tobytes() for _ in names)
    write_lmdb(place, dict(zip(names, images, strict=True)))
    return place


def _files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def work(tmp_path, monkeypatch):
    """The output's place, some folders down, so that what leaves it is still in the test's own."""
    folder = tmp_path / "a" / "b" / "c"
    folder.mkdir(parents=True)
    monkeypatch.chdir(folder)
    return folder


@pytest.mark.parametrize("kind", ["lr", "lr.lmdb"])
@pytest.mark.parametrize("name", ["../../../x", "{root}/x", "a/../../../../x", "..\\..\\x", "C:x", ESCAPE])
def test_degrade_writes_nothing_outside_its_output(tmp_path, work, capsys, kind, name):
    name = name.format(root=tmp_path)
    hr = _store(tmp_path / "hr.lmdb", ["good", name])
    before = _files(tmp_path)
    words = ["data", "degrade", str(hr), "-o", str(work / kind), "--preset", "iso_1.2", "--workers", "0"]
    assert main(words) == 1
    said = capsys.readouterr().err
    assert "could lead out of the output folder: rename the image" in said
    assert "1 of 2 images cannot be used:\n" in said
    assert ascii(name)[1:-1].replace("\\\\", "\\") in said
    assert not {"\x1b", "\x07"} & set(said)
    assert {file for file in _files(tmp_path) - before if not file.startswith("a/b/c/")} == set()
    assert main([*words, "--skip-bad"]) == 0
    assert "\x1b" not in capsys.readouterr().out
    assert {file for file in _files(tmp_path) - before if not file.startswith(f"a/b/c/{kind}")} == set()
    assert (work / kind / ("info" if kind == "lr" else ".") / "kernels/good.png").is_file()


def test_degrade_makes_folders_of_names_below_its_output(tmp_path, work):
    hr = _store(tmp_path / "hr.lmdb", ["good", "one/two"])
    assert main(["data", "degrade", str(hr), "-o", "lr", "--preset", "iso_1.2", "--workers", "0"]) == 0
    images = {"good.png", "one/two.png"}
    assert {file for file in _files(work / "lr") if not file.startswith("info/")} == images
    assert {file for file in _files(work / "lr") if file.startswith("info/kernels")} == {
        f"info/kernels/{image}" for image in images
    }


def _compare(tmp_path: Path, hr: Path, **options: object) -> int:
    torch.manual_seed(0)
    torch.save({"params": LightBSR(scale=4, **TINY).state_dict()}, tmp_path / "net.pth")
    content = {
        "name": "small", "scale": 4, "sets": {"+Two": str(hr)}, "presets": ["iso_1.2"], "cost": False, "crops": 1,
        "crop_size": 16, "bootstrap": 100, "device": "cpu",
        "models": [
            {"name": "=b|`<b>", "network": {"type": "BicubicUpsampler", "scale": 4}},
            {"name": "ours", "path": str(tmp_path / "net.pth")},
        ],
        **options,
    }  # fmt: skip
    (tmp_path / "compare.yml").write_text(yaml.safe_dump(content, sort_keys=False))
    return main(["compare", "-opt", str(tmp_path / "compare.yml"), "-o", "out"])


@pytest.mark.parametrize("name", ["../../../../x", "{root}/x", ESCAPE])
def test_compare_refuses_names_that_lead_out_before_it_restores(tmp_path, work, capsys, name):
    hr = _store(tmp_path / "hr.lmdb", ["good", name.format(root=tmp_path)])
    before = _files(tmp_path)
    assert _compare(tmp_path, hr) == 2
    said = capsys.readouterr().err
    assert "sets, +Two: the name '" in said
    assert "could lead out of the output folder" in said
    assert "\x1b" not in said
    written = _files(tmp_path) - before - {"net.pth", "compare.yml"}
    assert {file for file in written if not file.startswith("a/b/c/out/")} == set()
    assert not (work / "out" / "images").exists()


def test_compare_shows_odd_names_harmless(tmp_path, work, capsys):
    hr = _store(tmp_path / "hr.lmdb", ["good", ODD])
    assert _compare(tmp_path, hr) == 0
    assert "\u202e" not in capsys.readouterr().out
    out = work / "out"
    assert (out / "images" / "=b|`<b>" / "+Two" / "iso_1.2" / f"{ODD}.png").is_file()
    table = (out / "table_iso_1.2.md").read_text()
    lines = [line for line in table.splitlines() if line.startswith("|")]
    assert [line.replace("\\|", "").count("|") for line in lines] == [lines[1].count("|")] * len(lines)
    assert "| =b\\|\\`&lt;b&gt; |" in table
    with (out / "images.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {(row["method"], row["set"]) for row in rows} == {("'=b|`<b>", "'+Two"), ("ours", "'+Two")}
    assert {row["image"] for row in rows} == {"good", "'" + ODD.replace("\u202e", "\\u202e")}
    assert (out / "table_iso_1.2.csv").read_text().startswith("method,'+Two PSNR-Y")
    page = (out / "index.html").read_text()
    assert not [words for words in ("<script>alert", "<b>", "\u202e") if words in page]
    assert "a`&lt;script&gt;alert(1)&lt;/script&gt;\\u202e" in page


def test_names_of_every_kind():
    folder = Path("out")
    for name in ("x.png", "a/b.png", "..x.png", "a...png", "v1.5 écrit.png", "ab:c"):
        assert inside(folder, name) == folder / name
    refused = {
        "": "is empty", "/x": "is absolute", "..": "holds '..'", "a/../b": "holds '..'", "a\\b": "holds a backslash",
        "c:x": "drive letter", "a\0b": "control character", "a\nb": "control character", "a\x9bb": "control character",
    }  # fmt: skip
    for name, words in refused.items():
        with pytest.raises(OptionError, match=words):
            inside(folder, name)
