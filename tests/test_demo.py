"""What the demo reports while it runs; that it beats bicubic interpolation is checked by running it."""

from __future__ import annotations

import io
import signal
import subprocess
import sys
import threading
import time

import pytest

from lightbsr.cli import demo_progress
from lightbsr.cli.demo import _STAGES, _STEPS
from lightbsr.cli.demo_progress import DemoProgress, Stage
from lightbsr.cli.steps import _ITERATION, run_step
from lightbsr.shipped_options import shipped_options
from lightbsr_arch.errors import CommandFailed
from lightbsr_model.option_files.whole_options import read_options

STAGES = (Stage("first", 10, ((10, 20), (30, 60))), Stage("second", 10))


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def progress():
    progress = DemoProgress(STAGES, io.StringIO(), Clock())
    progress.begin_stage()
    return progress


def test_first_word_needs_neither_torch_nor_basicsr(tmp_path):
    code = (
        "import sys, subprocess, lightbsr\n"
        "def stop(*_, **__): raise SystemExit('loaded: ' + str({'torch', 'basicsr', 'numpy'} & set(sys.modules)))\n"
        "subprocess.Popen = stop\n"
        "lightbsr.main(['demo'])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.stdout.startswith("Running two short trainings and their tests")
    assert "[1/5] teacher" in done.stdout
    assert "loaded: set()" in done.stderr


def test_time_left_follows_the_speed_of_what_is_done(progress):
    clock = progress._clock
    clock.now = 5  # as on a quiet machine: 5 of 100 seconds are done
    assert progress.report() == "  starting, 5 s, about 2 min left"
    clock.now = 30  # three times as slow: what is left takes more than twice as long
    assert progress.report() == "  starting, 30 s, about 4 min left"
    clock.now = 100
    progress.show(20, "l_pix: 1e+01")  # 50 of 100 planned seconds took 100
    assert progress.report() == "  iteration 20/40, about 2 min left  l_pix: 1e+01"
    clock.now = 180
    progress.show(40, "l_pix: 1e+01")
    assert progress.report() == "  iteration 40/40, about 19 s left  l_pix: 1e+01"
    progress.begin_stage()
    clock.now = 185
    assert progress.report() == "  running, 5 s, about 10 s left"
    assert progress._file.getvalue() == "[1/2] first\n[2/2] second\n"


@pytest.mark.parametrize("terminal", [False, True])
def test_reports_go_on_while_nothing_happens(monkeypatch, terminal):
    class File(io.StringIO):
        def isatty(self):
            return terminal

        def write(self, text):
            super().write(text)
            if self.getvalue().count("starting") == 3:
                three.set()

    three = threading.Event()
    monkeypatch.setattr(demo_progress, "_REDRAW_SECONDS", 0.001)
    monkeypatch.setattr(demo_progress, "_LINE_SECONDS", 0.001)
    file = File()
    with DemoProgress(STAGES, file) as progress:
        progress.begin_stage()
        assert three.wait(30)
    assert ("\r\x1b[K  starting" in file.getvalue()) == terminal
    assert ("\n  starting, 0 s, about 2 min left\n" in file.getvalue()) != terminal
    assert not progress._thread.is_alive()


def test_progress_is_read_off_basicsr_log():
    line = (
        "[demo_..][epoch: 1, iter:   1,310, lr:(1.2e-04,)] [eta: 0:00:09, time (data): 0.365 (0.004)] l_pix: 1.1e+01 \n"
    )
    match = _ITERATION.search(line)
    assert match is not None
    assert match[1] == "1,310"
    assert match[2].strip() == "l_pix: 1.1e+01"


def test_a_failed_step_ends_the_demo_with_the_end_of_its_log(tmp_path, progress, monkeypatch):
    monkeypatch.setattr("lightbsr.cli.steps.sys.executable", "/bin/echo")
    monkeypatch.setattr("subprocess.Popen.wait", lambda self, timeout=None: setattr(self, "returncode", 3))
    with pytest.raises(CommandFailed, match=r"exited with 3\. The end of .*none\.log:\n-u -m lightbsr train -opt"):
        run_step(["train", "-opt", str(tmp_path / "none.yml")], tmp_path / "none.log", progress)


STEP = """#!/bin/sh
trap 'echo asked to stop; sleep 0.4; : > saved; echo stopped; exit 0' TERM
echo 'iter: 1, ] l_pix: 1'
: > ready
for second in $(seq 60); do sleep 1 & wait; done
"""
"""A training that saves and stops at SIGTERM, and has something to say about it."""


@pytest.mark.parametrize(("number", "status", "name"), [("SIGTERM", 143, "SIGTERM"), ("SIGINT", 130, "Ctrl-C")])
def test_a_signal_is_passed_on_and_the_step_waited_for(tmp_path, number, status, name):
    step = tmp_path / "step"
    step.write_text(STEP)
    step.chmod(0o755)
    code = f"import sys, lightbsr; sys.executable = {str(step)!r}; sys.exit(lightbsr.main(['demo', '-o', 'out']))"
    log = tmp_path / "out/train_teacher.log"
    with subprocess.Popen(
        [sys.executable, "-c", code], cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ) as demo:
        while not (tmp_path / "out/ready").is_file() and demo.poll() is None:
            time.sleep(0.02)
        time.sleep(0.2)
        demo.send_signal(getattr(signal, number))
        _, error = demo.communicate(timeout=60)
    assert demo.returncode == status, error
    assert error == f"lightbsr demo: stopped by {name}.\n"
    assert (tmp_path / "out/saved").is_file()
    assert log.read_text().splitlines() == ["iter: 1, ] l_pix: 1", "asked to stop", "stopped"]
    assert not (tmp_path / "out/train_student.log").exists()


def test_every_command_has_a_stage_of_its_phases():
    phases = []
    for _, name in _STEPS:
        train = read_options(shipped_options() / "demo" / name).options.get("train")
        encoder = train and train["encoder_iter"]
        phases.append([encoder, train["total_iter"] - encoder] if train else [])
    assert [[count for count, _ in stage.phases] for stage in _STAGES] == [*phases, []]


def test_phases_take_times_of_their_own():
    stage = Stage("", 5, ((10, 1), (20, 40)))
    assert [stage.until(iteration) for iteration in (0, 5, 10, 20, 30)] == [5, 5.5, 6, 26, 46]
    assert (stage.iterations, stage.total) == (30, 46)
