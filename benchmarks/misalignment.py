"""``python -m benchmarks.misalignment``: what a training on misaligned pairs loses, and what mimicked alignment brings back.

    python -m benchmarks.misalignment --images FOLDER --sets Set5=FOLDER Set14=FOLDER -o OUT

Four trainings of one small network from the same seeds, blur by blur: on misaligned pairs as they are (*plain*), on bicubic
LR images alone (*bicubic*, the control: it needs no pairs), on misaligned pairs by MimickedAlignmentModel (*mimicked*), and on
the pairs as they would be if they lay over each other (*aligned*). All are tested on aligned images. Run again, it continues
where it stopped.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from benchmarks.study.arguments import add_amp, claim_parser, named_folder
from benchmarks.study.report import shown
from benchmarks.study.training import train

VARIANTS = ("plain", "bicubic", "mimicked", "aligned")
"""In the order that is expected of their PSNR."""

MISALIGN = {"shift": 2.0, "rotation": 0.5, "zoom": 0.01, "gain": 0.1, "offset": 0.02}
"""Up to how far the pairs are moved and recoloured."""


@dataclass(frozen=True)
class Budget:
    """The budget of every training."""

    images: str
    """Folder of GT images."""
    sets: Mapping[str, str]
    """Folders of test images by name."""
    iterations: int = 1500
    batch: int = 8
    patch: int = 24
    """Side of an LR patch."""
    num_feat: int = 16
    """Channels of both networks."""
    num_block: int = 2
    lr: float = 1e-3
    amp: str = "off"
    """Precision of all trainings, as ``train.amp``."""


def options(variant: str, sigma: float, budget: Budget, seed: int) -> dict[str, Any]:
    """The options of one training; the working directory is the seed's folder."""
    blur = {"preset": "iso_2.4", "degradation": {"sigma": sigma}}
    data: dict[str, Any] = {
        "name": "train",
        "type": "BlindDegradationPairedDataset",
        "dataroot_gt": budget.images,
        **(blur if variant != "bicubic" else {"preset": "bicubic"}),
        "gt_size": 4 * budget.patch,
        "num_worker_per_gpu": 8 if torch.cuda.is_available() else 0,
        "batch_size_per_gpu": budget.batch,
        "dataset_enlarge_ratio": 10,
    }
    if variant in ("plain", "mimicked"):
        data["misalign"] = dict(MISALIGN)
    opt: dict[str, Any] = {
        "name": f"{variant}_{sigma:g}",
        "model_type": "BlindSRModel",
        "scale": 4,
        "num_gpu": "auto",
        "manual_seed": seed,
        "datasets": {"train": data},
        "network_g": {
            "type": "MSRResNet",
            "upscale": 4,
            "num_feat": budget.num_feat,
            "num_block": budget.num_block,
        },
        "path": {"pretrain_network_g": None},
        "train": {
            "total_iter": budget.iterations,
            "channels_last": True,
            "amp": budget.amp,
            "optim_g": {"type": "Adam", "lr": budget.lr, "betas": [0.9, 0.99]},
            "scheduler": {
                "type": "CosineAnnealingRestartLR",
                "periods": [budget.iterations],
                "restart_weights": [1],
                "eta_min": 1e-6,
            },
            "pixel_opt": {"type": "L1Loss", "loss_weight": 1.0, "reduction": "mean"},
        },
        "logger": {
            "print_freq": 50,
            "save_checkpoint_freq": max(budget.iterations // 4, 1),
            "use_tb_logger": False,
        },
        "val": {
            "val_freq": budget.iterations,
            "save_img": False,
            "metrics": {"psnr": {"type": "calculate_psnr", "crop_border": 4, "test_y_channel": True}},
        },
    }
    for name, folder in budget.sets.items():
        opt["datasets"][f"val_{name}"] = {
            "name": name,
            "type": "BlindDegradationBenchmarkDataset",
            "dataroot_gt": folder,
            **blur,
        }
    if variant == "mimicked":
        opt["model_type"] = "MimickedAlignmentModel"
        opt["network_mim"] = {"type": "MimicNet", "num_feat": budget.num_feat}
        opt["train"].update(
            align_opt={"type": "FlowAlignedL1Loss"}, low_pass_opt={"type": "LowPassL1Loss", "loss_weight": 0.01}
        )
    return opt


def last_psnr(log: str) -> dict[str, float]:
    """The last PSNR-Y of each set in a training's log."""
    return {name: float(value) for name, value in re.findall(r"Validation (\S+)\s+# psnr: ([\d.]+)", log)}


def table(found: Mapping[tuple[str, float, int], Mapping[str, float]], seeds: Sequence[int]) -> str:
    """The PSNR of each variant over the seeds, and its difference from the plain training within each seed.

    Args:
        found: PSNR by set, of each variant, sigma and seed.
        seeds: All seeds.
    """
    sigmas = sorted({sigma for _, sigma, _ in found})
    sets = list(next(iter(found.values())))
    columns = [(sigma, name) for sigma in sigmas for name in sets]
    head = " | ".join(f"{name}, sigma {sigma:g} | minus plain" for sigma, name in columns)
    lines = [f"| training | {head} |", "|---|" + "---|---|" * len(columns)]
    for variant in (name for name in VARIANTS if any(name == found_name for found_name, *_ in found)):
        cells = []
        for sigma, name in columns:
            values = [found[variant, sigma, seed][name] for seed in seeds]
            cells.append(shown(values))
            plain = [found["plain", sigma, seed][name] for seed in seeds if ("plain", sigma, seed) in found]
            differs = variant != "plain" and len(plain) == len(values)
            cells.append(shown([a - b for a, b in zip(values, plain, strict=True)], sign="+") if differs else "")
        lines.append(f"| {variant} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    """Train, and print the table."""
    parser = claim_parser("benchmarks.misalignment", __doc__)
    parser.add_argument(
        "--iterations", type=int, default=Budget.iterations, help="of each training (default: %(default)s)"
    )
    parser.add_argument("--batch", type=int, default=Budget.batch, help="samples per iteration (default: %(default)s)")
    parser.add_argument("--sigmas", type=float, nargs="+", default=[1.6, 2.4], help="of the blur (default: 1.6 2.4)")
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=list(VARIANTS), metavar="NAME")
    add_amp(parser)
    args = parser.parse_args()
    sets = dict(map(named_folder, args.sets))
    budget = Budget(str(args.images.resolve()), sets, args.iterations, args.batch, amp=args.amp)
    found = {}
    for seed in args.seeds:
        for sigma in args.sigmas:
            for variant in args.variants:
                log = train(options(variant, sigma, budget, seed), args.output / f"seed{seed}")
                found[variant, sigma, seed] = last_psnr(log.read_text())
                numbers = ", ".join(f"{name} {psnr:.2f} dB" for name, psnr in found[variant, sigma, seed].items())
                print(f"seed {seed}, sigma {sigma:g}, {variant}: {numbers}", flush=True)
    text = (
        f"PSNR-Y on aligned test images, x4. {args.iterations} iterations, batch {args.batch}, LR patches of {budget.patch}; "
        f"MSRResNet with {budget.num_feat} channels and {budget.num_block} blocks, amp {budget.amp}; pairs misaligned by up to "
        f"{MISALIGN}; seeds {', '.join(map(str, args.seeds))}, means with half the width of the 95 % interval.\n\n"
        f"{table(found, args.seeds)}\n"
    )
    (args.output / "misalignment.md").write_text(text, encoding="utf-8")
    print(f"\n{text}")


if __name__ == "__main__":
    main()
