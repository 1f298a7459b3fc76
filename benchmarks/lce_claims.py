"""``python -m benchmarks.lce_claims``: whether LCE's corrector corrects, and what its correction is worth.

    python -m benchmarks.lce_claims --images BSD400 --sets Set5=Set5 Set14=Set14 -o OUT

The miniature of options/lce/train_small.yml at the budget of the small study, setting 1, x4, over three seeds:

(a) Is a corrected LR image closer to the bicubic LR image than the LR image is: by 2 dB or more at sigma 2.4?
(b) Is PSNR-Y with the corrector's loss at least that of the same network without this loss, and without a corrector? Networks
    without the loss have no phase of the corrector: all trainings have the same iterations and batches.

Nine trainings of about one and a half minutes each on a CPU core; run again, it continues where it stopped.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from benchmarks.study.arguments import add_budget, budget_of, claim_parser, named_folder
from benchmarks.study.methods import LCE_STARTS, METHODS, Budget, training_options
from benchmarks.study.report import PRESETS, budget_words, shown
from benchmarks.study.training import train
from lightbsr_arch.methods.lce import LCE
from lightbsr_arch.weights.model_files import load_model
from lightbsr_model.data.decoding import to_rgb
from lightbsr_model.evaluation.comparison.metrics import get_metric
from lightbsr_model.evaluation.comparison.running import Results, run_comparison, samples
from lightbsr_model.evaluation.comparison.settings import Settings
from lightbsr_model.evaluation.model_entries import ModelEntry
from lightbsr_model.methods.lce import corrector_target

SIZES: dict[str, Any] = {
    **{"num_feat": 24, "num_group": 2, "num_block": 2, "num_head": 4},
    **{"num_corrector_feat": 16, "num_corrector_block": 3},
}
"""The miniature's."""
CORRECTOR_SHARE = 0.1
"""Share of the iterations in which the corrector learns alone."""
VARIANTS: dict[str, tuple[dict[str, Any], float]] = {
    "corrected": ({}, 1.0),
    "unsupervised": ({}, 0.0),
    "uncorrected": ({"correct": False}, 0.0),
}
"""By name: arguments of the network, and the weight of the corrector's loss."""
BORDER = 2
"""LR pixels that the PSNR of corrected images leaves out at each side."""
LEAST_GAIN, SIGMA = 2.0, "iso_2.4"
"""Claim (a): dB, and the preset."""

_ONE_VIEW = next(method for method in METHODS if method.name == "kdsr_teacher")
"""A training of the study with phases and one view, whose data, optimiser and schedule these have."""


def options(variant: str, budget: Budget, seed: int) -> dict[str, Any]:
    """The options of one training."""
    network, weight = VARIANTS[variant]
    opt = training_options(_ONE_VIEW, budget, seed)
    network = {"type": "LCE", "scale": 4, **SIZES, **LCE_STARTS[budget.start], **network}
    opt.update(name=variant, model_type="LCEModel", network_g=network)
    encoder = round(CORRECTOR_SHARE * budget.iterations) if weight else 0
    loss = {"type": "L1Loss", "loss_weight": weight, "reduction": "mean"}
    opt["train"].update(encoder_iter=encoder, corrector_opt=loss)
    scheduler = opt["train"]["scheduler"]
    scheduler["warmup_iter"] = min(scheduler["warmup_iter"], budget.iterations - encoder)
    return opt


def settings(seed: int, out: Path, sets: Mapping[str, str]) -> Settings:
    """The comparison of a seed's networks."""
    entries = [ModelEntry(name, path=str(checkpoint(out, seed, name))) for name in VARIANTS]
    return Settings(f"seed {seed}", 4, sets, PRESETS, tuple(entries), metrics=("psnr_y",), cost=False)


def checkpoint(out: Path, seed: int, name: str) -> Path:
    """Where a training leaves its weights."""
    return out / f"seed{seed}/experiments/{name}/models/net_g_latest.pth"


