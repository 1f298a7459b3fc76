"""``lightbsr finetune``: from one's own sharp images and a model to a better model for them, or none."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import yaml

from lightbsr.cli.compare import choose_device
from lightbsr.cli.demo_progress import DemoProgress, Stage
from lightbsr.cli.infer_files import refuse_empty
from lightbsr.cli.steps import run_step
from lightbsr_arch.display import printable_lines
from lightbsr_arch.errors import CommandFailed, OptionError
from lightbsr_arch.saving import check_writable, new_file, write_whole
from lightbsr_arch.weights.containers import path_of
from lightbsr_arch.weights.model_files import DEFAULT_MODEL, Model, load_model, save_model
from lightbsr_model.evaluation import finetuning
from lightbsr_model.evaluation.comparison.report import write_report
from lightbsr_model.evaluation.comparison.running import run_comparison

_LONGEST_LIST = 10


def run(command: str, arguments: Sequence[str]) -> None:
    """Train a model further, and write it if it is better.

    Raises:
        OptionError: Something is wrong with what was given.
        CommandFailed: The training failed, or the model is not better; nothing is written then.
    """
    args = _parse(command, arguments)
    output = (
        path_of(args.output) if args.output is not None else Path(f"{Path(args.images).absolute().name}.safetensors")
    )
    if output.suffix.lower() != ".safetensors":
        raise OptionError(f"-o {output}: expected a name that ends with .safetensors.")
    if output.exists() and not args.overwrite:
        raise OptionError(f"{output} is there already; --overwrite replaces it.")
    check_writable(output)
    model = load_model(args.model)
    scale = model.options["scale"]
    preset = finetuning.setting_of(model, args.preset)
    folder: Path = (args.folder or Path("finetune") / output.stem).absolute()
    division = finetuning.divide(Path(args.images), folder, scale)
    _tell(args, division, preset)
    training = finetuning.Training(args.iterations, args.batch, args.lr, args.seed)
    stages = (
        Stage(f"training on {division.learnt_from} images", 8, ((args.iterations, 0.3 * args.iterations),)),
        Stage(f"comparison on crops of {division.kept} others", 20),
    )
    with DemoProgress(stages) as progress:
        progress.begin_stage()
        trained = _train(model, preset, division, training, folder, progress)
        progress.begin_stage()
        settings = finetuning.comparison_settings(preset, scale, division, folder / "start.pth", trained)
        device = choose_device("auto")
        results = run_comparison(settings, folder / "comparison", device)
        page = write_report(results, folder / "comparison", device)[0]
    verdict = finetuning.judge(results, preset)
    print("PSNR-Y on the held-out images, against the model before, with 95 % intervals:")
    for line in verdict.words():
        print(f"  {line}")
    print(f"Page with tables and crops: {page}.")
    if not verdict.is_better:
        raise CommandFailed(
            f"not better than {args.model}: {output} is not written. More or more varied images, or more --iterations, may "
            f"help. `lightbsr export {trained} -o {output}` takes the weights nevertheless."
        )
    _write(output, model, trained, args, preset, division, verdict)
    print(f"{output}: better; {output.stat().st_size / 1e6:.2f} MB.")
    if model.card.probe is not None:
        print(
            f"The probe of {args.model} does not fit the new weights and is left out: "
            f"`lightbsr export {output} -o PROBED.safetensors --probe {args.images}` fits another."
        )


def _parse(command: str, arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog=f"lightbsr {command}",
        description="Train a model further on one's own sharp images, compare it on images that are held out, and write it "
        "if it is better for them. The same command again continues where it stopped.",
    )
    add = parser.add_argument
    add("images", metavar="IMAGES", help="folder of sharp images, as large as the result shall be")
    add(
        "-m",
        "--model",
        default=DEFAULT_MODEL,
        help="where to start: a model file or a bundled model (default: %(default)s)",
    )
    add("-o", "--output", metavar="FILE", help="the new model, .safetensors (default: the folder's name, here)")
    add("--preset", help="degradation to train under (default: what the model was trained for)")
    add("--iterations", type=int, default=1000, help="of the training (default: %(default)s)")
    add("--batch", type=int, default=8, help="patches per iteration (default: %(default)s)")
    add("--lr", type=float, default=1e-4, help="learning rate at the start (default: %(default)s)")
    add("--seed", type=int, default=0, help="of the training (default: %(default)s)")
    add(
        "--folder",
        type=Path,
        help="where option file, checkpoints and comparison go (default: finetune/NAME, FILE's name)",
    )
    add("--overwrite", action="store_true", help="replace FILE if it is there")
    args = parser.parse_args(arguments)
    refuse_empty(IMAGES=args.images, **{"-m": args.model, "-o": args.output})
    for name, least in (("iterations", 10), ("batch", 1), ("seed", 0)):
        if getattr(args, name) < least:
            raise OptionError(f"--{name}: expected {least} or more, got {getattr(args, name)}.")
    if not 0 < args.lr < 1:
        raise OptionError(f"--lr: expected more than 0 and less than 1, got {args.lr}.")
    return args


def _tell(args: argparse.Namespace, division: finetuning.Division, preset: str) -> None:
    if division.left_out:
        more = len(division.left_out) - _LONGEST_LIST
        print(f"{len(division.left_out)} images are left out:", file=sys.stderr)
        for line in division.left_out[:_LONGEST_LIST]:
            print(f"  {printable_lines(line)}", file=sys.stderr)
        if more > 0:
            print(f"  and {more} more", file=sys.stderr)
    print(
        f"{args.model} learns from {division.learnt_from} images under {preset}; {division.kept} are held out.",
        flush=True,
    )


def _train(
    model: Model,
    preset: str,
    division: finetuning.Division,
    training: finetuning.Training,
    folder: Path,
    progress: DemoProgress,
) -> Path:
    """Run the training; returns its last checkpoint."""
    start, option_file = folder / "start.pth", folder / "finetune.yml"
    _keep_another(folder, finetuning.fingerprint(model, preset, division, training))
    with new_file(start) as file:
        torch.save({"params": model.net.state_dict()}, file)
    options = finetuning.training_options(model, preset, division, start, training)
    write_whole(option_file, yaml.safe_dump(options, sort_keys=False))
    run_step(["train", "-opt", str(option_file), "--auto_resume"], folder / "finetune.log", progress)
    return folder / "experiments" / options["name"] / "models" / "net_g_latest.pth"


def _keep_another(folder: Path, fingerprint: str) -> None:
    """Move what another fine-tuning left out of the way: its checkpoints are not gone on with."""
    known = folder / "fingerprint.txt"
    if known.exists() and known.read_text(encoding="utf-8").strip() == fingerprint:
        return
    when = time.strftime("%Y%m%d_%H%M%S")
    for name in ("experiments", "comparison"):
        if (folder / name).exists():
            kept = folder / f"{name}_{when}"
            (folder / name).rename(kept)
            print(
                f"{folder / name} is of other images, another model or other settings: it is kept as {kept.name}.",
                file=sys.stderr,
            )
    write_whole(known, f"{fingerprint}\n")


def _write(
    output: Path,
    model: Model,
    trained: Path,
    args: argparse.Namespace,
    preset: str,
    division: finetuning.Division,
    verdict: finetuning.Verdict,
) -> None:
    said: dict[str, Any] = {
        "finetuned": {
            "parent": str(args.model),
            "images": division.learnt_from,
            "held_out": division.kept,
            "preset": preset,
            "iterations": args.iterations,
            "batch_size": args.batch,
            "lr": args.lr,
            "seed": args.seed,
            "psnr_y_gain": {name: round(gain.mean, 3) for name, gain in verdict.gains.items()},
        }
    }
    card = replace(model.card, setting=preset, training={**model.card.training, **said}, probe=None)
    save_model(output, load_model(trained).net.state_dict(), card)
