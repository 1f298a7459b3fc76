"""``python -m benchmarks.one_step``: how far one step of the student after TDDSR is from its teacher's fifteen.

    python -m benchmarks.one_step --images BSD400 --sets Set5=Set5 Set14=Set14 -o OUT

The miniatures of options/tddsr/ (isotropic blur of sigma 1.2, x4), over three seeds: a teacher, a student with co-learning, and
one that is distilled alone.

(a) Is the student, in one pass, within 0.3 dB of PSNR-Y and 0.3 of NIQE of the teacher's 15 passes, with and without
    co-learning?
(b) Is it nearer to what these 15 give (PSNR-Y, same noise) than the teacher's own single pass?

Run again, it continues where it stopped.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from tqdm import tqdm

from benchmarks.study.arguments import claim_parser, named_folder
from benchmarks.study.report import shown
from benchmarks.study.training import train
from lightbsr_model.evaluation.comparison.metrics import get_metric
from lightbsr_model.evaluation.comparison.running import Results, run_comparison
from lightbsr_model.evaluation.comparison.settings import Settings
from lightbsr_model.evaluation.model_entries import ModelEntry
from lightbsr_model.option_files.whole_options import read_options

RECIPES = Path(__file__).parents[1] / "options/tddsr"
TRAININGS = ("teacher", "student", "distilled")
"""Ends of the names of the recipes, in the order of training."""
STEPS = 15
"""The teacher's."""
ENTRIES = {
    "teacher, 15 steps": ("teacher", STEPS),
    "teacher, 1 step": ("teacher", 1),
    "student": ("student", 1),
    "student without co-learning": ("distilled", 1),
}
"""What is compared: a training, and the number of steps."""
REFERENCE, SINGLE, *STUDENTS = ENTRIES
PRESET = "iso_1.2"
MOST = {"psnr_y": 0.3, "niqe": 0.3}
"""Claim (a): what a student may lose."""
BORDER = 4
"""HR pixels that the distance between two results leaves out at each side."""


def options(kind: str, images: Path, seed: int, iterations: Mapping[str, int] | None = None) -> dict[str, Any]:
    """The options of one training: those of its recipe, on other images, without validation.

    Args:
        kind: One of :data:`TRAININGS`.
        images: Folder of the GT images.
        seed: Of everything that is drawn.
        iterations: Length of a training, where it is not the recipe's.
    """
    opt: dict[str, Any] = read_options(RECIPES / f"train_small_{kind}.yml").options
    del opt["datasets"]["val"], opt["val"]
    data = opt["datasets"]["train"]
    del data["pictures"]
    data.update(name="train", dataroot_gt=str(images), io_backend={"type": "disk"}, dataset_enlarge_ratio=10)
    opt["manual_seed"] = seed
    length = (iterations or {}).get(kind, opt["train"]["total_iter"])
    opt["train"]["total_iter"] = length
    opt["train"]["scheduler"].update(
        {"milestones": [length]} if "milestones" in opt["train"]["scheduler"] else {"warmup_iter": min(100, length)}
    )
    return opt


def settings(seed: int, out: Path, sets: Mapping[str, str]) -> Settings:
    """The comparison of a seed's networks."""
    entries = tuple(
        ModelEntry(
            name,
            {"sample_steps": steps},
            str(out / f"seed{seed}/experiments/small_TDDSR_{kind}/models/net_g_latest.pth"),
        )
        for name, (kind, steps) in ENTRIES.items()
    )
    return Settings(f"seed {seed}", 4, sets, (PRESET,), entries, metrics=("psnr_y", "niqe"))


