"""``lightbsr demo``: train and test a small teacher and student on bundled images.

Both go through the two training phases in BasicSR's loop on scikit-image's bundled images; then the student is tested on
held-out images at three blurs. Each step is an ordinary command with an option file of options/demo/, run in a separate
process. This process loads torch and BasicSR only for the figures at the end, so that it reports progress immediately.
"""

from __future__ import annotations

import argparse
import importlib
import os
import re
import subprocess
import sys
from collections import deque
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from lightbsr.cli.demo_progress import DemoProgress, Stage
from lightbsr.shipped_options import shipped_options
from lightbsr_arch.errors import CommandFailed
from lightbsr_arch.saving import write_whole

_STAGES = (
    Stage("teacher: learns to distinguish degradations, then to restore", 7, ((130, 14), (170, 72))),
    Stage("student: learns the teacher's codes, then to restore", 6, ((80, 6), (440, 136))),
    Stage("bicubic interpolation on held-out images", 6),
    Stage("student on held-out images", 6),
    Stage("PSNR, SSIM and comparison images", 4),
)
"""Stages with the seconds that each takes on two idle CPU cores; only their ratios matter once measurements exist."""

_STEPS = (
    ("train", "train_teacher.yml"),
    ("train", "train_student.yml"),
    ("test", "test_bicubic.yml"),
    ("test", "test_student.yml"),
)
"""The commands of the first stages."""

_ITERATION = re.compile(r"iter:\s*([\d,]+),.*?\] ?(l_.*)$")
"""An iteration and its losses in BasicSR's log."""


def run(command: str, arguments: Sequence[str]) -> None:
    """Run the demo.

    Raises:
        CommandFailed: A step failed, or the student is not better than bicubic interpolation.
        ImportError: BasicSR is not installed.
    """
    parser = argparse.ArgumentParser(
        prog=f"lightbsr {command}",
        description="Train a small teacher and student on bundled images and test them: a few minutes on a CPU.",
    )
    parser.add_argument(
        "-o", "--output", type=Path, default=Path("lightbsr_demo"), help="output folder (default: %(default)s)"
    )
    folder: Path = parser.parse_args(arguments).output.absolute()
    if find_spec("basicsr") is None:
        importlib.import_module("lightbsr_model")  # raises an ImportError that says what to do
    print(f"Running two short trainings and their tests in {folder}.", flush=True)
    folder.mkdir(parents=True, exist_ok=True)
    with DemoProgress(_STAGES) as progress:
        for verb, name in _STEPS:
            progress.begin_stage()
            _run_step(verb, shipped_options() / "demo" / name, folder, progress)
        progress.begin_stage()
        from lightbsr_model.evaluation.demo_figures import compare_demo

        result = compare_demo(shipped_options() / "demo/test_student.yml", folder)
    write_whole(folder / "table.md", result.table)
    print(f"\nHeld-out images, x{result.scale}:\n\n{result.table}")
    print(f"Images: {folder / 'pictures'}. Checkpoints and logs: {folder / 'experiments'}.")
    print(f"Total time: {progress.elapsed:.0f} s.")
    if result.worse:
        raise CommandFailed(f"the student is not better than bicubic interpolation for {', '.join(result.worse)}.")


def _run_step(verb: str, options: Path, folder: Path, progress: DemoProgress) -> None:
    """Run a command in a separate process, show its progress, and log its output next to its results."""
    log = folder / f"{options.stem}.log"
    command = [sys.executable, "-u", "-m", "lightbsr", verb, "-opt", str(options)]
    last: deque[str] = deque(maxlen=30)
    with (
        subprocess.Popen(
            command,
            cwd=folder,
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
