"""``python -m lightbsr`` imports nothing from the working directory."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import lightbsr
from lightbsr.__main__ import forget_working_directory


def test_a_file_in_the_working_directory_stands_in_for_no_package(tmp_path):
    (tmp_path / "yaml.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\nraise ImportError('mine')\n")
    (tmp_path / "a.yml").write_text("name: [\n")
    command = [sys.executable, "-m", "lightbsr", "check", "-opt", "a.yml"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert "a.yml has 1 problem" in done.stderr
    assert done.returncode == 2
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("first", ["", "absolute"])
def test_only_the_entry_that_python_added_is_taken_off(tmp_path, monkeypatch, first):
    monkeypatch.chdir(tmp_path)
    here = str(Path.cwd())
    monkeypatch.setattr(sys, "path", [here if first == "absolute" else "", "/elsewhere", here])
    forget_working_directory()
    assert sys.path == ["/elsewhere", here]
    forget_working_directory()
    assert sys.path == ["/elsewhere", here]


def test_a_clone_is_run_from_where_it_lies(monkeypatch):
    monkeypatch.chdir(Path(lightbsr.__file__).parents[1])
    path = [str(Path.cwd()), "/elsewhere"]
    monkeypatch.setattr(sys, "path", list(path))
    forget_working_directory()
    assert sys.path == path
