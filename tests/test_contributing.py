"""CONTRIBUTING.md's new method, followed word by word in a package of its own."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest
import skimage.data
import torch
from PIL import Image

from support.helpers import ROOT

pytestmark = pytest.mark.slow

GUIDE = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8").partition("## A new method in three files")[2]
RUN = "import shlex, sys, lightbsr; sys.exit(next(filter(None, (lightbsr.main(shlex.split(c)) for c in sys.argv[1:])), 0))"


def _blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", GUIDE, flags=re.DOTALL)


def test_the_guide_gives_a_method_that_works(tmp_path):
    network, training, entry = _blocks("python")
    short_training, comparison = _blocks("yaml")
    (point,) = _blocks("toml")
    package = tmp_path / "site/toy"
    package.mkdir(parents=True)
    for name, text in (("__init__", entry), ("network", network), ("training", training)):
        (package / f"{name}.py").write_text(text)
    group, name, value = re.fullmatch(r'\[project\.entry-points\."(.*)"\]\n(\w+) = "(.*)"\n', point).groups()
    metadata = tmp_path / "site/toy-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: toy\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(f"[{group}]\n{name} = {value}\n")
    work = tmp_path / "work"
    options = work / "options/toy"
    options.mkdir(parents=True)
    (options / "try.yml").write_text(short_training)
    (options / "compare.yml").write_text(comparison)
    (work / "photos").mkdir()
    Image.fromarray(skimage.data.chelsea()[:80, :96]).save(work / "photos/chelsea.png")

    commands = re.findall(r"^    lightbsr (.*)$", GUIDE, flags=re.MULTILINE)
    names = [command.split()[0] for command in commands]
    assert names == ["check", "train", "train", "compare", "export", "info", "infer"]
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path / 'site'}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"}
    done = subprocess.run(
        [sys.executable, "-c", RUN, *commands], cwd=work, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert "Toy" in done.stdout
    assert "The encoder phase begins" in done.stdout + done.stderr
    trained = torch.load(work / "experiments/try_toy/models/net_g_8.pth")["params"]
    before = torch.load(work / "experiments/try_toy/models/net_g_4.pth")["params"]
    assert not torch.equal(trained["sr.head.weight"], before["sr.head.weight"])
    rows = (work / "comparisons/try_toy/images.csv").read_text().splitlines()
    assert {row.split(",")[0] for row in rows[1:]} >= {"bicubic", "Toy"} or "Toy" in rows[-1]
    with Image.open(next((work / "restored").rglob("*.png"))) as restored:
        assert restored.size == (4 * 96, 4 * 80)