def correction(net: LCE, asked: Settings, set_name: str, preset: str) -> tuple[float, float]:
    """PSNR in dB of LR images, and of corrected ones in 8 bits, to the bicubic LR images; means over a test set."""
    measure, figures = get_metric("psnr").measure, []
    device = next(net.parameters()).device
    for _, sample in samples(asked, set_name, preset):
        lq, gt = (sample[key][None].to(device) for key in ("lq", "gt"))
        with torch.inference_mode():
            lr, clr, target = (
                to_rgb(each[0].cpu()) for each in (lq, net.correct_lq(lq), corrector_target(gt, net.scale))
            )
        figures.append([measure(image, target, BORDER) for image in (lr, clr)])
    before, after = np.mean(figures, axis=0)
    return float(before), float(after)


def correction_table(found: Mapping[tuple[str, str], Sequence[tuple[float, float]]]) -> str:
    """Claim (a) as Markdown.

    Args:
        found: What :func:`correction` gave for each seed, by set and preset.
    """
    lines = [
        "| PSNR to the bicubic LR image (dB) | preset | LR | corrected | gain |",
        "|---|---|---|---|---|",
    ]
    for (set_name, preset), pairs in found.items():
        before, after = zip(*pairs, strict=True)
        gains = [b - a for a, b in pairs]
        lines.append(f"| {set_name} | {preset} | {shown(before)} | {shown(after)} | {shown(gains)} |")
    gains = [after - before for (_, preset), pairs in found.items() if preset == SIGMA for before, after in pairs]
    verdict = "holds" if min(gains) >= LEAST_GAIN else "does not hold"
    lines.append(
        f"\n(a) at least {LEAST_GAIN:g} dB at {SIGMA}, every set and seed: {verdict} (least: {min(gains):.2f} dB)."
    )
    return "\n".join(lines)


def quality_table(compared: Sequence[Results], sets: Sequence[str]) -> str:
    """Claim (b) as Markdown: means over the sigmas, and differences seed by seed."""
    means = {
        (name, set_name): [
            float(np.mean([np.mean(each.values(set_name, preset, "psnr_y")[name]) for preset in PRESETS]))
            for each in compared
        ]
        for name in VARIANTS
        for set_name in sets
    }
    lines = ["| PSNR-Y (dB), mean of the sigmas | " + " | ".join(sets) + " |", "|---|" + "---|" * len(sets)]
    lines += [f"| {name} | " + " | ".join(shown(means[name, each]) for each in sets) + " |" for name in VARIANTS]
    for other in list(VARIANTS)[1:]:
        cells = [
            shown([a - b for a, b in zip(means["corrected", each], means[other, each], strict=True)]) for each in sets
        ]
        lines.append(f"| (b) corrected minus {other} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    """Train, measure, and print the tables."""
    parser = claim_parser("benchmarks.lce_claims", __doc__)
    add_budget(parser, sizes=["small"])
    args = parser.parse_args()
    sets = dict(map(named_folder, args.sets))
    budget = budget_of(args)
    for seed, variant in tqdm([(seed, name) for seed in args.seeds for name in VARIANTS], unit="training"):
        train(options(variant, budget, seed), args.output / f"seed{seed}")
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    found: dict[tuple[str, str], list[tuple[float, float]]] = {}
    compared = []
    for seed in args.seeds:
        asked = settings(seed, args.output, sets)
        net: Any = load_model(checkpoint(args.output, seed, "corrected")).net.to(device)
        for set_name in sets:
            for preset in PRESETS:
                found.setdefault((set_name, preset), []).append(correction(net, asked, set_name, preset))
        compared.append(run_comparison(asked, args.output / f"seed{seed}/comparison", device))
    text = f"{budget_words(budget, args.seeds)}\n\n{correction_table(found)}\n\n{quality_table(compared, list(sets))}\n"
    (args.output / "lce_claims.md").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
