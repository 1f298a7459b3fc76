from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from basicsr.utils.logger import initialized_logger


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

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


@pytest.fixture(scope="session")
def fork_server():
    server = ForkServer()
    yield server
    server.close()


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Write an option file and run a pipeline on it in this process, with tmp_path as root."""
    monkeypatch.setattr(sys, "argv", ["lightbsr"])

    def run_pipeline(pipeline, opt, *flags):
        # BasicSR opens the log file of a process's first run only.
        initialized_logger.clear()
        logging.getLogger("basicsr").handlers.clear()
        path = tmp_path / f"{opt['name']}.yml"
        path.write_text(yaml.safe_dump(opt, sort_keys=False))
        pipeline(["-opt", str(path), *flags], tmp_path)

    return run_pipeline
