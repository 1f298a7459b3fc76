"""``lightbsr adapt``: fit a model to one's own images, of which there are no sharp originals."""

from __future__ import annotations

import argparse
import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

from tqdm import tqdm

from lightbsr.cli.infer_files import STANDARD_STREAM, find_inputs, refuse_empty
from lightbsr_arch.errors import CommandFailed, CommandStopped, OptionError
from lightbsr_arch.inference.devices import find_device
from lightbsr_arch.methods.registry import adaptation, adaptation_names
from lightbsr_arch.saving import check_writable, write_whole
from lightbsr_arch.weights.containers import path_of
from lightbsr_arch.weights.fingerprint import weights_sha256
from lightbsr_arch.weights.model_card import ModelCard
from lightbsr_arch.weights.model_files import SMALL_MODEL, Model, load_model, save_model

_DEFAULT = "references"
_STATE_PER_MODEL = 5
"""Copies of the weights that a state holds: those that learn, the best ones, two of the optimiser; and the result."""

_MOST_NAMES = 20


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="lightbsr adapt",
        description="Fit a model to LR images of one camera or archive. It learns from sharp images of anything else, in the "
        "degradation of the given images. A guard judges it by images that it has not learnt from: where that is not better, "
        "nothing is written. Run again, it goes on where it was stopped.",
        epilog="Ends with 0 if the adapted model was written, with 1 if it is not better.",
    )
    add = parser.add_argument
    add("images", nargs="+", metavar="IMAGES", help="LR images: files, folders (with theirs) or patterns")
    add(
        "-m",
        "--model",
        default=SMALL_MODEL,
        help="model file, or name of a model in the package (default: %(default)s)",
    )
    add("-o", "--output", required=True, metavar="FILE", help="the adapted model, a .safetensors")
    add(
        "--references",
        default="bundled",
        metavar="SHARP",
        help="folder or LMDB of sharp images of anything (default: scikit-image's)",
    )
    add("--method", choices=adaptation_names(), default=_DEFAULT, help="how to adapt (default: %(default)s)")
    add("--iterations", type=int, metavar="N", help="number of steps (default: the method's)")
    add("--seed", type=int, default=0, help="of all that is drawn (default: %(default)s)")
    add("--device", default="auto", help="auto, cpu, cuda, cuda:N or mps (default: %(default)s)")
    add("--report", metavar="FILE", help="the page that shows what was measured (default: the output's name, .html)")
    add("--reconstructor", metavar="FILE", help="network that degrades, instead of the one in the package")
    add("--overwrite", action="store_true", help="replace files that are there")
    return parser


def run(command: str, arguments: Sequence[str]) -> None:
    """Run the command.

    Raises:
        OptionError: Something is wrong with what was given.
        CommandFailed: The adapted model is not better, or cannot be written.
        CommandStopped: Ctrl-C or SIGTERM stopped it; the next call goes on.
    """
    args = _parser().parse_args(arguments)
    given = {"-o": args.output, "-m": args.model, "--references": args.references, "--report": args.report}
    refuse_empty(**given, **{"--reconstructor": args.reconstructor}, **{"IMAGES": min(args.images, key=len)})
    if args.iterations is not None and args.iterations < 1:
        raise OptionError(f"--iterations: expected a number from 1 up, got {args.iterations}.")
    output = path_of(args.output)
    report = path_of(args.report) if args.report is not None else output.with_suffix(".html")
    _check_output(output, report, args.overwrite)
    device = find_device(args.device)
    model = load_model(args.model)
    _check_room(output, model)
    if STANDARD_STREAM in args.images:
        raise OptionError(
            "IMAGES: expected files, folders or patterns; standard input is read by `lightbsr infer` alone."
        )
    search = find_inputs(args.images, None)
    for line in search.left_out:
        print(line, file=sys.stderr)
    adapt_files([Path(str(found)) for found in search.found], model, args, output, report, device)


