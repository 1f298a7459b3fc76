"""``lightbsr demo``: train and test a small teacher and student on bundled images.

Both go through the two training phases in BasicSR's loop on scikit-image's bundled images; then the student is tested on
held-out images at three blurs. Each step is an ordinary command with an option file of options/demo/, run in a separate
process. This process loads torch and BasicSR only for the figures at the end, so that it reports progress immediately.
"""

from __future__ import annotations

import argparse
import importlib
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from lightbsr.cli.demo_progress import DemoProgress, Stage
from lightbsr.cli.steps import run_step
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
            option_file = shipped_options() / "demo" / name
            run_step([verb, "-opt", str(option_file)], folder / f"{option_file.stem}.log", progress)
        progress.begin_stage()
        from lightbsr_model.evaluation.demo_figures import compare_demo

        result = compare_demo(shipped_options() / "demo/test_student.yml", folder)
    write_whole(folder / "table.md", result.table)
    print(f"\nHeld-out images, x{result.scale}:\n\n{result.table}")
    print(f"Images: {folder / 'pictures'}. Checkpoints and logs: {folder / 'experiments'}.")
    print(f"Total time: {progress.elapsed:.0f} s.")
    if result.worse:
        raise CommandFailed(f"the student is not better than bicubic interpolation for {', '.join(result.worse)}.")
