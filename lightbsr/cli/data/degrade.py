"""``lightbsr data degrade``: write the LR images that a test sees."""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from lightbsr.cli.data.flags import add_writing, print_left_out
from lightbsr_arch.errors import OptionError
from lightbsr_model.data.blind_degradation_benchmark_dataset import BlindDegradationBenchmarkDataset
from lightbsr_model.data.degrading import LrRendering, degradation_files, recipe_of, tasks_of
from lightbsr_model.data.image_sources import backend_of
from lightbsr_model.data.set_making import make_set
from lightbsr_model.data.set_writer import SetWriter
from lightbsr_model.degradation import PRESETS
from lightbsr_model.option_files.document import parse_document


def run(command: str, arguments: Sequence[str]) -> None:
    """Write the LR images of one or several presets.

    Raises:
        OptionError: An unknown preset, a source that does not exist, an output that is taken.
        CommandFailed: Images that cannot be used, or no disk space.
    """
    parser = argparse.ArgumentParser(
        prog=f"lightbsr {command}",
        description="Write the LR images of a preset as PNG, the very pixels that a BlindDegradationBenchmarkDataset gives; "
        "beside them, in info/ of a folder or in the LMDB's, degradation.json (every kernel, noise level, JPEG quality, seed, "
        "version, and the method in words) and kernels/ (their images).",
        epilog="Presets: " + ", ".join(PRESETS),
    )
    parser.add_argument("source", type=Path, metavar="HR", help="folder or LMDB of HR images")
    parser.add_argument("-o", "--output", type=Path, required=True, help="an LMDB if it ends in .lmdb, else a folder")
    parser.add_argument(
        "--preset", nargs="+", required=True, metavar="NAME", help="several make folders of their names in the output"
    )
    parser.add_argument("--scale", type=int, help="the factor (default: that in the preset's name, or 4)")
    parser.add_argument("--border", choices=("clamp", "symmetric"), default="clamp", help="default: %(default)s")
    parser.add_argument("--seed", type=int, default=0, help="of noise and drawn parameters (default: %(default)s)")
    parser.add_argument(
        "--set",
        nargs="+",
        default=[],
        metavar="NAME=VALUE",
        help="override parameters of the preset: noise_level=5, sigma=[1,2], jpeg=[30,95]",
    )
    add_writing(parser)
    args = parser.parse_args(arguments)
    overrides = dict(_parameter(text) for text in args.set)
    several = len(args.preset) > 1
    # Of a folder's name all belongs to the name: v1.5 has no suffix.
    folder, suffix = (args.output.with_suffix(""), ".lmdb") if backend_of(args.output) == "lmdb" else (args.output, "")
    for preset in args.preset:
        output = folder / f"{preset}{suffix}" if several else args.output
        in_name = re.search(r"_x(\d)$", preset)
        _degrade(
            {
                "name": args.source.name,
                "dataroot_gt": str(args.source),
                "io_backend": {"type": backend_of(args.source)},
                "preset": preset,
                "degradation": overrides,
                "scale": args.scale or (int(in_name[1]) if in_name else 4),
                "border": args.border,
                "seed": args.seed,
            },
            output,
            args,
        )


def _degrade(options: dict[str, Any], output: Path, args: argparse.Namespace) -> None:
    dataset = BlindDegradationBenchmarkDataset(options)
    recipe = recipe_of(options)
    writer = SetWriter(output, {**recipe, "png_level": args.png_level}, args.png_level)
    made = make_set(
        writer,
        tasks_of(dataset),
        LrRendering(dataset, args.png_level),
        args.workers,
        args.skip_bad,
        output.name,
        partial(degradation_files, recipe),
    )
    before = "finished before, " if made.was_finished else ""
    print(f"{output}: {before}{made.record['images']} LR images, {options['preset']}, x{options['scale']}.")
    print_left_out(made)


def _parameter(text: str) -> tuple[str, Any]:
    name, separator, value = text.partition("=")
    if not separator:
        raise OptionError(f"--set: expected NAME=VALUE, got {text!r}.")
    document = parse_document(f"{name}: {value}")
    if document.problems or name not in document.options:
        raise OptionError(f"--set: expected NAME=VALUE, got {text!r}.")
    return name, document.options[name]