def nearness(folder: Path, asked: Settings, results: Results) -> dict[tuple[str, str], float]:
    """PSNR-Y in dB of each network's images to those of the teacher's steps, by network and set; means over a set."""
    measure = get_metric("psnr_y").measure
    found: dict[tuple[str, str], list[float]] = {}
    for each in results.scored:
        if each.model != REFERENCE:
            paths = (
                folder / f"images/{name}/{each.set}/{each.preset}/{each.image}.png" for name in (each.model, REFERENCE)
            )
            image, other = (cv2.imread(str(path))[:, :, ::-1] for path in paths)
            found.setdefault((each.model, each.set), []).append(measure(image, other, BORDER))
    return {key: float(np.mean(values)) for key, values in found.items()}


def table(compared: Sequence[Results], near: Sequence[Mapping[tuple[str, str], float]]) -> str:
    """Figures and verdicts as Markdown.

    Args:
        compared: The comparisons, one a seed.
        near: What :func:`nearness` gave for each.
    """
    sets = list(compared[0].settings.sets)
    means = {
        (metric, name, set_name): [float(np.mean(each.values(set_name, PRESET, metric)[name])) for each in compared]
        for metric in MOST
        for name in ENTRIES
        for set_name in sets
    }
    lines = [
        f"| {PRESET} | set | PSNR-Y (dB) | NIQE | to the 15 steps (dB) | passes | GMACs |",
        "|---|---|---|---|---|---|---|",
    ]
    for name in ENTRIES:
        cost = compared[0].costs[name]
        for set_name in sets:
            quality = [shown(means[metric, name, set_name]) for metric in MOST]
            to_steps = "" if name == REFERENCE else shown([each[name, set_name] for each in near])
            lines.append(
                f"| {name} | {set_name} | {' | '.join(quality)} | {to_steps} | {cost.passes} | {cost.gmacs:.1f} |"
            )
    for name in STUDENTS:
        losses = {
            metric: [
                sign * (one - other)
                for set_name in sets
                for one, other in zip(means[metric, REFERENCE, set_name], means[metric, name, set_name], strict=True)
            ]
            for metric, sign in (("psnr_y", 1), ("niqe", -1))
        }
        holds = all(max(losses[metric]) <= most for metric, most in MOST.items())
        lines.append(
            f"\n(a) {name}, every set and seed: {'holds' if holds else 'does not hold'} (most lost: "
            f"{max(losses['psnr_y']):.2f} dB, {max(losses['niqe']):.2f} NIQE)."
        )
        gains = [each[name, set_name] - each[SINGLE, set_name] for each in near for set_name in sets]
        lines.append(
            f"(b) {name}, every set and seed: {'holds' if min(gains) > 0 else 'does not hold'} (least: {min(gains):.2f} dB "
            "nearer than the teacher's single pass)."
        )
    return "\n".join(lines)


def main() -> None:
    """Train, compare, and print the table."""
    parser = claim_parser("benchmarks.one_step", __doc__)
    for kind in TRAININGS:
        parser.add_argument(f"--{kind}-iterations", type=int, help="length of this training (default: the recipe's)")
    args = parser.parse_args()
    sets = dict(map(named_folder, args.sets))
    given = {kind: getattr(args, f"{kind}_iterations") for kind in TRAININGS}
    iterations = {kind: length for kind, length in given.items() if length is not None}
    for seed, kind in tqdm([(seed, kind) for seed in args.seeds for kind in TRAININGS], unit="training"):
        train(options(kind, args.images.resolve(), seed, iterations), args.output / f"seed{seed}")
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    compared, near = [], []
    for seed in args.seeds:
        asked, folder = settings(seed, args.output, sets), args.output / f"seed{seed}/comparison"
        compared.append(run_comparison(asked, folder, device))
        near.append(nearness(folder, asked, compared[-1]))
    lengths = ", ".join(
        f"{kind} {options(kind, args.images, 0, iterations)['train']['total_iter']}" for kind in TRAININGS
    )
    text = (
        f"Iterations: {lengths}; seeds {', '.join(map(str, args.seeds))}. Means over seeds, with half the width of the 95 % "
        f"interval by Student's t.\n\n{table(compared, near)}\n"
    )
    (args.output / "one_step.md").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
