"""A command run as a step of another one: in a process of its own, with its progress shown and its output logged."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections import deque
from collections.abc import Sequence
from pathlib import Path

from lightbsr.cli.demo_progress import DemoProgress
from lightbsr_arch.errors import CommandFailed

_ITERATION = re.compile(r"iter:\s*([\d,]+),.*?\] ?(l_.*)$")
"""An iteration and its losses in BasicSR's log."""


def run_step(arguments: Sequence[str], log: Path, progress: DemoProgress) -> None:
    """Run ``lightbsr`` with some arguments in the folder of its log.

    Args:
        arguments: Of the command, the option file by its absolute path.
        log: Where its output goes.
        progress: Is told of every iteration in that output.

    Raises:
        CommandFailed: It failed; the message has the end of its output.
    """
    command = [sys.executable, "-u", "-m", "lightbsr", *arguments]
    last: deque[str] = deque(maxlen=30)
    with (
        subprocess.Popen(
            command,
            cwd=log.parent,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            encoding="utf-8",
            errors="replace",
            env={**os.environ, "PYTHONIOENCODING": "utf-8"},
        ) as process,
        log.open("w", encoding="utf-8") as file,
    ):
        try:
            for line in process.stdout or ():
                file.write(line)
                last.append(line)
                match = _ITERATION.search(line)
                if match:
                    progress.show(int(match[1].replace(",", "")), match[2].strip())
        except KeyboardInterrupt:
            process.terminate()  # only this process received SIGTERM; a training then saves and stops
            # What it still prints must not meet a closed pipe.
            file.writelines(process.stdout or ())
            process.wait()
            raise
    if process.returncode:
        raise CommandFailed(
            f"`{' '.join(command)}` exited with {process.returncode}. The end of {log}:\n{''.join(last)}"
        )
