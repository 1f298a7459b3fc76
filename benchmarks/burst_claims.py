"""``python -m benchmarks.burst_claims``: what more frames are worth to RBSR, in a small training.

    python -m benchmarks.burst_claims -o OUT              three seeds, 10,000 iterations each; resumes where it stopped
    python -m benchmarks.burst_claims -o OUT --dry-run    what it would train, and how long that takes on this machine

Four trainings of one small network from the same seeds, at the camera's strongest noise: of one frame (*one*), and of bursts
that are aligned by the true flow (*true*), by registration (*affine*) and by a flow network that is taught by the true flow
(*learnt*). Each is tested on the same bursts with 1, 2, 4 and 8 frames; and on one frame repeated, where nothing is to be
gained. The claim: 8 frames are worth 0.5 dB at least, in every seed, beside the network of one frame; and more frames are worth
more. Without ``--images`` and ``--sets`` it takes scikit-image's bundled images.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch

from benchmarks.study.arguments import named_folder
from benchmarks.study.report import shown
from benchmarks.study.training import train
from lightbsr_arch.methods.rbsr import RBSR
from lightbsr_arch.weights.checkpoints import load_state_dict

VARIANTS = ("one", "true", "affine", "learnt")
COUNTS = (1, 2, 4, 8)
CLAIM = 0.5
"""In dB."""
SIZES = {"num_feat": 16, "num_feat_block": 1, "num_block": 4, "num_reconstruction_block": 2, "deform_groups": 4}
TRAINING_PICTURES = (
    *("astronaut", "rocket", "hubble_deep_field", "ihc", "retina", "motorcycle_left"),
    *("camera", "brick", "grass", "gravel", "coins", "moon"),
)
TEST_PICTURES = ("coffee", "chelsea")
TEST_SEEDS = (0, 1, 2, 3)
"""Of the test bursts: so many of each image."""


@dataclass(frozen=True)
class Budget:
    """The budget of every training."""

    iterations: int = 10000
    batch: int = 2
    gt_size: int = 192
    lr: float = 1e-3
    images: str | None = None
    """Folder of training images; None takes bundled ones."""
    sets: Mapping[str, str] = field(default_factory=dict)
    """Folders of test images by name; empty takes bundled ones."""


def options(variant: str, budget: Budget, seed: int) -> dict[str, Any]:
    """The options of one training; the working directory is the seed's folder."""
    bundled = {"io_backend": {"type": "bundled"}, "pictures": list(TRAINING_PICTURES)}
    learns_flow = variant == "learnt"
    flow = {
        "flow_iter": budget.iterations // 20,
        "flow_opt": {"type": "L1Loss", "loss_weight": 0.1, "reduction": "mean"},
    }
    return {
        "name": variant,
        "model_type": "BurstSRModel",
        "scale": 4,
        "num_gpu": "auto",
        "manual_seed": seed,
        "datasets": {
            "train": {
                "name": "train",
                "type": "SyntheticBurstDataset",
                **(bundled if budget.images is None else {"dataroot_gt": budget.images}),
                "camera": "small",
                "frames": 1 if variant == "one" else [2, COUNTS[-1]],
                "gt_size": budget.gt_size,
                "use_rot": True,
                "num_worker_per_gpu": 8 if torch.cuda.is_available() else 0,
                "batch_size_per_gpu": budget.batch,
                "dataset_enlarge_ratio": 100,
            }
        },
        "network_g": {"type": "RBSR", **SIZES, "flow_net": "spynet" if learns_flow else "affine"},
        "path": {"pretrain_network_g": None},
        "train": {
            "total_iter": budget.iterations,
            "true_flow": variant == "true",
            **(flow if learns_flow else {}),
            "optim_g": {"type": "AdamW", "lr": budget.lr, "weight_decay": 0.01, "betas": [0.9, 0.999]},
            "scheduler": {"type": "TwoPhaseCosineLR", "warmup_iter": 0, "eta_min": 1e-6},
            "pixel_opt": {"type": "L1Loss", "loss_weight": 1.0, "reduction": "mean"},
        },
        "logger": {
            "print_freq": 50,
            "save_checkpoint_freq": max(budget.iterations // 20, 1),
            "use_tb_logger": False,
        },
        "val": None,
    }


def test_bursts(budget: Budget) -> dict[str, list[dict[str, torch.Tensor]]]:
    """The bursts of each test set, the same for all networks."""
    import lightbsr_model  # noqa: F401 - BasicSR does not import without it
    from lightbsr_model.data.synthetic_burst_dataset import SyntheticBurstDataset

    sources = {name: {"dataroot_gt": folder} for name, folder in budget.sets.items()} or {
        "bundled": {"io_backend": {"type": "bundled"}, "pictures": list(TEST_PICTURES)}
    }
    common = {"phase": "val", "camera": "small", "frames": COUNTS[-1], "gt_size": 256}
    found: dict[str, list[dict[str, torch.Tensor]]] = {}
    for name, source in sources.items():
        for seed in TEST_SEEDS:
            data = SyntheticBurstDataset({**common, **source, "seed": seed})
            found.setdefault(name, []).extend(data[index] for index in range(len(data)))
    return found


def measured(net: RBSR, bursts: Sequence[Mapping[str, torch.Tensor]], takes_true_flow: bool) -> dict[str, float]:
    """Mean linear PSNR in dB by number of frames, and of the base alone repeated (``repeated``)."""
    from lightbsr_model.training.linear_psnr import psnr_linear

    totals = dict.fromkeys([*map(str, COUNTS), "repeated"], 0.0)
    device = next(net.parameters()).device
    with torch.inference_mode():
        for burst in bursts:
            frames, flow = burst["frames"][None].to(device), burst["flow"][None].to(device)
            ways = {str(count): (frames[:, :count], flow[:, : count - 1]) for count in COUNTS}
            ways["repeated"] = (frames[:, [0] * COUNTS[-1]], torch.zeros_like(flow))
            for name, (some, way) in ways.items():
                sr = net(some, way if takes_true_flow else None)
                totals[name] += psnr_linear(sr.cpu(), burst["gt"][None])
    return {name: total / len(bursts) for name, total in totals.items()}


def table(found: Mapping[tuple[str, int], Mapping[str, float]], seeds: Sequence[int]) -> str:
    """PSNR of each training by number of frames, over the seeds, and what the claims come to.

    Args:
        found: What :func:`measured` gives, of each variant and seed.
        seeds: All seeds.
    """
    columns = [*map(str, COUNTS), "repeated"]
    heads = [f"{count} frame{'s' * (count != '1')}" for count in columns[:-1]]
    lines = [f"| training | {' | '.join(heads)} | one frame, 8 times |", "|---|" + "---|" * len(columns)]
    variants = [variant for variant in VARIANTS if all((variant, seed) in found for seed in seeds)]
    for variant in variants:
        cells = [shown([found[variant, seed][name] for seed in seeds]) for name in columns]
        lines.append(f"| {variant} | {' | '.join(cells)} |")
    lines.append("")
    most = str(COUNTS[-1])
    for variant in (name for name in variants if name != "one" and "one" in variants):
        gains = [found[variant, seed][most] - found["one", seed]["1"] for seed in seeds]
        grows = all(
            found[variant, seed][str(few)] < found[variant, seed][str(many)]
            for seed in seeds
            for few, many in pairwise(COUNTS)
        )
        verdict = "holds" if min(gains) >= CLAIM else "does not hold"
        lines.append(
            f"- {variant}: {most} frames beside the network of one frame: {shown(gains, sign='+')} dB; that it is {CLAIM} dB "
            f"or more {verdict} (least: {min(gains):.2f} dB). PSNR {'grows' if grows else 'does not grow'} with every "
            "number of frames in every seed."
        )
    return "\n".join(lines)


def seconds_per_iteration(variant: str, budget: Budget, iterations: int = 4) -> float:
    """What an iteration takes here, data included, in the phase that is most of the training."""
    from basicsr.models import build_model

    import lightbsr_model  # noqa: F401
    from lightbsr_model.bridge.patches import apply_patches
    from lightbsr_model.data.synthetic_burst_dataset import SyntheticBurstDataset

    apply_patches()  # BasicSR knows one optimiser
    opt = options(variant, budget, 0)
    data = SyntheticBurstDataset({**opt["datasets"]["train"], "phase": "train", "scale": 4})
    opt.update(num_gpu=int(torch.cuda.is_available()), is_train=True, dist=False, rank=0, world_size=1)
    opt["train"].pop("flow_iter", None)
    model: Any = build_model(opt)
    took = []
    for iteration in range(1, iterations + 2):
        started = time.perf_counter()
        samples = [data[number % len(data)] for number in range(budget.batch)]
        names = [name for name, value in samples[0].items() if torch.is_tensor(value)]
        model.update_learning_rate(iteration)
        model.feed_data({name: torch.stack([sample[name] for sample in samples]) for name in names})
        model.optimize_parameters(iteration)
        took.append(time.perf_counter() - started)
    # Without the first, which warms up.
    return sum(took[1:]) / iterations


def main(arguments: Sequence[str] | None = None) -> None:
    """Train, test, and print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.burst_claims", description=__doc__.partition("\n")[0])
    parser.add_argument("-o", "--output", type=Path, required=True, help="folder of all results")
    parser.add_argument("--images", type=Path, help="folder of training images (default: bundled ones)")
    parser.add_argument(
        "--sets", nargs="+", default=[], metavar="NAME=FOLDER", help="test sets (default: bundled ones)"
    )
    parser.add_argument(
        "--iterations", type=int, default=Budget.iterations, help="of each training (default: %(default)s)"
    )
    parser.add_argument("--batch", type=int, default=Budget.batch, help="samples per iteration (default: %(default)s)")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="default: 0 1 2")
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=list(VARIANTS), metavar="NAME")
    parser.add_argument("--dry-run", action="store_true", help="train nothing; time a few iterations of each")
    args = parser.parse_args(arguments)
    images = None if args.images is None else str(args.images.resolve())
    budget = Budget(args.iterations, args.batch, images=images, sets=dict(map(named_folder, args.sets)))
    if args.dry_run:
        _forecast(args.variants, args.seeds, budget)
        return
    bursts = test_bursts(budget)
    found: dict[str, dict[tuple[str, int], dict[str, float]]] = {name: {} for name in bursts}
    for seed in args.seeds:
        for variant in args.variants:
            folder = args.output / f"seed{seed}"
            train(options(variant, budget, seed), folder)
            flow_net = "spynet" if variant == "learnt" else "affine"
            net = RBSR(**SIZES, flow_net=flow_net).eval()
            net.load_state_dict(load_state_dict(folder / f"experiments/{variant}/models/net_g_latest.pth"))
            net.to("cuda" if torch.cuda.is_available() else "cpu")
            for name, set_of in bursts.items():
                found[name][variant, seed] = measured(net, set_of, variant == "true")
                print(f"seed {seed}, {variant}, {name}: {json.dumps(found[name][variant, seed])}", flush=True)
    text = (
        f"Linear PSNR in dB on synthetic bursts, camera `small`. {budget.iterations} iterations, batch {budget.batch}, "
        f"GT {budget.gt_size}; seeds {', '.join(map(str, args.seeds))}, means with half the width of the 95 % interval.\n"
    )
    text += "".join(f"\n{name}:\n\n{table(values, args.seeds)}\n" for name, values in found.items())
    (args.output / "burst_claims.md").write_text(text, encoding="utf-8")
    print(f"\n{text}")


def _forecast(variants: Sequence[str], seeds: Sequence[int], budget: Budget) -> None:
    total = 0.0
    for variant in variants:
        seconds = seconds_per_iteration(variant, budget)
        total += seconds * budget.iterations * len(seeds)
        print(f"{variant}: {seconds:.2f} s an iteration, {seconds * budget.iterations / 3600:.1f} h a seed", flush=True)
    print(f"all: {total / 3600:.1f} h for {len(seeds)} seeds of {budget.iterations} iterations, here")


if __name__ == "__main__":
    main()
