"""``lightbsr data show``: draw what the network of an option file will see."""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from basicsr.data import build_dataset
from torch import Tensor

from lightbsr.shipped_options import find_option_file
from lightbsr_arch.display import printable
from lightbsr_arch.errors import OptionError
from lightbsr_arch.inference.image_writing import FORMATS, write_picture
from lightbsr_arch.layers.camera import Colours, colours_of_packed
from lightbsr_model.data.decoding import to_rgb
from lightbsr_model.data.worker_pool import usable_cores
from lightbsr_model.degradation.base import as_batch, params_of, without_margin
from lightbsr_model.degradation.kernel_shape import kernel_picture, kernel_shape
from lightbsr_model.evaluation.data_picture import Cell, rows_picture
from lightbsr_model.option_files.class_options import for_its_model
from lightbsr_model.option_files.dotted_names import code_of_storage
from lightbsr_model.option_files.whole_options import read_options

_ROUND = 1.02
"""A kernel whose axes differ by less has no direction to speak of."""


def run(command: str, arguments: Sequence[str]) -> None:
    """Draw samples of an option file's training set, degraded as in training.

    Raises:
        OptionError: No such file, or no training set in it.
        CommandFailed: The image cannot be written.
    """
    parser = argparse.ArgumentParser(
        prog=f"lightbsr {command}",
        description="Draw GT patches, LR images, kernels and noise levels from the training set of an option file.",
    )
    parser.add_argument("-opt", required=True, metavar="FILE", help="option file")
    parser.add_argument("-o", "--output", type=Path, default=Path("data.png"), help="picture (default: %(default)s)")
    parser.add_argument("--samples", type=int, default=6, help="rows (default: %(default)s)")
    parser.add_argument("--seed", type=int, help="default: the file's manual_seed, or 0")
    args = parser.parse_args(arguments)
    if args.samples < 1:
        raise OptionError(f"--samples: expected 1 or more, got {args.samples}.")
    if args.output.suffix.lower() not in FORMATS:
        raise OptionError(f"-o {args.output}: expected a name that ends with one of {', '.join(FORMATS)}.")
    path = find_option_file(args.opt)
    document = read_options(path)
    if document.problems:
        raise OptionError(f"{path}: {document.problems[0]}")
    options = document.options
    train_set = (options.get("datasets") or {}).get("train")
    if not train_set:
        raise OptionError(f"{path}: there is no section datasets:train to show; test sets: lightbsr data degrade.")
    if (reason := code_of_storage(train_set)) is not None:
        raise OptionError(f"{path}: datasets:train:io_backend: {reason}.")
    torch.set_num_threads(usable_cores())
    seed = args.seed if args.seed is not None else options.get("manual_seed") or 0
    torch.manual_seed(seed)
    train_set = for_its_model(train_set, options.get("model_type"))
    dataset = build_dataset({"phase": "train", "scale": options.get("scale", 1), **train_set})
    order = torch.randperm(len(dataset)).repeat(-(-args.samples // len(dataset)))[: args.samples]
    rows = [_row(dataset[int(index)], dataset, int(options.get("scale", 1))) for index in order]
    write_picture(args.output, rows_picture(rows), overwrite=True)
    for title, _ in rows:
        print(printable(title, 1000))
    print(f"{args.output}: {len(rows)} samples of {len(dataset)}, seed {seed}.")


def _burst_row(sample: dict[str, Any]) -> tuple[str, list[Cell]]:
    """The image of a burst and its frames, in sRGB, each with how far it moved on average."""
    colours = Colours.of(sample["colours"][None], 1)
    gt, *frames = (
        colours.to_srgb(image[None])[0] for image in (sample["gt"], *map(colours_of_packed, sample["frames"]))
    )
    cells = [Cell(to_rgb(gt), f"GT {gt.shape[2]}x{gt.shape[1]}")]
    for number, frame in enumerate(frames):
        caption = f"frame {number}, {frame.shape[2]}x{frame.shape[1]}"
        if number and "flow" in sample:
            x, y = sample["flow"][number - 1].mean(dim=(1, 2)).tolist()
            caption = f"moved by ({x:.2f}, {y:.2f})"
        cells.append(Cell(to_rgb(frame), caption))
    return f"{Path(sample['gt_path']).name}: {len(frames)} frames, motions in packed pixels", cells


def _row(sample: dict[str, Any], dataset: Any, scale: int) -> tuple[str, list[Cell]]:
    if "frames" in sample:
        return _burst_row(sample)
    gt = sample["gt_views"] if "gt_views" in sample else sample["gt"][None]
    if "lq" in sample:
        lq = sample["views"] if "views" in sample else sample["lq"][None]
    else:
        lq = dataset.degradation.apply(gt[None], as_batch(params_of(dataset.degradation, sample)), scale)[0]
        gt = without_margin(gt, dataset.degradation, scale)
    cells = []
    for view, (high, low) in enumerate(zip(gt, lq, strict=True), 1):
        suffix = f", view {view}" if len(gt) > 1 else ""
        cells += [
            Cell(to_rgb(high), f"GT {high.shape[2]}x{high.shape[1]}{suffix}"),
            Cell(to_rgb(low), f"LR {low.shape[2]}x{low.shape[1]}{suffix}"),
        ]
    title = Path(sample["gt_path"]).name
    if "kernel" in sample:
        kernel: Tensor = sample["kernel"]
        shape = kernel_shape(kernel)
        size = f"{shape.lambda_1:.2f} x {shape.lambda_2:.2f} px"
        if shape.lambda_1 > _ROUND * shape.lambda_2:
            size += f" at {shape.theta:.0f} deg"
        cells.append(Cell(np.repeat(kernel_picture(kernel)[:, :, None], 3, axis=2), size))
        title += f": kernel {size}, noise level {float(sample['noise_level']):.1f}"
        if sample["jpeg_quality"] > 0:
            title += f", JPEG quality {int(sample['jpeg_quality'])}"
    elif params := params_of(dataset.degradation, sample) if getattr(dataset, "degradation", None) else {}:
        for name, kernel in dataset.degradation.kernels(params).items():
            cells.append(Cell(np.repeat(kernel_picture(kernel)[:, :, None], 3, axis=2), name))
        title += f": {dataset.degradation.summary(params)}"
    if "motion" in sample:
        x, y, turn, zoom = sample["motion"].tolist()
        title += f", moved by ({x:.2f}, {y:.2f}) LR px, {math.degrees(turn):.2f} deg, x{zoom:.3f}"
    return title, cells