def adapt_files(
    paths: Sequence[Path], model: Model, args: argparse.Namespace, output: Path, report: Path, device: Any
) -> None:
    """Adapt a model to image files, and write it and the report."""
    # BasicSR, which these need, does not import without it.
    import lightbsr_model  # noqa: F401
    from lightbsr_model.adaptation.saved_state import SavedState
    from lightbsr_model.adaptation.targets import TargetImages
    from lightbsr_model.evaluation.adaptation_page import adaptation_page

    make: Any = adaptation(args.method)
    method = make(args.references, args.seed, args.iterations, reconstructor=args.reconstructor)
    targets = TargetImages.read(paths, args.seed)
    _warn(method.recipe, targets)
    seen = f"{_noise_in_words(targets.noise)}, {_jpeg_in_words(targets.jpeg)}"
    print(f"{len(paths)} image{'s' * (len(paths) != 1)}: {seen}. Preparing ...", flush=True)
    adapting = method.begin(model.net.to(device), targets)
    for name in method.references_of(model.net.scale).too_small[:_MOST_NAMES]:
        print(f"{name}: left out of the references, it is too small", file=sys.stderr)
    facts = {**_facts(args, paths, adapting), "seen in the images": seen}
    own = (
        {}
        if args.reconstructor is None
        else {"reconstructor": sha256(path_of(args.reconstructor).read_bytes()).hexdigest()}
    )
    state = SavedState(output, {**facts, "lr": method.lr, **own}, adapting)
    if told := state.resume():
        print(told)
    first, began = adapting.state.iteration, time.monotonic()

    def save(content: Mapping[str, Any]) -> None:
        state.save(content)
        if not sys.stderr.isatty():
            at = adapting.state.iteration
            left = tqdm.format_interval((time.monotonic() - began) / (at - first) * (adapting.iterations - at))
            print(f"step {at} of {adapting.iterations}, {left} left: {_gains(adapting.state)}", flush=True)

    try:
        with tqdm(total=adapting.iterations, initial=first, unit="step", disable=not sys.stderr.isatty()) as bar:
            outcome = adapting.run(lambda at: _advance(bar, at), save)
    except KeyboardInterrupt as error:
        raise CommandStopped(
            f"stopped after step {adapting.state.iteration} of {adapting.iterations}; the same command "
            + (f"goes on from the last measurement ({state.path})." if state.path.exists() else "begins anew.")
        ) from error
    if outcome.verdict.better or args.report is not None:
        write_whole(report, adaptation_page(outcome, facts, max(targets.noise)))
    if not outcome.verdict.better:
        state.remove()
        raise CommandFailed(outcome.verdict.reason)
    measured = {
        "gain_db": {name: round(value, 3) for name, value in outcome.verdict.gains.items()},
        "steps": outcome.iteration,
        "before": _rounded(outcome.before.plain()),
        "after": _rounded(outcome.after.plain()),
        "noise": round(max(targets.noise), 1),
        "jpeg_quality": sorted({quality for quality in targets.jpeg if quality}),
        "parent_sha256": weights_sha256(model.net.state_dict()),
    }
    save_model(output, outcome.net.state_dict(), _card(model.card, args, paths, measured))
    state.remove()
    print(f"{outcome.verdict.reason}\n{output}: {output.stat().st_size / 1e6:.2f} MB; report: {report}")


def _advance(bar: Any, state: Any) -> None:
    if state.record:
        bar.set_postfix_str(_gains(state), refresh=False)
    bar.update(state.iteration - bar.n)


def _gains(state: Any) -> str:
    """Of the last measurement."""
    return ", ".join(f"{name} {value:+.2f} dB" for name, value in state.record[-1]["gains"].items())


def _check_output(output: Path, report: Path, overwrite: bool) -> None:
    if output.suffix.lower() != ".safetensors":
        raise OptionError(f"-o {output}: expected a name that ends with .safetensors.")
    if report == output or report.suffix.lower() not in (".html", ".htm"):
        raise OptionError(f"--report {report}: expected a name that ends with .html.")
    for file in (output, report):
        if file.is_dir():
            raise OptionError(f"{file}: is a folder; name a file.")
        if file.exists() and not overwrite:
            raise OptionError(f"{file} is there already; --overwrite replaces it.")
    check_writable(output, report)


def _check_room(output: Path, model: Model) -> None:
    size = _STATE_PER_MODEL * sum(value.numel() * value.element_size() for value in model.net.state_dict().values())
    free = shutil.disk_usage(next(folder for folder in output.absolute().parents if folder.exists())).free
    if free < size:
        raise OptionError(
            f"-o {output}: {free / 1e6:.0f} MB are free there, and {size / 1e6:.0f} MB are needed: make room first."
        )


def _warn(recipe: Any, targets: Any) -> None:
    if recipe.most_noise is None:
        return
    noise = max(targets.noise)
    found = [f"noise of about {noise:.0f} grey levels"] * (noise > recipe.most_noise) + ["JPEG blocks"] * any(
        targets.jpeg
    )
    if found:
        print(
            f"These images have {' and '.join(found)}, which --method {recipe.name} learns to bring back: --method {_DEFAULT} "
            "does not.",
            file=sys.stderr,
        )


def _noise_in_words(noise: Sequence[float]) -> str:
    strongest = max(noise)
    return f"noise of up to about {strongest:.0f} grey levels" if strongest else "no noise that stands out"


def _rounded(figures: Mapping[str, Any]) -> dict[str, Any]:
    """The guard's figures, to three decimals."""
    return {
        name: _rounded(value) if isinstance(value, Mapping) else None if value is None else round(value, 3)
        for name, value in figures.items()
    }


def _jpeg_in_words(qualities: Sequence[int]) -> str:
    known = sorted({quality for quality in qualities if quality})
    if not known:
        return "no JPEG"
    some = "" if all(qualities) else "some "
    return f"{some}JPEG of quality {known[0]}" + (f" to {known[-1]}" if len(known) > 1 else "")


def _facts(args: argparse.Namespace, paths: Sequence[Path], adapting: Any) -> dict[str, str]:
    names = ", ".join(path.name for path in paths[:_MOST_NAMES])
    learn, held = adapting.references.counts
    return {
        "model": str(args.model),
        "images": names if len(paths) <= _MOST_NAMES else f"{names} and {len(paths) - _MOST_NAMES} more",
        "method": args.method,
        "references": f"{args.references}: {learn} to learn from, {held} to judge by",
        "steps": str(adapting.iterations),
        "seed": str(args.seed),
    }


def _card(parent: ModelCard, args: argparse.Namespace, paths: Sequence[Path], measured: Mapping[str, Any]) -> ModelCard:
    """The parent's card, with what was done to it; its probe holds, since the encoder is the parent's."""
    adapted = {
        "parent": Path(args.model).name,
        "images": [path.name for path in paths[:_MOST_NAMES]],
        "number_of_images": len(paths),
        "method": args.method,
        "references": Path(args.references).name,
        "seed": args.seed,
        **measured,
    }
    return replace(parent, training={**parent.training, "adapted": adapted})
