"""``lightbsr demo``: the main job on an embedded default.

A small teacher and a small student go through the two phases of BasicSR's loop on scikit-image's bundled pictures, then
the student is tested on pictures that were held out, at three blurs. Every step is an ordinary command with an option
file of options/demo/, run as a process of its own.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import time
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import yaml
from tqdm import tqdm

from lightbsr_arch.errors import CommandFailed
from lightbsr_arch.side_by_side import Panel, side_by_side
from lightbsr_model.cli.option_files import shipped_options
from lightbsr_model.data.blind_degradation_benchmark_dataset import BlindDegradationBenchmarkDataset
from lightbsr_model.data.decoding import RGBImage
from lightbsr_model.evaluation.figures import Figures, mean, measure

_STEPS = (
    ("train", "train_teacher.yml", "teacher: learns to tell degradations apart, then to restore"),
    ("train", "train_student.yml", "student: learns the teacher's codes, then to restore"),
    ("test", "test_bicubic.yml", "bicubic on held-out pictures"),
    ("test", "test_student.yml", "student on held-out pictures"),
)

_PROGRESS = re.compile(r"iter:\s*([\d,]+),.*?\] ?(l_.*)$")


def run(command: str, arguments: Sequence[str]) -> None:
    """Run the demo.

    Raises:
        CommandFailed: A step failed, or the student does not beat bicubic.
    """
    parser = argparse.ArgumentParser(
        prog=f"lightbsr {command}",
        description="Train a small teacher and student on bundled pictures and test them: a few minutes on a CPU.",
    )
    parser.add_argument(
        "-o", "--output", type=Path, default=Path("lightbsr_demo"), help="folder (default: %(default)s)"
    )
    folder: Path = parser.parse_args(arguments).output.absolute()
    folder.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    for number, (verb, name, title) in enumerate(_STEPS, 1):
        print(f"[{number}/{len(_STEPS)}] {title}", flush=True)
        _run_step(verb, shipped_options() / "demo" / name, folder)
    options = yaml.safe_load((shipped_options() / "demo/test_student.yml").read_text(encoding="utf-8"))
    figures = {
        dataset["preset"]: _compare({**dataset, "scale": options["scale"]}, folder)
        for dataset in options["datasets"].values()
    }
    table = _table(figures)
    (folder / "table.md").write_text(table, encoding="utf-8")
    print(f"\nHeld-out pictures, x{options['scale']}:\n\n{table}")
    print(f"Pictures: {folder / 'pictures'}. Checkpoints and logs: {folder / 'experiments'}.")
    print(f"{time.monotonic() - started:.0f} s in all.")
    worse = [preset for preset, (bicubic, student) in figures.items() if student.psnr_y <= bicubic.psnr_y]
    if worse:
        raise CommandFailed(f"the student does not beat bicubic under {', '.join(worse)}.")


def _run_step(verb: str, options: Path, folder: Path) -> None:
    """Run a command as a process of its own, show its progress, and keep its output beside its results."""
    # PyYAML's safe loader reads the floats that BasicSR's files tag.
    total = yaml.safe_load(options.read_text(encoding="utf-8")).get("train", {}).get("total_iter")
    log = folder / f"{options.stem}.log"
    command = [sys.executable, "-u", "-m", "lightbsr", verb, "-opt", str(options)]
    last: deque[str] = deque(maxlen=30)
    with (
        subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process,
        log.open("w", encoding="utf-8") as file,
        _Progress(total) as progress,
    ):
        for line in process.stdout or ():
            file.write(line)
            last.append(line)
            match = _PROGRESS.search(line)
            if match:
                progress.show(int(match[1].replace(",", "")), match[2].strip())
    if process.returncode:
        raise CommandFailed(
            f"`{' '.join(command)}` ended with {process.returncode}. The end of {log}:\n{''.join(last)}"
        )


class _Progress:
    """A bar on a terminal, a line now and then elsewhere; nothing for a step without iterations."""

    def __init__(self, total: int | None) -> None:
        self.total = total
        on_terminal = total is not None and sys.stdout.isatty()
        self.bar: Any = tqdm(total=total, file=sys.stdout, unit="it", leave=True) if on_terminal else None

    def __enter__(self) -> _Progress:
        return self

    def __exit__(self, *_: object) -> None:
        if self.bar is not None:
            self.bar.close()

    def show(self, iteration: int, losses: str) -> None:
        if self.bar is not None:
            self.bar.update(iteration - self.bar.n)
            self.bar.set_postfix_str(losses)
        elif iteration % 50 == 0:
            print(f"  iteration {iteration}/{self.total}  {losses}", flush=True)


def _compare(dataset_opt: dict[str, Any], folder: Path) -> tuple[Figures, Figures]:
    """Score bicubic and student on one test set, and save its pictures side by side."""
    scale = dataset_opt["scale"]
    figures: dict[str, list[Figures]] = {"bicubic": [], "student": []}
    (folder / "pictures").mkdir(exist_ok=True)
    dataset = BlindDegradationBenchmarkDataset(dataset_opt)
    for index in range(len(dataset)):
        sample = dataset[index]
        stem = Path(sample["lq_path"]).stem
        gt = _to_image(sample["gt"])
        panels = [Panel(_to_image(sample["lq"]).repeat(scale, axis=0).repeat(scale, axis=1), f"LR, {stem}")]
        for who, scores in figures.items():
            path = folder / "results" / f"demo_{who}" / "visualization" / dataset_opt["name"] / f"{stem}_{who}.png"
            image: RGBImage = cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB)
            scores.append(measure(image, gt, scale))
            panels.append(Panel(image, who, f"{scores[-1].psnr_y:.2f} dB, SSIM {scores[-1].ssim_y:.4f}"))
        panels.append(Panel(gt, "GT"))
        cv2.imwrite(str(folder / "pictures" / f"{stem}.png"), side_by_side(panels)[:, :, ::-1])
    return mean(figures["bicubic"]), mean(figures["student"])


def _to_image(tensor: Any) -> RGBImage:
    return np.ascontiguousarray((tensor.numpy().transpose(1, 2, 0) * 255).round().astype(np.uint8))


def _table(figures: dict[str, tuple[Figures, Figures]]) -> str:
    lines = [
        "| blur | PSNR-Y bicubic | PSNR-Y student | gain | SSIM-Y bicubic | SSIM-Y student | gain |",
        "|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {preset} | {bicubic.psnr_y:.2f} | {student.psnr_y:.2f} | {student.psnr_y - bicubic.psnr_y:+.2f} "
        f"| {bicubic.ssim_y:.4f} | {student.ssim_y:.4f} | {student.ssim_y - bicubic.ssim_y:+.4f} |"
        for preset, (bicubic, student) in figures.items()
    ]
    return "\n".join(lines) + "\n"
