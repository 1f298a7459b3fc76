"""``lightbsr burst``: one image of a burst of frames."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lightbsr.cli.infer_files import refuse_empty
from lightbsr_arch.errors import CommandStopped, MissingFileError, OptionError
from lightbsr_arch.inference.burst_files import SUFFIXES, Sensor, files_of_burst, read_burst
from lightbsr_arch.inference.burst_restoring import (
    DEFAULT_TILE,
    MIN_AGREEMENT,
    AlignedBurst,
    align,
    plain_enlargement,
    restore_burst,
)
from lightbsr_arch.inference.devices import find_device
from lightbsr_arch.inference.image_writing import FORMATS, check_fit, write_picture
from lightbsr_arch.inference.tiles import SMALLEST_TILE
from lightbsr_arch.layers.camera import PATTERNS
from lightbsr_arch.saving import check_writable
from lightbsr_arch.weights.model_files import load_model

_NO_MODEL = (
    "-m: missing; no network of bursts comes with the package. docs/bursts.md names the recipes that train one (a very small "
    "one in three quarters of an hour on one CPU core); a checkpoint of a published code is taken as it is."
)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="lightbsr burst",
        description="Make one image, four times as large along each side, of a burst: RAW files (with rawpy), Bayer PNG or NPY "
        "files, packed 16-bit PNGs, or photos.",
        epilog="The first frame is the base, whose place the image has. Frames of another scene are left out, and named.",
    )
    add = parser.add_argument
    add("frames", nargs="+", metavar="FRAME", help="files, or one folder: its frames in the order of their names")
    add("-o", "--output", required=True, metavar="OUT", help=f"the image: {', '.join(FORMATS)}")
    add("-m", "--model", help="checkpoint or model file of a network that takes bursts; none comes with the package")
    add("--base", type=int, default=1, metavar="N", help="number of the frame that is the base, from 1 (default: 1)")
    add(
        "--pattern",
        choices=tuple(PATTERNS),
        help="Bayer pattern of one-channel PNG and NPY files; else PNGs are grey photos",
    )
    add("--black-level", type=float, default=0.0, metavar="X", help="value of black in those (default: 0)")
    add(
        "--white-level",
        type=float,
        metavar="X",
        help="value of white in those (default: the largest of the file's type)",
    )
    add(
        "--plain",
        nargs="?",
        const="network",
        choices=("network", "bicubic"),
        help="also write OUT_plain: the base frame alone, by the network or by bicubic interpolation (default: network)",
    )
    add(
        "--min-agreement",
        type=float,
        default=MIN_AGREEMENT,
        metavar="X",
        help="correlation with the base, once aligned, below which a frame is left out (default: %(default)s)",
    )
    add(
        "--tile",
        type=int,
        default=2 * DEFAULT_TILE,
        metavar="N",
        help="side of the parts in pixels (default: %(default)s)",
    )
    add("--depth", type=int, choices=(8, 16), default=8, help="bits per channel (default: %(default)s)")
    add("--device", default="auto", help="auto, cpu, cuda, cuda:N or mps (default: %(default)s)")
    add("--overwrite", action="store_true", help="replace results that are there")
    return parser


def run(command: str, arguments: Sequence[str]) -> None:
    """Run the command.

    Raises:
        OptionError: Something is wrong with what was given.
        CommandStopped: Ctrl-C or SIGTERM stopped it.
    """
    args = _parser().parse_args(arguments)
    refuse_empty(**{"-o": args.output, "-m": args.model})
    for given in args.frames:
        refuse_empty(FRAME=given)
    if args.model is None:
        raise OptionError(_NO_MODEL)
    if not -1 <= args.min_agreement <= 1:
        raise OptionError(f"--min-agreement: expected a correlation, from -1 to 1, got {args.min_agreement}.")
    if args.tile < 2 * SMALLEST_TILE:
        raise OptionError(f"--tile: expected {2 * SMALLEST_TILE} pixels or more, got {args.tile}.")
    targets = _targets(args)
    try:
        _restore(args, targets)
    except KeyboardInterrupt as error:
        raise CommandStopped("stopped; nothing was written") from error


def _restore(args: argparse.Namespace, targets: Sequence[Path]) -> None:
    started = time.monotonic()
    sensor = Sensor(args.pattern, args.black_level, args.white_level)
    paths = _base_first(_paths(args.frames), args.base)
    device = find_device(args.device)
    net: Any = load_model(args.model, command="burst").net.to(device)
    frames, base = read_burst(paths, sensor)
    height, width = (net.scale * side for side in frames.shape[2:])
    for target in targets:
        check_fit(target.suffix.lower(), width, height, alpha=False)
    if base.is_photo:
        print(
            f"{base.name}: a photo, whose values a camera has mixed already; RAW frames hold more.",
            file=sys.stderr,
        )
    burst = align(net, frames.to(device), [str(path) for path in paths], args.min_agreement)
    del frames
    for line in burst.left_out:
        print(line, file=sys.stderr)
    deep, tile = args.depth == 16, args.tile // 2
    write_picture(targets[0], restore_burst(net, burst, base.colours, tile, deep), overwrite=args.overwrite)
    taken = len(burst.frames)
    words = "its base alone" if taken == 1 else f"{taken} frames"
    print(f"{targets[0]}: {width}x{height} of {words}, {time.monotonic() - started:.1f} s")
    if args.plain is None:
        return
    alone = AlignedBurst(burst.frames[:1], burst.flow[:0], [])
    if args.plain == "network":
        pixels = restore_burst(net, alone, base.colours, tile, deep)
    else:
        pixels = plain_enlargement(alone.frames[0], base.colours, net.scale, deep)
    write_picture(targets[1], pixels, overwrite=args.overwrite)
    print(f"{targets[1]}: the base alone, by {'the network' if args.plain == 'network' else 'bicubic interpolation'}")


def _targets(args: argparse.Namespace) -> list[Path]:
    """Where results go, the plain one last.

    Raises:
        OptionError: A format that cannot be written, or a result that is there.
    """
    output = Path(args.output).expanduser()
    if output.suffix.lower() not in FORMATS:
        raise OptionError(f"-o {args.output}: expected the name of an image ({', '.join(FORMATS)}).")
    if args.depth == 16 and not FORMATS[output.suffix.lower()].deep:
        raise OptionError(f"--depth 16: {output.suffix} holds 8 bits per channel; take .png or .tif.")
    plain = [] if args.plain is None else [output.with_name(f"{output.stem}_plain{output.suffix}")]
    for target in (output, *plain):
        if target.exists() and not args.overwrite:
            raise OptionError(f"{target} is there; --overwrite replaces it.")
        check_writable(target)
    return [output, *plain]


def _paths(given: Sequence[str]) -> list[Path]:
    """The files of the frames.

    Raises:
        MissingFileError: One is missing.
        OptionError: A folder among several, a file of another kind, or one that is given twice.
    """
    paths = [Path(name).expanduser() for name in given]
    if len(paths) == 1 and paths[0].is_dir():
        return files_of_burst(paths[0])
    for path in paths:
        if path.is_dir():
            raise OptionError(f"{path}: a folder among other frames; name it alone, or name its files.")
        if not path.is_file():
            raise MissingFileError(
                f"{path}: there is no such file; leave it out to make the image of the other frames."
            )
        if path.suffix.lower() not in SUFFIXES:
            raise OptionError(f"{path}: expected a frame ({', '.join(sorted(SUFFIXES))}).")
    return paths


def _base_first(paths: Sequence[Path], base: int) -> list[Path]:
    if not 1 <= base <= len(paths):
        raise OptionError(f"--base: expected the number of a frame, 1 to {len(paths)}, got {base}.")
    return [paths[base - 1], *paths[: base - 1], *paths[base:]]
