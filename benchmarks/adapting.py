"""``python -m benchmarks.adapting``: what adapting a model to LR images gains in truth, and how often its guard is wrong.

    python -m benchmarks.adapting --sets Set14=datasets/Set14 BSD=datasets/BSD -o OUT

Sharp test sets are degraded in five ways, four outside and one inside what the small model was trained for; the model is
adapted to the LR images of a set (``--each``: to each image by itself) with every method and seed; PSNR-Y against the sharp
originals, which the adaptation does not see, is measured at each of the guard's measurements. Questions:

(a) Does the default gain 0.2 dB or more on the four degradations outside, and lose nowhere more than 0.05 dB, or go out?
(b) How often is the guard wrong: lets out what loses, or holds back what gains 0.05 dB or more?
(c) How long does an adaptation take?

Run again, it continues where it stopped: each adaptation is a file.
"""

from __future__ import annotations

import argparse
import json
import resource
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

import lightbsr_model  # noqa: F401 - BasicSR does not import without it
from benchmarks.study.arguments import named_folder
from benchmarks.study.report import shown
from lightbsr_arch.methods.registry import adaptation, adaptation_names
from lightbsr_arch.saving import write_whole
from lightbsr_arch.weights.model_files import SMALL_MODEL, load_model
from lightbsr_model.adaptation.guard import LEAST_GAIN
from lightbsr_model.adaptation.targets import CROP, TargetImages, psnr_y
from lightbsr_model.data.image_sources import open_all
from lightbsr_model.degradation import get_degradation

DEGRADATIONS: dict[str, dict[str, Any]] = {
    "sigma 1.2 + noise 5": {"sigma": 1.2, "noise_level": 5},
    "axes 4 / 1.5 at 120": {"kernel": "anisotropic", "lambda_1": 4, "lambda_2": 1.5, "theta": 120},
    "sigma 4.5": {"sigma": 4.5},
    "sigma 2.4": {"sigma": 2.4},
    "sigma 1.2 + JPEG 75": {"sigma": 1.2, "jpeg": [75, 75]},
}
OUTSIDE = tuple(name for name in DEGRADATIONS if name != "sigma 2.4")
"""Those that the small model was not trained for."""
DEFAULT = "references"
LEAST, MOST_LOSS = 0.2, 0.05
"""Claim (a), in dB."""


