"""Starts ``lightbsr`` commands in processes of their own, in milliseconds, and sends them signals at chosen moments.

Reads one JSON object a line: ``arguments``, ``folder``, ``log``, and optionally ``signal`` with ``after`` (seconds, counted
from when the log says ``once``, if that is given), or ``file_limit`` (bytes), or ``die_in_save`` (the n-th file is never
finished).
Answers with the exit code, negative for a signal, when the process has ended. Nothing heavy runs
here, so that a fork finds no threads.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import signal
import sys
import time
import traceback
from pathlib import Path
from typing import BinaryIO

import lightbsr
import lightbsr_model.bridge.cures
import lightbsr_model.cli.train_test  # noqa: F401
from lightbsr_model.bridge import saving


def child(task: dict) -> None:
    os.chdir(task["folder"])
    log = os.open(task["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, 1)
    os.dup2(log, 2)
    if "file_limit" in task:
        resource.setrlimit(resource.RLIMIT_FSIZE, (task["file_limit"], task["file_limit"]))
    if "die_in_save" in task:
        _die_in_save(task["die_in_save"])
    try:
        code = lightbsr.main(task["arguments"])
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else 1
    except BaseException:
        traceback.print_exc()
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _die_in_save(number: int) -> None:
    """Let SIGKILL strike when the n-th file is half written."""
    saves = []

    def half_save(content: object, file: BinaryIO) -> None:
        saves.append(content)
        if len(saves) == number:
            file.write(b"half of a file")
            file.flush()
            os.kill(os.getpid(), signal.SIGKILL)
        save(content, file)

    save = saving.torch.save
    saving.torch.save = half_save


def main() -> None:
    for line in sys.stdin:
        task = json.loads(line)
        pid = os.fork()
        if pid == 0:
            os.setsid()
            child(task)
        status = None
        if "signal" in task:
            end = None
            while (end is None or time.monotonic() < end) and status is None:
                done, code = os.waitpid(pid, os.WNOHANG)
                status = code if done else None
                if end is None and task.get("once", "") in Path(task["log"]).read_text(errors="replace"):
                    end = time.monotonic() + task["after"]
                time.sleep(0.002)
            if status is None:
                os.kill(pid, task["signal"])
        if status is None:
            status = os.waitpid(pid, 0)[1]
        if task.get("signal") == signal.SIGKILL:
            # Workers that the killed process left behind.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL)
        print(os.waitstatus_to_exitcode(status), flush=True)


if __name__ == "__main__":
    main()
