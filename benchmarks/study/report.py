"""Compare the trained networks for each seed, and summarise over the seeds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from scipy import stats

from benchmarks.study.methods import Budget, Method, untrained_network
from lightbsr_model.evaluation.analysis.codes import collect_codes
from lightbsr_model.evaluation.analysis.probing import Knowledge
from lightbsr_model.evaluation.analysis.report import COLUMNS, write_analysis
from lightbsr_model.evaluation.analysis.settings import AnalysisSettings
from lightbsr_model.evaluation.comparison.methods import NetworkRestoration
from lightbsr_model.evaluation.comparison.report import write_report
from lightbsr_model.evaluation.comparison.running import Results, run_comparison
from lightbsr_model.evaluation.comparison.settings import Settings
from lightbsr_model.evaluation.model_entries import ModelEntry

PRESETS = ("iso_1.2", "iso_2.4", "iso_3.6")
PAIRS = (
    ("student", "student_no_contrast", "contrast in the teacher"),
    ("student", "no_distillation", "distillation, and the teacher's start"),
    ("student", "no_distillation_twice", "the same, against as many iterations"),
    ("student", "kdsr_student", "LightBSR against KDSR"),
    ("student", "dasr", "LightBSR against DASR"),
    ("student", "cdcl", "LightBSR against CdCL"),
    ("student", "mrda_student", "LightBSR against MRDA"),
    ("student", "dssr", "LightBSR against DSSR"),
    ("student", "lce", "LightBSR against LCE"),
    ("student", "msrresnet", "LightBSR against a network that is not blind"),
    ("no_distillation", "dasr", "one training each, LightBSR against DASR"),
    ("no_distillation", "cdcl", "one training each, LightBSR against CdCL"),
    ("no_distillation", "dssr", "one training each, LightBSR against DSSR"),
    ("no_distillation", "lce", "one training each, LightBSR against LCE"),
    ("no_distillation", "msrresnet", "one training each, LightBSR against a network that is not blind"),
)
"""Reported differences: one method, the other, and what the difference measures."""

SIGMAS = (0.4, 0.9, 1.4, 1.9, 2.4, 2.9, 3.4, 3.9)


def over_seeds(values: Sequence[float]) -> tuple[float, float]:
    """Mean, and half the width of its 95 % interval by Student's t (NaN for a single value)."""
    if len(values) < 2:
        return float(values[0]), float("nan")
    half = stats.t.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) / np.sqrt(len(values))
    return float(np.mean(values)), float(half)


def shown(values: Sequence[float], decimals: int = 2, sign: str = "") -> str:
    """What :func:`over_seeds` gives, as text; of a single value that value.

    Args:
        values: One per seed.
        decimals: Of both numbers.
        sign: ``+`` shows the sign of a positive mean too.
    """
    mean, half = over_seeds(values)
    return f"{mean:{sign}.{decimals}f}" + ("" if np.isnan(half) else f" ± {half:.{decimals}f}")