def pairs_of(
    folder: str, degradation: Mapping[str, Any], scale: int, limit: int | None
) -> list[tuple[str, Tensor, Tensor]]:
    """Names, LR images (3, h, w) and sharp images (3, H, W) of a set, both in [0, 1]."""
    reader, applied = open_all(folder), get_degradation("bicubic", degradation)
    found = []
    for place in range(len(reader)):
        gt = torch.from_numpy(reader.read(place).transpose(2, 0, 1).copy())
        height, width = (side // scale * scale for side in gt.shape[1:])
        gt = gt[:, :height, :width]
        if min(height, width) < CROP * scale:
            continue
        params = applied.draw(torch.Generator().manual_seed(0))
        found.append((reader.stem(place), applied.apply_exactly(gt, params, scale, place), gt.float() / 255))
        if len(found) == limit:
            break
    return found


@torch.no_grad()
def true_psnr(net: Any, pairs: Sequence[tuple[str, Tensor, Tensor]]) -> list[float]:
    """PSNR-Y of each restored image."""
    device = next(net.parameters()).device
    return [float(psnr_y(net(lq[None].to(device)), gt[None].to(device), net.scale)[0]) for _, lq, gt in pairs]


def adapt(
    method: str,
    pairs: Sequence[tuple[str, Tensor, Tensor]],
    seed: int,
    args: argparse.Namespace,
    degradation: Mapping[str, Any],
) -> dict[str, Any]:
    """Adapt to the LR images of pairs, and measure against the sharp ones."""
    make: Any = adaptation(method)
    guarded = make(args.references, seed, args.iterations, reconstructor=args.reconstructor)
    net = load_model(args.model).net.to(torch.device("cuda" if torch.cuda.is_available() else "cpu"))
    started, cpu = time.monotonic(), time.process_time()
    images = ((name, (lq * 255).round().byte().permute(1, 2, 0).numpy()) for name, lq, _ in pairs)
    # A command reads it off the files.
    jpeg = degradation.get("jpeg", [0])[:1] * len(pairs)
    adapting = guarded.begin(net, TargetImages(images, seed, len(pairs), jpeg))
    before, looking, states = true_psnr(adapting.start, pairs), 0.0, []

    def look(_: Any) -> None:
        nonlocal looking
        since = time.process_time()
        entry = adapting.state.record[-1]
        truth = np.mean(true_psnr(adapting.net, pairs)) - np.mean(before)
        states.append({"iteration": entry["iteration"], "gains": entry["gains"], "true": float(truth)})
        looking += time.process_time() - since

    outcome = adapting.run(save=look)
    after = true_psnr(outcome.net, pairs)
    at_best = next((entry["true"] for entry in states if entry["iteration"] == outcome.iteration), 0.0)
    return {
        "better": outcome.verdict.better,
        "reason": outcome.verdict.reason,
        "gains": dict(outcome.verdict.gains),
        "before": outcome.before.plain(),
        "after": outcome.after.plain(),
        "true_before": before,
        "true_after": after,
        "true_gain_of_chosen": at_best,
        "iteration": outcome.iteration,
        "states": states,
        "cpu_seconds": time.process_time() - cpu - looking,
        "seconds": time.monotonic() - started,
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "threads": torch.get_num_threads(),
    }


def gains_table(runs: Mapping[tuple[str, str, str, str, int], Mapping[str, Any]]) -> str:
    """Claim (a) as Markdown: what goes out against the model as it was, in dB, over the seeds."""
    places = list(dict.fromkeys((test_set, degradation) for _, test_set, degradation, _, _ in runs))
    lines = ["| method | " + " | ".join(f"{a}, {b}" for a, b in places) + " |", "|---|" + "---|" * len(places)]
    worst, least = float("inf"), float("inf")
    for method in dict.fromkeys(key[0] for key in runs):
        cells = []
        for place in places:
            by_seed: dict[int, list[float]] = {}
            went = []
            for (name, test_set, degradation, _, seed), run in runs.items():
                if name == method and (test_set, degradation) == place:
                    gain = float(np.mean(run["true_after"]) - np.mean(run["true_before"]))
                    by_seed.setdefault(seed, []).append(gain)
                    went.append(run["better"])
            gains = [float(np.mean(values)) for values in by_seed.values()]
            cells.append(f"{shown(gains, sign='+')} ({sum(went)} of {len(went)} went out)" if gains else "")
            if method == DEFAULT and gains:
                worst = min(worst, *gains)
                if place[1] in OUTSIDE:
                    least = min(least, float(np.mean(gains)))
        lines.append(f"| {method} | " + " | ".join(cells) + " |")
    lines.append(
        f"\n(a) {DEFAULT}: least mean gain outside the training {least:+.2f} dB (asked: {LEAST:+.2f}), worst of all runs "
        f"{worst:+.2f} dB (asked: {-MOST_LOSS:+.2f})."
    )
    return "\n".join(lines)


def guard_table(runs: Mapping[tuple[str, str, str, str, int], Mapping[str, Any]]) -> str:
    """Claim (b) as Markdown: the guard's decisions against the truth."""
    lines = [
        "| method | decisions | went out, but lost | went out, but lost over 0.05 dB | held back, though it gained 0.05 dB |",
        "|---|---|---|---|---|",
    ]
    for method in dict.fromkeys(key[0] for key in runs):
        own = [run for key, run in runs.items() if key[0] == method]
        out = [run["true_gain_of_chosen"] for run in own if run["better"]]
        held = [run["true_gain_of_chosen"] for run in own if not run["better"]]
        wrong = (sum(gain < 0 for gain in out), sum(gain < -MOST_LOSS for gain in out))
        missed = sum(gain >= LEAST_GAIN for gain in held)
        lines.append(
            f"| {method} | {len(own)} | {wrong[0]} of {len(out)} | {wrong[1]} of {len(out)} | {missed} of {len(held)} |"
        )
    return "\n".join(lines)


def judges_table(runs: Mapping[tuple[str, str, str, str, int], Mapping[str, Any]]) -> str:
    """How well each degrader's judgement follows the truth, over all measurements: bias and spread in dB."""
    lines = ["| method | judge | judged minus true gain (dB) | spread | of the same sign |", "|---|---|---|---|---|"]
    for method in dict.fromkeys(key[0] for key in runs):
        states = [state for key, run in runs.items() if key[0] == method for state in run["states"]]
        for judge in states[0]["gains"] if states else ():
            judged, true = (np.array([each[0] for each in values]) for values in (
                [(state["gains"][judge],) for state in states], [(state["true"],) for state in states]))  # fmt: skip
            same = float(np.mean((judged > 0) == (true > 0)))
            lines.append(
                f"| {method} | {judge} | {np.mean(judged - true):+.2f} | {np.std(judged - true):.2f} | {100 * same:.0f} % |"
            )
    return "\n".join(lines)


def main() -> None:
    """Adapt, measure, and print the tables."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.adapting", description=__doc__.partition("\n")[0])
    parser.add_argument("--sets", nargs="+", required=True, metavar="NAME=FOLDER", help="sharp test sets")
    parser.add_argument("-o", "--output", type=Path, required=True, help="folder of all results")
    parser.add_argument("--model", default=SMALL_MODEL, help="what is adapted (default: %(default)s)")
    parser.add_argument("--methods", nargs="+", default=list(adaptation_names()), help="default: all")
    parser.add_argument(
        "--degradations", nargs="+", default=list(DEGRADATIONS), choices=DEGRADATIONS, help="default: all"
    )
    parser.add_argument("--references", default="bundled", help="sharp images to learn from (default: %(default)s)")
    parser.add_argument("--reconstructor", help="checkpoint, instead of the one in the package")
    parser.add_argument("--iterations", type=int, help="of each adaptation (default: the method's)")
    parser.add_argument("--limit", type=int, help="take the first images of each set alone")
    parser.add_argument("--each", action="store_true", help="adapt to each image by itself")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="default: 0 1 2")
    args = parser.parse_args()
    scale = int(load_model(args.model).options["scale"])
    runs: dict[tuple[str, str, str, str, int], dict[str, Any]] = {}
    asked = [
        (method, test_set, degradation, group, seed)
        for test_set, folder in map(named_folder, args.sets)
        for degradation in args.degradations
        for group in _groups(pairs_of(folder, DEGRADATIONS[degradation], scale, args.limit), args.each)
        for method in args.methods
        for seed in args.seeds
    ]
    for method, test_set, degradation, (name, pairs), seed in tqdm(asked, unit="adaptation"):
        path = args.output / test_set / degradation.replace(" ", "_").replace("/", "-") / name / f"{method}_{seed}.json"
        if not path.exists():
            write_whole(path, json.dumps(adapt(method, pairs, seed, args, DEGRADATIONS[degradation]), indent=1))
        runs[method, test_set, degradation, name, seed] = json.loads(path.read_text(encoding="utf-8"))
    cpu = [run["cpu_seconds"] for key, run in runs.items() if key[0] == DEFAULT] or [float("nan")]
    what = "each image by itself" if args.each else "all images of a set at once"
    tables = f"{gains_table(runs)}\n\n(b) The guard\n\n{guard_table(runs)}\n\n{judges_table(runs)}"
    text = (
        f"{args.model}, references {args.references}, {what}; seeds {', '.join(map(str, args.seeds))}. Gains in PSNR-Y (dB), "
        f"with half the width of the 95 % interval by Student's t.\n\n{tables}\n\n(c) {DEFAULT}: "
        f"{np.mean(cpu):.0f} CPU seconds on average, at most {np.max(cpu):.0f}; peak memory "
        f"{max(run['peak_mib'] for run in runs.values()):.0f} MiB.\n"
    )
    write_whole(args.output / "adapting.md", text)
    print(text)


def _groups(pairs: list[tuple[str, Tensor, Tensor]], each: bool) -> list[tuple[str, list[tuple[str, Tensor, Tensor]]]]:
    return [(pair[0], [pair]) for pair in pairs] if each else [("all", pairs)]


if __name__ == "__main__":
    main()
