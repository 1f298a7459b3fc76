from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from basicsr.utils.registry import LOSS_REGISTRY
from resumed_runs import FinishedRun, short_options


class ForkServer:
    """Runs ``lightbsr`` commands in processes of their own; see fork_server.py."""

    def __init__(self) -> None:
        script = Path(__file__).with_name("fork_server.py")
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        self._process = subprocess.Popen(
            [sys.executable, str(script)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )

    def run(self, folder: Path, *arguments: str, **task: Any) -> tuple[int, str]:
        """Run a command; return its exit code (negative for a signal) and what it printed."""
        log = folder / "output.txt"
        log.write_text("")
        task.update(arguments=list(arguments), folder=str(folder), log=str(log))
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(task) + "\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline()), log.read_text()

    def train(self, folder: Path, *flags: str, code: int = 0, **task: Any) -> str:
        """Run ``train -opt run.yml``, which ends with the exit code given; return what it printed."""
        ended_with, log = self.run(folder, "train", "-opt", "run.yml", *flags, **task)
        assert ended_with == code, log[-3000:]
        return log

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


@pytest.fixture(scope="session")
def fork_server():
    server = ForkServer()
    yield server
    server.close()


@pytest.fixture(scope="session")
def finished_once(tmp_path_factory, image_folder):
    arguments = sys.argv
    run = FinishedRun(tmp_path_factory.mktemp("finished"), short_options(image_folder))
    try:
        run.train()
    finally:
        sys.argv = arguments
    return run


@pytest.fixture
def finished(finished_once, tmp_path, monkeypatch):
    """A run of four iterations of a teacher, with states of the 2nd and the 4th."""
    monkeypatch.setattr(sys, "argv", ["lightbsr"])
    shutil.copytree(finished_once.root, tmp_path, dirs_exist_ok=True)
    return FinishedRun(tmp_path, yaml.safe_load(yaml.safe_dump(finished_once.opt)))


@pytest.fixture
def nan_loss():
    """The name of an L1 loss that is not a number at given calls."""

    class NaNAtLoss(torch.nn.L1Loss):
        calls = 0

        def __init__(self, at: list[int], loss_weight: float = 1.0) -> None:
            super().__init__()
            self.at = at
            NaNAtLoss.calls = 0

        def forward(self, output, gt):
            NaNAtLoss.calls += 1
            return super().forward(output, gt) * (float("nan") if NaNAtLoss.calls in self.at else 1.0)

    LOSS_REGISTRY.register(NaNAtLoss)
    yield "NaNAtLoss"
    del LOSS_REGISTRY._obj_map["NaNAtLoss"]