def report(
    methods: Sequence[Method],
    encoders: Sequence[Method],
    seeds: Sequence[int],
    budget: Budget,
    sets: Mapping[str, str],
    out: Path,
) -> None:
    """Compare and analyse the networks of every seed; write ``study.md`` and the pages of each seed."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    compared = {seed: compare(methods, seed, sets, out, device) for seed in seeds}
    known = {seed: _analyse(methods, encoders, seed, budget, sets, out, device) for seed in seeds}
    parts = [
        budget_words(budget, seeds),
        *(quality_table(methods, compared, set_name) for set_name in sets),
        difference_table(methods, compared, sets),
        _knowledge_table(known),
    ]
    text = "\n\n".join(parts) + "\n"
    (out / "study.md").write_text(text, encoding="utf-8")
    print(text)


def _checkpoint(out: Path, seed: int, name: str) -> str:
    return str(out / f"seed{seed}/experiments/{name}/models/net_g_latest.pth")


def compare(methods: Sequence[Method], seed: int, sets: Mapping[str, str], out: Path, device: torch.device) -> Results:
    """Compare the networks of one seed, and write its page."""
    entries = [ModelEntry("bicubic", network={"type": "BicubicUpsampler", "scale": 4})]
    for method in methods:
        # The options of BasicSR's archs cannot be inferred from their weights.
        network = {"type": "MSRResNet", "upscale": 4} if method.name == "msrresnet" else None
        path = _checkpoint(out, seed, method.name)
        if network is not None:
            weights = torch.load(path, weights_only=True)["params"]
            blocks = {key.split(".")[1] for key in weights if key.startswith("body.")}
            network.update(num_feat=weights["conv_first.weight"].shape[0], num_block=len(blocks))
        entries.append(ModelEntry(method.name, network=network, path=path))
    settings = Settings(
        f"seed {seed}", 4, sets, PRESETS, tuple(entries), reference="student" if _has(methods, "student") else None
    )
    folder = out / f"seed{seed}/comparison"
    results = run_comparison(settings, folder, device)
    write_report(results, folder, device)
    return results


def _has(methods: Iterable[Method], name: str) -> bool:
    return any(method.name == name for method in methods)


def _analyse(
    methods: Sequence[Method],
    encoders: Sequence[Method],
    seed: int,
    budget: Budget,
    sets: Mapping[str, str],
    out: Path,
    device: torch.device,
) -> dict[str, Knowledge]:
    """Analyse the images of all test sets, which no training used."""
    images = out / "images"
    images.mkdir(exist_ok=True)
    for name, folder in sets.items():
        for path in sorted(Path(folder).iterdir()):
            link = images / f"{name}_{path.name}"
            if not link.exists():
                link.symlink_to(path)
    entries = []
    for method in encoders:
        network = untrained_network(method.name, budget)
        entries.append(ModelEntry(f"{method.label}, before", network=network))
        path = _checkpoint(out, seed, method.name)
        entries.append(ModelEntry(f"{method.label}, after contrast alone", path=path))
    if _has(methods, "student"):
        entries.append(ModelEntry("LightBSR, before", network=untrained_network("student", budget)))
    entries += [
        ModelEntry(f"{method.label}, trained", path=_checkpoint(out, seed, method.name))
        for method in methods
        if method.is_conditioned
    ]
    settings = AnalysisSettings(f"seed {seed}", 4, str(images), tuple(entries), SIGMAS, seed=seed)
    found = {}
    for entry in entries:
        torch.manual_seed(seed)
        found[entry.name] = (NetworkRestoration(entry, 4, device), None)
    table = write_analysis(settings, collect_codes(settings, found), out / f"seed{seed}/analysis")
    keys = {label: key for key, label in COLUMNS.items()}
    empty = dict.fromkeys(COLUMNS)
    return {
        name: Knowledge(
            **{**empty, **{keys[label]: cell.value for label, cell in zip(table.columns, cells, strict=True)}}  # type: ignore[arg-type]
        )
        for name, cells in table.rows
    }


def budget_words(budget: Budget, seeds: Sequence[int]) -> str:
    """The budget in a paragraph."""
    encoders = (
        f"Encoders trained by contrast alone: {budget.encoder_iterations} iterations, batch {budget.encoder_batch}. "
        if budget.encoder_iterations
        else ""
    )
    return (
        f"{budget.iterations} iterations per training, batch {budget.batch}, LR patches of {budget.patch}, {budget.size} "
        f"networks with a {budget.start} start, Adam at {budget.lr:g} with a warm-up and a cosine for all, {budget.preset}; "
        f"{'' if budget.amp == 'off' else budget.amp + ' throughout; '}seeds {', '.join(map(str, seeds))}. "
        f"{encoders}Values are means over seeds, with half the width of the 95 % interval by Student's t."
    )


def _mean_psnr(results: Results, name: str, set_name: str, preset: str) -> float:
    return float(np.mean(results.values(set_name, preset, "psnr_y")[name]))


def quality_table(methods: Sequence[Method], compared: Mapping[int, Results], set_name: str) -> str:
    """PSNR-Y on a set, over the seeds."""
    lines = [
        f"| {set_name}, PSNR-Y (dB) | sigma 1.2 | sigma 2.4 | sigma 3.6 | Parameters (M) | GMACs | trainings |",
        "|---|---|---|---|---|---|---|",
    ]
    costs = next(iter(compared.values())).costs
    for name, label, trainings in [
        ("bicubic", "bicubic", 0),
        *((each.name, each.label, each.trainings) for each in methods),
    ]:
        cells = [shown([_mean_psnr(each, name, set_name, preset) for each in compared.values()]) for preset in PRESETS]
        cost = costs[name]
        lines.append(
            f"| {label} | {' | '.join(cells)} | {cost.parameters / 1e6:.2f} | {cost.gmacs:.1f} | {trainings} |"
        )
    return "\n".join(lines)


def difference_table(
    methods: Sequence[Method],
    compared: Mapping[int, Results],
    sets: Mapping[str, str],
    pairs: Sequence[tuple[str, str, str]] = PAIRS,
) -> str:
    """Differences of PSNR-Y between methods, paired by seed; of pairs that were both trained."""
    lines = ["| difference in PSNR-Y (dB) | " + " | ".join(f"{name}, mean of the sigmas" for name in sets) + " |"]
    lines.append("|---|" + "---|" * len(sets))
    for one, other, words in pairs:
        if not (_has(methods, one) and _has(methods, other)):
            continue
        cells = [shown([_gain(each, one, other, name) for each in compared.values()]) for name in sets]
        lines.append(f"| {words} ({one} minus {other}) | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _gain(results: Results, one: str, other: str, set_name: str) -> float:
    return float(
        np.mean([_mean_psnr(results, one, set_name, p) - _mean_psnr(results, other, set_name, p) for p in PRESETS])
    )


def _knowledge_table(known: Mapping[int, Mapping[str, Knowledge]]) -> str:
    first = next(iter(known.values()))
    asked = [key for key in COLUMNS if any(getattr(each, key) is not None for each in first.values())]
    lines = ["| representation | " + " | ".join(COLUMNS[key] for key in asked) + " |", "|---|" + "---|" * len(asked)]
    for name in first:
        cells = [shown([getattr(each[name], key) for each in known.values()]) for key in asked]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)
