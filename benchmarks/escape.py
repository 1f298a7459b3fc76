"""``python -m benchmarks.escape``: how soon short trainings learn more than one filter for every blur.

    python -m benchmarks.escape --images BSD400 --set Set5 -o OUT

A network that has learnt one linear filter for all blurs ends at about 25.3 dB on Set5 at sigma 3.6, x4. It has *escaped*
when it passes 26.5 dB. Every variant is trained by ``lightbsr train`` with every seed, on the same patches, and validated on
the way. Two to four minutes a training on two CPU cores; run again, it continues where it stopped.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.study.arguments import add_amp
from benchmarks.study.methods import FREE_START, METHODS, Budget, training_options, untrained_network
from benchmarks.study.report import PRESETS, shown
from benchmarks.study.training import train

ESCAPED = 26.5
"""PSNR-Y in dB at the last sigma that no single filter reaches."""

_BY_NAME = {method.name: method for method in METHODS}

VARIANTS: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "published": ("no_distillation", {}, {}),
    "skip": ("no_distillation", {"image_skip": True}, {}),
    "init": ("no_distillation", {"init_scale": 0.3}, {}),
    "lr": ("no_distillation", {"tail_activation": "lr"}, {}),
    "skip+init": ("no_distillation", {**FREE_START, "tail_activation": None}, {}),
    "skip+lr": ("no_distillation", {**FREE_START, "init_scale": None}, {}),
    "init+lr": ("no_distillation", {**FREE_START, "image_skip": False}, {}),
    "skip+init+lr": ("no_distillation", FREE_START, {}),
    "skip+init+hr": ("no_distillation", {**FREE_START, "tail_activation": "hr"}, {}),
    "skip+init+hr, layer scale 1": (
        "no_distillation",
        {**FREE_START, "tail_activation": "hr", "layer_scale_init": 1.0},
        {},
    ),
    "skip+init+hr, reading": (
        "no_distillation",
        {**FREE_START, "tail_activation": "hr"},
        {"degradation_opt": {"type": "DegradationRegressionLoss", "loss_weight": 50.0}},
    ),
    "no codes": ("no_distillation", {**FREE_START, "type": "benchmarks.study.codeless.CodelessLightBSR"}, {}),
    "msrresnet": ("msrresnet", {}, {}),
    "free dasr": ("dasr", FREE_START, {"encoder_iter": 0}),
    "free cdcl": ("cdcl", FREE_START, {"encoder_iter": 0}),
    "free kdsr": ("no_distillation", FREE_START, {}),
}
"""By name: the study's training that it differs from, arguments of its network, and keys of ``train``.

LightBSR and KDSR are trained without a teacher here."""

_NETWORK_OF = {"free kdsr": "kdsr_student"}
"""The study's training whose network takes the place of the variant's."""


def options(variant: str, budget: Budget, seed: int, folder: str, every: int) -> dict[str, Any]:
    """The options of one training: the study's, validated on a test set on the way."""
    name, network, train_opt = VARIANTS[variant]
    opt = training_options(_BY_NAME[name], budget, seed)
    opt["name"] = variant.replace(", ", "_").replace(" ", "_")
    opt["network_g"] = {**untrained_network(_NETWORK_OF.get(variant, name), budget), **network}
    opt["train"].update(train_opt)
    for number, preset in enumerate(PRESETS, 1):
        opt["datasets"][f"val_{number}"] = {
            "name": preset,
            "type": "BlindDegradationBenchmarkDataset",
            "dataroot_gt": folder,
            "preset": preset,
        }
    opt["logger"]["print_freq"] = every
    opt["val"] = {
        "val_freq": every,
        "save_img": False,
        "metrics": {"psnr": {"type": "calculate_psnr", "crop_border": 4, "test_y_channel": True}},
    }
    return opt


def curve(log: str) -> dict[int, list[float]]:
    """PSNR at each sigma, by iteration, of a training's log; iterations that were not validated at all of them are left out."""
    found: dict[int, dict[str, float]] = {}
    iteration, preset = 0, ""
    for number, name, value in re.findall(r"iter:\s*([\d,]+),|Validation (\S+)|# psnr: ([\d.]+)", log):
        if number:
            iteration = int(number.replace(",", ""))
        elif name:
            preset = name
        else:
            found.setdefault(iteration, {})[preset] = float(value)
    return {number: [psnr[name] for name in PRESETS] for number, psnr in found.items() if psnr.keys() >= set(PRESETS)}


def escape(points: Mapping[int, Sequence[float]]) -> int | None:
    """The first validated iteration from which the network has escaped; None if it has not."""
    return next((iteration for iteration, psnr in points.items() if psnr[-1] > ESCAPED), None)


def main() -> None:
    """Train, and print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.escape", description=__doc__.partition("\n")[0])
    parser.add_argument("--images", type=Path, required=True, help="folder of training images, such as BSD400")
    parser.add_argument("--set", type=Path, required=True, help="folder of test images, such as Set5")
    parser.add_argument("-o", "--output", type=Path, required=True, help="folder of all results")
    parser.add_argument("--iterations", type=int, default=400, help="of each training (default: %(default)s)")
    parser.add_argument("--every", type=int, default=50, help="iterations between validations (default: %(default)s)")
    parser.add_argument("--lr", type=float, default=1e-3, help="learning rate (default: %(default)s)")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="default: 0 1 2")
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=list(VARIANTS), metavar="NAME")
    add_amp(parser)
    args = parser.parse_args()
    budget = Budget(str(args.images.resolve()), args.iterations, 8, 24, "small", 0, 0, args.lr, amp=args.amp)
    titles = (f"sigma {preset.removeprefix('iso_')}" for preset in PRESETS)
    print(f"| variant | escape (iteration) | {' | '.join(titles)} |")
    print("|---|---|" + "---|" * len(PRESETS))
    for variant in args.variants:
        curves = []
        for seed in args.seeds:
            opt = options(variant, budget, seed, str(args.set.resolve()), args.every)
            log = train(opt, args.output / f"seed{seed}")
            curves.append(curve(log.read_text()))
        escapes = ", ".join(str(escape(points) or "none") for points in curves)
        last = [list(points.values())[-1] for points in curves]
        cells = [shown([psnr[number] for psnr in last]) for number in range(len(PRESETS))]
        print(f"| {variant} | {escapes} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
