"""``lightbsr infer``: only regular files are read, nothing is taken for an input by accident, and the tree is kept."""

from __future__ import annotations

import io
import os
import sys

import pytest
from PIL import Image

from lightbsr_arch.errors import ImageError
from lightbsr_arch.inference.input_files import largest_file, read_standard_input

from infer_helpers import files, save


@pytest.mark.parametrize("arguments", [[""], ["a.png", ""], ["a.png", "-o", ""], ["a.png", "-m", ""]])
def test_an_empty_argument_is_an_error(infer, tmp_path, monkeypatch, arguments):
    monkeypatch.chdir(tmp_path)
    save(tmp_path / "a.png")
    status, told = infer(*arguments)
    assert (status, "got an empty argument; is a variable of the shell not set?" in told) == (2, True)
    assert files(tmp_path) == ["a.png"]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no FIFOs here")
def test_fifos_and_devices_are_never_opened(infer, tmp_path):
    save(tmp_path / "in/a.png")
    os.mkfifo(tmp_path / "in/b.png")
    status, told = infer(tmp_path / "in", "-o", tmp_path / "out")
    assert (status, files(tmp_path / "out")) == (0, ["a_x4.png"])
    assert "b.png: left out, it is a FIFO (named pipe)" in told
    status, told = infer(tmp_path / "in/b.png", "/dev/zero", tmp_path / "in/a.png", "-o", tmp_path / "named")
    assert (status, files(tmp_path / "named")) == (1, ["a_x4.png"])
    assert "b.png: failed: expected a regular file, got a FIFO (named pipe); pipes are read from standard input" in told
    assert "/dev/zero: failed: expected a regular file, got a device" in told


def test_standard_input_closed_or_endless(monkeypatch):
    monkeypatch.setattr(sys, "stdin", None)
    with pytest.raises(ImageError, match="standard input is closed"):
        read_standard_input()
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1 << 16)

    class Endless(io.RawIOBase):
        def read(self, size=-1):
            return bytes(size)

    monkeypatch.setattr(sys, "stdin", type("Stdin", (), {"buffer": Endless()}))
    with pytest.raises(ImageError, match=f"has at most {largest_file()}"):
        read_standard_input()


def test_own_results_and_comparisons_are_no_inputs_unless_named(infer, tmp_path):
    save(tmp_path / "a.png")
    assert infer(tmp_path, "--compare")[0] == 0
    before = files(tmp_path)
    told = infer(tmp_path, "--compare")[1]
    assert files(tmp_path) == before
    assert "a_x4_compare.png: left out, it looks like a result of" in told
    assert infer(tmp_path / "a.png", tmp_path / "a_x4.png", "-o", tmp_path / "out")[0] == 0
    assert files(tmp_path / "out") == ["a_x4.png", "a_x4_x4.png"]


def test_a_pattern_keeps_the_tree(infer, tmp_path):
    for name in ("in/one/a.png", "in/two/a.png"):
        save(tmp_path / name)
    assert infer(tmp_path / "in/*/a.png", "-o", tmp_path / "out")[0] == 0
    assert files(tmp_path / "out") == ["one/a_x4.png", "two/a_x4.png"]
