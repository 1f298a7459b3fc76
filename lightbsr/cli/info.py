"""``lightbsr info``: report what files are, without running code in them."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from lightbsr.cli.info_kinds import describe
from lightbsr_arch.display import printable
from lightbsr_arch.errors import CommandFailed
from lightbsr_arch.weights.containers import path_of
from lightbsr_arch.weights.model_files import bundled_model, bundled_models


def run(command: str, arguments: Sequence[str]) -> None:
    """Run the command.

    Raises:
        CommandFailed: A file that is missing, damaged, or none that this package knows; all others are described.
    """
    parser = argparse.ArgumentParser(
        prog="lightbsr info",
        description="Tell what files are: model files, checkpoints of trainings and of the published codes, ONNX. "
        "No code in them is run.",
        epilog="Ends with 1 if one of them is missing, damaged, holds code, or is no model.",
    )
    parser.add_argument(
        "files", nargs="*", metavar="FILE", help="a file, or the name of a model in the package (default: all in it)"
    )
    args = parser.parse_args(arguments)
    unsound = []
    for given in dict.fromkeys(args.files or bundled_models()):
        told = describe(bundled_model(given) or path_of(given))
        print(f"{printable(given, 1000)}: {told.kind}")
        for name, value in told.details.items():
            print(f"  {name}: {value}")
        if not told.sound:
            unsound.append(printable(given, 1000))
    if unsound:
        raise CommandFailed(f"missing, damaged, with code in it, or no model: {', '.join(unsound)}")
