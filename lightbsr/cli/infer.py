"""``lightbsr infer``: restore images with a trained model."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import Any

from lightbsr.cli.infer_files import destination, find_inputs, plan, refuse_empty
from lightbsr.cli.infer_run import DEFAULT_QUALITY, Report, Writing, restore_all
from lightbsr_arch.errors import CommandFailed, CommandStopped, ImageError, MissingFileError, OptionError
from lightbsr_arch.inference.image_files import READABLE, read_picture
from lightbsr_arch.inference.input_files import read_file
from lightbsr_arch.inference.upscaler import PRECISIONS, Upscaler
from lightbsr_arch.weights.containers import path_of
from lightbsr_arch.weights.model_files import DEFAULT_MODEL, default_model


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="lightbsr infer",
        description="Enlarge and restore images: PNG, JPEG, WebP, TIFF and BMP, 8 and 16 bit, with alpha and colour "
        "profile.",
        epilog="Pictures whose result is there already are skipped. Ends with 1 if any failed; the others are done.",
    )
    add = parser.add_argument
    add("inputs", nargs="+", metavar="IN", help="files, folders (with theirs), patterns, or - for standard input")
    add("-o", "--output", metavar="OUT", help="folder, or file for one image, or - (default: beside each input)")
    add("-m", "--model", help=f"model file, or name of a model in the package (default: {DEFAULT_MODEL})")
    add("--scale", type=int, metavar="N", help="without -m: the model in the package that enlarges by N")
    add(
        "--network",
        metavar="YAML",
        help="for a model of another arch of BasicSR: its `type` and options, or an option file with `network_g`",
    )
    add("--allow-local-code", action="store_true", help="let --network name classes that are not of installed packages")
    add("--suffix", help="appended to names (default: _x and the scale; none for -o FILE)")
    add("--ext", metavar="EXT", help="png, jpg, webp, tif or bmp (default: the input's)")
    add("--overwrite", action="store_true", help="replace results that are there")
    add(
        "--quality",
        type=int,
        metavar="Q",
        help=f"of JPEG and WebP, 1 to 100 (default: {DEFAULT_QUALITY}, and lossless WebP stays lossless)",
    )
    add("--device", default="auto", help="auto, cpu, cuda, cuda:N or mps (default: %(default)s)")
    add("--precision", choices=tuple(PRECISIONS), default="fp32", help="what to compute in (default: %(default)s)")
    add("--tile", default="auto", metavar="auto|N|off", help="side of the parts in input pixels (default: %(default)s)")
    add("--self-ensemble", action="store_true", help="average over eight orientations: better, eight times as slow")
    add(
        "--downscale-first",
        type=float,
        default=1.0,
        metavar="F",
        help="shrink by F first, for large images that are blurred all over",
    )
    add("--steps", type=int, metavar="N", help="passes of a diffusion network (default: its own number)")
    add("--seed", type=int, metavar="S", help="of a diffusion network's noise (default: 0)")
    add("--compare", action="store_true", help="also write NAME_compare.png and .html: bicubic, result and strengths")
    add("--show-degradation", action="store_true", help="print the estimated degradation")
    add(
        "--strength",
        type=float,
        default=1.0,
        metavar="S",
        help="1: as the network sees an image, 0: as if it were a clean one; below 1 twice as slow (default: %(default)g)",
    )
    add(
        "--as-if",
        metavar="WHAT",
        help='take images for this degradation: an image that looks like it, or words that the model knows: "jpeg 60" the '
        'default one, "blur 2.0" lightbsr_small_x4',
    )
    return parser


def run(command: str, arguments: Sequence[str]) -> None:
    """Run the command.

    Raises:
        OptionError: Something is wrong with what was given.
        CommandFailed: An image failed.
        CommandStopped: Ctrl-C or SIGTERM stopped it.
    """
    args = _parser().parse_args(arguments)
    if args.quality is not None and not 1 <= args.quality <= 100:
        raise OptionError(f"--quality: expected 1 to 100, got {args.quality}.")
    for given in args.inputs:
        refuse_empty(IN=given)
    refuse_empty(**{"-o": args.output, "-m": args.model, "--network": args.network, "--ext": args.ext})
    refuse_empty(**{"--as-if": args.as_if})
    if args.model is None and args.network is None:
        args.model = DEFAULT_MODEL if args.scale is None else default_model(args.scale)
    upscaler = _upscaler(args)
    if args.scale not in (None, upscaler.scale):
        raise OptionError(f"--scale {args.scale}: {args.model} enlarges by {upscaler.scale}; leave out --scale, or -m.")
    place = destination(
        args.output, args.inputs, f"_x{upscaler.scale}" if args.suffix is None else args.suffix, args.ext
    )
    if place.stream and args.compare:
        raise OptionError("--compare writes files; it does not go with standard output.")
    search = find_inputs(args.inputs, place.folder)
    jobs = plan(search, place)
    if args.show_degradation and upscaler.probe is None:
        told = f"{args.model} holds no probe: what its encoder sees cannot be put into words."
        print(told, file=sys.stderr if place.stream else sys.stdout)
    if upscaler.size_multiple > 1:
        print(
            f"{args.network}: this network takes sides that are multiples of {upscaler.size_multiple}: images are padded by "
            "reflection, and the results cropped.",
            file=sys.stderr,
        )
    for line in search.left_out:
        print(line, file=sys.stderr)
    report, writing = Report(), Writing(args.quality, args.overwrite, args.compare, place.stream)
    try:
        restore_all(jobs, upscaler, writing, args.show_degradation and upscaler.probe is not None, report)
    except KeyboardInterrupt as error:
        raise CommandStopped(f"stopped; {_summary(report, len(jobs))}") from error
    if report.failed:
        raise CommandFailed("\n".join([_summary(report, len(jobs)), *(f"  {a}: {b}" for a, b in report.failed)]))
    if not place.stream:
        print(_summary(report, len(jobs)))


def _upscaler(args: argparse.Namespace) -> Upscaler:
    options = {
        "device": args.device,
        "precision": args.precision,
        "tile": _tile(args.tile),
        "self_ensemble": args.self_ensemble,
        "downscale_first": args.downscale_first,
        "steps": args.steps,
        "seed": args.seed,
        "strength": args.strength,
        "as_if": None if args.as_if is None else _as_if(args.as_if),
    }
    if args.network is None:
        return Upscaler.from_checkpoint(args.model, **options)
    # BasicSR makes the network; without this flag nothing here needs it. BasicSR does not import without lightbsr_model.
    import lightbsr_model  # noqa: F401
    from lightbsr.cli.infer_network import upscaler_of

    return upscaler_of(args, **options)


def _as_if(given: str) -> Any:
    """A reference image where there is such a file, else words."""
    path = path_of(given)
    if path.is_dir():
        raise OptionError(f'--as-if {given}: a folder; name one image, or words and numbers such as "blur 2.0".')
    if not path.is_file():
        if path.suffix.lower() in READABLE:
            raise MissingFileError(f"--as-if {given}: there is no such image.")
        return given
    try:
        return read_picture(read_file(path)).pixels
    except (ImageError, OSError) as error:
        raise OptionError(f"--as-if {given}: {error}") from error


def _tile(given: str) -> str | int:
    if given in ("auto", "off"):
        return given
    try:
        return int(given)
    except ValueError as error:
        raise OptionError(f"--tile: expected auto, off or a number, got {given!r}.") from error


def _summary(report: Report, count: int) -> str:
    parts = [f"{len(report.done)} done"]
    if report.skipped:
        parts.append(f"{len(report.skipped)} skipped (the result is there; --overwrite replaces it)")
    if report.failed:
        parts.append(f"{len(report.failed)} failed")
    rest = count - len(report.done) - len(report.skipped) - len(report.failed)
    if rest:
        parts.append(f"{rest} not reached")
    return f"{count} image{'s' * (count != 1)}: {', '.join(parts)}."
