"""Paths, names, folders and models that nobody would choose: done right, or refused with a clear word and without a trace."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lightbsr_arch import Upscaler

from infer_helpers import files, save


def _pixels(path):
    with Image.open(path) as image:
        return np.asarray(image)


def test_links_that_lead_in_a_circle(infer, tmp_path):
    save(tmp_path / "in/a.png")
    (tmp_path / "in/loop").symlink_to(tmp_path / "in")
    (tmp_path / "in/self.png").symlink_to(tmp_path / "in/self.png")
    status, told = infer(tmp_path / "in", "-o", tmp_path / "out")
    assert files(tmp_path / "out") == ["a_x4.png"]
    assert status == 1
    assert "self.png: failed: Too many levels of symbolic links" in told


def test_a_link_to_nothing(infer, tmp_path):
    (tmp_path / "a.png").symlink_to(tmp_path / "gone.png")
    status, told = infer(tmp_path / "a.png", "-o", tmp_path / "out")
    assert (status, "a.png: failed: No such file or directory" in told) == (1, True)


def test_names_that_clash_but_for_the_extension(infer, tmp_path):
    save(tmp_path / "in/a.png", 20, 30)
    save(tmp_path / "in/a.jpg", 10, 10)
    assert infer(tmp_path / "in", "-o", tmp_path / "out", "--ext", "png")[0] == 0
    assert files(tmp_path / "out") == ["a_jpg_x4.png", "a_png_x4.png"]
    assert _pixels(tmp_path / "out/a_jpg_x4.png").shape == (40, 40, 3)


@pytest.mark.parametrize("name", ["Zürich ☃ 写真.png", "a b'c\"d.png", "-o.png", "%d{}.png", "x" * 240 + ".png"])
def test_odd_names(infer, tmp_path, monkeypatch, name):
    save(tmp_path / name)
    monkeypatch.chdir(tmp_path)
    status, told = infer(f"./{name}", "-o", "out")
    assert status == 0, told
    assert files(tmp_path / "out") == [f"{Path(name).stem}_x4.png"]


def test_a_name_that_is_no_text(infer, tmp_path):
    save(tmp_path / "a.png")
    name = os.fsdecode(b"caf\xe9.png")
    (tmp_path / "a.png").rename(tmp_path / name)
    status, told = infer(tmp_path, "-o", tmp_path / "out")
    assert status == 0, told
    assert [os.fsencode(path.name) for path in (tmp_path / "out").iterdir()] == [b"caf\xe9_x4.png"]


def test_a_name_that_becomes_too_long(infer, tmp_path):
    save(tmp_path / f"{'x' * 251}.png")
    status, told = infer(tmp_path, "-o", tmp_path / "out")
    assert (status, "File name too long" in told) == (1, True)
    assert files(tmp_path / "out") == [] if (tmp_path / "out").exists() else True


@pytest.mark.skipif(os.geteuid() == 0 and not Path("/proc/self").exists(), reason="nothing is read-only here")
def test_a_folder_that_cannot_be_written_to(infer, tmp_path):
    source = save(tmp_path / "a.png")
    place = Path("/proc/lightbsr") if os.geteuid() == 0 else tmp_path / "closed"
    if os.geteuid() != 0:
        place.mkdir(mode=0o500)
    status, told = infer(source, "-o", place)
    assert status == 1
    assert "a.png: failed: " in told
    assert files(tmp_path) == ["a.png"]


def test_an_output_folder_that_is_a_file(infer, tmp_path):
    source = save(tmp_path / "a.png")
    (tmp_path / "file").write_text("mine")
    status, told = infer(source, "-o", tmp_path / "file/deeper")
    assert (status, "Not a directory" in told) == (1, True)
    assert (tmp_path / "file").read_text() == "mine"


def test_an_output_that_is_the_input(infer, tmp_path):
    source = save(tmp_path / "a.png")
    before = source.read_bytes()
    for arguments in (["-o", source], ["--suffix", ""]):
        status, told = infer(source, *arguments)
        assert (status, "1 skipped" in told) == (0, True)
        assert source.read_bytes() == before
    assert infer(source, "-o", source, "--overwrite")[0] == 0
    assert _pixels(source).shape == (96, 128, 3)


def test_what_appears_meanwhile_is_left_as_it_is(infer, tmp_path, monkeypatch):
    source, target = save(tmp_path / "a.png"), tmp_path / "b.png"
    real = Upscaler.upscale_array

    def slow(self, *arguments):
        target.write_bytes(b"of somebody else")
        return real(self, *arguments)

    monkeypatch.setattr(Upscaler, "upscale_array", slow)
    status, told = infer(source, "-o", target)
    assert (status, target.read_bytes()) == (1, b"of somebody else")
    assert "has appeared meanwhile, and was left as it is" in told
    assert files(tmp_path) == ["a.png", "b.png"]
