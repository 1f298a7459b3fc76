"""Starts ``lightbsr`` commands in processes of their own, in milliseconds, and sends them signals at chosen moments.

Reads one JSON object a line: ``arguments``, ``folder``, ``log``, and optionally ``signal`` with ``after`` (seconds, counted
from when the log says ``once``, if that is given), or ``file_limit`` (bytes), or ``die_in_save`` (the n-th file is never
finished), ``slow`` (seconds by which every iteration takes longer), ``environment``, or ``calls`` (module:function of a
test, called with the arguments, instead of a command).
With ``ranks`` it is so many gloo processes under a parent that does as torchrun does: it passes SIGTERM on, and ends
them when one fails. ``to`` says whom the signals reach (parent, group: every process), ``times`` how often; ``stuck_rank``
never ends its third iteration.
Answers with the exit code, negative for a signal, when the process has ended. What every
command loads is loaded here, but nothing heavy runs, so that a fork finds no threads.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import json
import os
import resource
import signal
import socket
import sys
import time
import traceback
from pathlib import Path
from typing import BinaryIO

import lightbsr
import lightbsr.cli.pipelines
from lightbsr_model.bridge import checkpoint_saving as saving
from lightbsr_model.bridge.supervision import Supervisor
from lightbsr_model.runtime.processes import _leave_process_group


def child(task: dict) -> None:
    os.chdir(task["folder"])
    log = os.open(task["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.environ.update(task.get("environment", {}))
    if "slow" in task or task.get("stuck_rank") is not None:
        _delay_iterations(task)
    if "SLOW_VALIDATION" in os.environ:
        _delay_validation(float(os.environ["SLOW_VALIDATION"]))
    if "file_limit" in task:
        resource.setrlimit(resource.RLIMIT_FSIZE, (task["file_limit"], task["file_limit"]))
    if "die_in_save" in task:
        _die_in_save(task["die_in_save"])
    try:
        if "calls" in task:
            sys.path[:0] = [str(Path(__file__).parents[2]), str(Path(__file__).parent)]
            module, _, function = task["calls"].partition(":")
            getattr(importlib.import_module(module), function)(*task["arguments"])
            code = 0
        else:
            code = lightbsr.main(task["arguments"])
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else 1
    except BaseException:
        traceback.print_exc()
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    if "ranks" in task:
        _leave_process_group()
    os._exit(code)


def parent_of_ranks(task: dict) -> None:
    """What torchrun is to its ranks."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=port, TORCHELASTIC_RUN_ID="test")
    os.environ.update(WORLD_SIZE=str(task["ranks"]))
    ranks = []
    for rank in range(task["ranks"]):
        pid = os.fork()
        if pid == 0:
            os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank))
            child(task)
        ranks.append(pid)

    def pass_on(number: int, _: object) -> None:
        for pid in ranks:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    signal.signal(signal.SIGTERM, pass_on)
    codes = []
    for _ in range(task["ranks"]):
        code = os.waitstatus_to_exitcode(os.wait()[1])
        codes.append(code)
        if code != 0:
            pass_on(signal.SIGTERM, None)
    os._exit(max(codes, key=abs) % 256)


def _delay_iterations(task: dict) -> None:
    original = Supervisor._optimize_parameters

    def delayed(self: Supervisor, step: object, current_iter: int) -> None:
        time.sleep(task.get("slow", 0))
        if current_iter == 3 and os.environ.get("RANK") == str(task.get("stuck_rank")):
            print("Stuck.", flush=True)
            while True:
                time.sleep(60)
        original(self, step, current_iter)

    Supervisor._optimize_parameters = delayed


def _delay_validation(seconds: float) -> None:
    original = Supervisor._get_current_visuals

    def delayed(self: Supervisor, *args: object) -> object:
        print("Validating.", flush=True)
        time.sleep(seconds)
        return original(self, *args)

    Supervisor._get_current_visuals = delayed


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


def warm_up() -> None:
    """Load and compute once what every training needs: what its optimiser imports, and what checks its options."""
    importlib.import_module("torch._dynamo")
    recipe = Path(__file__).parents[3] / "options/demo/train_teacher.yml"
    with contextlib.redirect_stdout(sys.stderr):
        assert lightbsr.main(["check", "-opt", str(recipe)]) == 0
    assert len(list(Path("/proc/self/task").iterdir())) == 1


def main() -> None:
    warm_up()
    # What a killed parent leaves behind becomes ours, and can be waited for.
    ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)
    for line in sys.stdin:
        task = json.loads(line)
        pid = os.fork()
        if pid == 0:
            os.setsid()
            (parent_of_ranks if "ranks" in task else child)(task)
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
                for time_ in range(task.get("times", 1)):
                    time.sleep(task.get("pause", 0) if time_ else 0)
                    (os.killpg if task.get("to") == "group" else os.kill)(pid, task["signal"])
        if status is None:
            status = os.waitpid(pid, 0)[1]
        left = _wait_for_orphans(pid, task.get("orphans_end_in", 0))
        print(os.waitstatus_to_exitcode(status) if not left else 999, flush=True)


def _wait_for_orphans(group: int, seconds: float) -> bool:
    """Whether some of a session are still there after a time; they are not afterwards."""
    end = time.monotonic() + seconds
    with contextlib.suppress(ChildProcessError):
        while time.monotonic() < end:
            while os.waitpid(-group, os.WNOHANG)[0]:
                pass
            time.sleep(0.01)
        # Workers that a killed process left behind, or ranks that go on.
        os.waitpid(-group, os.WNOHANG)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(group, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-group, 0)[0]:
                pass
        return seconds > 0
    return False


if __name__ == "__main__":
    main()
