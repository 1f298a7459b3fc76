"""Scores of the demo's student and of bicubic interpolation, and comparison images of both."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np

from lightbsr_arch.inference.image_writing import write_picture
from lightbsr_arch.inference.side_by_side import Panel, side_by_side
from lightbsr_model.data.blind_degradation_benchmark_dataset import BlindDegradationBenchmarkDataset
from lightbsr_model.data.decoding import RGBImage, to_rgb
from lightbsr_model.evaluation.comparison.metrics import METRICS
from lightbsr_model.option_files.whole_options import read_options


class _Figures(NamedTuple):
    psnr_y: float
    ssim_y: float


class DemoResult(NamedTuple):
    """Results of the demo."""

    scale: int
    table: str
    """The scores, in Markdown."""
    worse: list[str]
    """Presets under which the student is not better than bicubic interpolation."""


def compare_demo(option_file: Path, folder: Path) -> DemoResult:
    """Measure the images that the demo's two tests saved, and write comparison images.

    Args:
        option_file: Option file of the student's test.
        folder: Where the demo ran.
    """
    options = read_options(option_file).options
    scale = options["scale"]
    figures = {
        dataset["preset"]: _compare({**dataset, "scale": scale}, folder) for dataset in options["datasets"].values()
    }
    worse = [preset for preset, (bicubic, student) in figures.items() if student.psnr_y <= bicubic.psnr_y]
    return DemoResult(scale, _table(figures), worse)


def _compare(dataset_opt: dict[str, Any], folder: Path) -> list[_Figures]:
    """Score bicubic and student on one test set, and save its images side by side."""
    scale = dataset_opt["scale"]
    figures: dict[str, list[_Figures]] = {"bicubic": [], "student": []}
    dataset = BlindDegradationBenchmarkDataset(dataset_opt)
    for index in range(len(dataset)):
        sample = dataset[index]
        stem = Path(sample["lq_path"]).stem
        gt = to_rgb(sample["gt"])
        panels = [Panel(to_rgb(sample["lq"]).repeat(scale, axis=0).repeat(scale, axis=1), f"LR, {stem}")]
        for who, scores in figures.items():
            path = folder / "results" / f"demo_{who}" / "visualization" / dataset_opt["name"] / f"{stem}_{who}.png"
            image: RGBImage = cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB)
            scores.append(_Figures(*(METRICS[name].measure(image, gt, scale) for name in _Figures._fields)))
            panels.append(Panel(image, who, f"{scores[-1].psnr_y:.2f} dB, SSIM {scores[-1].ssim_y:.4f}"))
        panels.append(Panel(gt, "GT"))
        write_picture(folder / "pictures" / f"{stem}.png", side_by_side(panels), overwrite=True)
    return [_Figures(*np.mean(scores, axis=0)) for scores in figures.values()]


def _table(figures: dict[str, list[_Figures]]) -> str:
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
