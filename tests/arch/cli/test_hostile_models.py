"""Hostile model files: ``info``, ``infer`` and ``export`` say what is wrong in a line, soon, and in little memory."""

from __future__ import annotations

import resource
import time

import pytest
from hostile_models import ESCAPES, OTHER, REFUSED, USABLE, card, fifo, saved, too_long

import lightbsr

from infer_helpers import files, save

MOST_MEMORY = 400 * 2**10
"""KiB more than before at the most; without bounds it is gigabytes."""

MOST_SECONDS = 20
"""On any machine; without bounds it is minutes, or for ever."""


@pytest.fixture(autouse=True)
def fewer_steps(monkeypatch):
    monkeypatch.setattr("lightbsr_arch.weights.pickle_scan.MOST_STEPS", 100_000)


@pytest.fixture(scope="module")
def image(tmp_path_factory):
    return save(tmp_path_factory.mktemp("image") / "a.png", 8, 8)


@pytest.fixture
def run(capfd):
    def call(*arguments):
        start, before = time.monotonic(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        status = lightbsr.main([str(argument) for argument in arguments])
        used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
        out, err = capfd.readouterr()
        for bad in ("Traceback", "weights_only", "\x1b", "\x07", "\u202e"):
            assert bad not in out + err
        assert len(out + err) < 4000
        assert used < MOST_MEMORY
        assert time.monotonic() - start < MOST_SECONDS
        return status, out, err

    return call


@pytest.mark.parametrize("name", REFUSED)
def test_refused(run, image, tmp_path, name):
    make, reason = REFUSED[name]
    path = make(tmp_path)
    status, out, err = run("info", path)
    assert status == (0 if reason == OTHER else 1)
    assert reason in out
    assert err.count("\n") == status
    before = files(tmp_path)
    for command in (
        ("infer", image, "-m", path, "-o", tmp_path / "out.png", "--device", "cpu"),
        ("export", path, "-o", tmp_path / "b.safetensors"),
    ):
        status, out, err = run(*command)
        assert (status, out) == (2, ""), err
        assert err.count("\n") == 1, err
        assert str(path) in err
    assert files(tmp_path) == before


@pytest.mark.parametrize("name", USABLE)
def test_whole_weights_are_used_whatever_stands_beside_them(run, image, tmp_path, name):
    make, reason = USABLE[name]
    path = make(tmp_path)
    _, out, _ = run("info", path)
    assert reason in out
    target = tmp_path / "out.png"
    assert run("infer", image, "-m", path, "-o", target, "--device", "cpu", "--show-degradation")[0] == 0
    assert target.is_file()
    assert run("export", path, "-o", tmp_path / "b.safetensors")[0] == 0
    assert run("info", tmp_path / "b.safetensors")[0] == 0


def test_one_bad_file_does_not_end_the_work_on_the_others(run, tmp_path):
    for number, make in enumerate((fifo, saved({1: 2}), card())):
        (tmp_path / str(number)).mkdir()
        make(tmp_path / str(number))
    paths = [tmp_path / "0/a.pth", tmp_path / "nothing.pth", tmp_path / "1/a.pth", too_long(tmp_path)]
    status, out, err = run("info", *paths, tmp_path / "2/a.safetensors")
    assert status == 1
    assert "0/a.pth: a pipe, a device or a link to nothing, not a file" in out
    assert "nothing.pth: there is no such file, and no model of that name" in out
    assert "1/a.pth: a state dict without weights" in out
    assert "2/a.safetensors: a model file of lightbsr" in out
    assert all(str(path) in err for path in paths)
    assert "a.safetensors" not in err


def test_a_name_with_escapes_is_shown_harmless(run, tmp_path):
    (tmp_path / ESCAPES).write_text("x")
    assert r"\x1b[31mred\x07\u202e: a text file" in run("info", tmp_path / ESCAPES)[1]
