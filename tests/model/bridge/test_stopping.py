"""Asked to stop, several processes save at one iteration and end, whoever asks, however often, and whoever is stuck."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import yaml

from lightbsr_arch.errors import OptionError
from lightbsr_model.bridge.stopping import GRACE_VARIABLE, StopRequest
from lightbsr_model.runtime import orphans

from support.training_files import training_options

LAUNCHED = ("--launcher", "pytorch", "--auto_resume")


def _folder(path: Path, images: Path, **changes) -> Path:
    opt = training_options(images, **changes)
    opt["train"]["ema_decay"] = 0.5
    opt["datasets"]["train"]["num_worker_per_gpu"] = 1
    opt["logger"]["save_checkpoint_freq"] = 1000
    path.mkdir()
    (path / "run.yml").write_text(yaml.safe_dump(opt))
    return path


def _weights(folder: Path) -> dict[str, torch.Tensor]:
    saved = torch.load(folder / "experiments/run/models/net_g_latest.pth")
    return {f"{entry} {key}": value for entry in ("params", "params_ema") for key, value in saved[entry].items()}


@pytest.fixture(scope="module")
def whole(tmp_path_factory, image_folder, fork_server):
    """An undisturbed run of two processes."""
    folder = _folder(tmp_path_factory.mktemp("whole") / "run", image_folder, train={"total_iter": 8})
    fork_server.train(folder, *LAUNCHED, ranks=2)
    return folder


@pytest.mark.parametrize(
    ("to", "times", "number", "reason"),
    [
        # The batch system signals every process, workers too, twice; the parent passes its own on.
        ("group", 2, signal.SIGTERM, "SIGTERM"),
        ("parent", 1, signal.SIGTERM, "SIGTERM"),
        ("parent", 1, signal.SIGKILL, "the end of torchrun"),
    ],
)
def test_two_processes_save_and_go_on(tmp_path, image_folder, fork_server, whole, to, times, number, reason):
    folder = _folder(tmp_path / "run", image_folder, train={"total_iter": 8})
    request = {"signal": number, "once": "iter:       2", "after": 0.0, "to": to, "times": times, "orphans_end_in": 20}
    started = time.monotonic()
    log = fork_server.train(
        folder, *LAUNCHED, ranks=2, slow=0.4, **request, code=-number if number == signal.SIGKILL else 0
    )
    told = re.search(rf"Stopped by {reason} after iteration (\d), saved", log)
    assert told is not None, log[-3000:]
    assert (folder / f"experiments/run/training_states/{told[1]}.state").is_file()
    assert int(told[1]) < 6
    assert ("torchrun is gone" in log) == (number == signal.SIGKILL)
    assert time.monotonic() - started < 30
    log = fork_server.train(folder, *LAUNCHED, ranks=2)
    resumed, expected = _weights(folder), _weights(whole)
    assert all(torch.equal(value, expected[key]) for key, value in resumed.items())


RANK = """
import importlib.util, os, pathlib, signal, sys, time
spec = importlib.util.spec_from_file_location("orphans", sys.argv[1])  # without torch, which takes seconds
orphans = importlib.util.module_from_spec(spec)
spec.loader.exec_module(orphans)
rank = os.environ["RANK"]
def end(*_):
    pathlib.Path(f"ended{rank}").write_text(str(orphans.launcher_is_gone.is_set()))
    os._exit(0)
signal.signal(signal.SIGTERM, end)
orphans.end_with_launcher(0.1)
pathlib.Path(f"ready{rank}").touch()
time.sleep(60)
"""


def test_ranks_of_a_killed_torchrun_are_asked_to_end(tmp_path):
    """torchrun itself; what a training does then is above, under a stand-in."""
    (tmp_path / "rank.py").write_text(RANK)
    words = ["--standalone", "--nproc_per_node=2", "rank.py", orphans.__file__]
    with subprocess.Popen([sys.executable, "-m", "torch.distributed.run", *words], cwd=tmp_path) as torchrun:
        _wait_for(tmp_path, "ready0", "ready1")
        torchrun.kill()
    _wait_for(tmp_path, "ended0", "ended1")
    assert [(tmp_path / f"ended{rank}").read_text() for rank in (0, 1)] == ["True", "True"]


def _wait_for(folder: Path, *names: str) -> None:
    end = time.monotonic() + 50
    while not all((folder / name).is_file() and (folder / name).stat().st_size + ("ready" in name) for name in names):
        assert time.monotonic() < end, names
        time.sleep(0.02)


def test_rank_that_waits_for_a_stuck_one_ends_after_the_grace(tmp_path, image_folder, fork_server):
    folder = _folder(tmp_path / "run", image_folder, train={"total_iter": 8})
    stuck = {"stuck_rank": 1, "environment": {GRACE_VARIABLE: "1.5"}}
    request = {"signal": signal.SIGTERM, "once": "Stuck.", "after": 0.2, "to": "parent", "orphans_end_in": 20}
    log = fork_server.train(folder, *LAUNCHED, ranks=2, **stuck, **request, code=128 + signal.SIGTERM)
    assert log.count(f"SIGTERM 1.5 s ago, and this process is still in its iteration ({GRACE_VARIABLE})") == 2


def test_interrupted_validation_is_made_up_for(tmp_path, image_folder, fork_server, whole):
    """A validation may take longer than any grace."""
    folder = _folder(tmp_path / "run", image_folder, train={"total_iter": 8})
    request = {"signal": signal.SIGTERM, "once": "Validating.", "after": 0.1, "to": "parent", "orphans_end_in": 20}
    log = fork_server.train(folder, *LAUNCHED, ranks=2, environment={"SLOW_VALIDATION": "0.5"}, **request)
    assert "Validation of val at iteration 4 interrupted" in log
    assert "Stopped by SIGTERM after iteration 4, saved" in log
    assert "# psnr" not in log
    log = fork_server.train(folder, *LAUNCHED, ranks=2)
    seen = re.findall(r"# psnr: (\S+)", log)
    assert seen == re.findall(r"# psnr: (\S+)", (whole / "output.txt").read_text())
    assert len(seen) == 2


def test_second_ctrl_c_of_a_person_ends_at_once(tmp_path, image_folder, fork_server):
    opt = training_options(image_folder, train={"total_iter": 8})
    (tmp_path / "run.yml").write_text(yaml.safe_dump(opt))
    request = {"signal": signal.SIGINT, "once": "iter:       1", "after": 0.1, "times": 2}
    # At once: a duplicate. The iteration ends, saved.
    log = fork_server.train(tmp_path, slow=1.0, **request)
    assert "Stopped by SIGINT after iteration 2, saved" in log
    log = fork_server.train(
        tmp_path, slow=60.0, **{**request, "once": "Start training", "pause": 2.1}, code=128 + signal.SIGINT
    )
    assert "A second Ctrl-C: ended immediately" in log


@pytest.mark.parametrize("text", ["soon", "0", "-3", "nan", "inf"])
def test_grace_is_a_number_of_seconds(monkeypatch, text):
    monkeypatch.setenv(GRACE_VARIABLE, text)
    with pytest.raises(OptionError, match=f"{GRACE_VARIABLE}: expected a number of seconds above 0, got '{text}'"):
        StopRequest()
