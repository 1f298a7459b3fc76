"""The command lines that the study and the measurements of single claims share."""

from __future__ import annotations

import argparse
from pathlib import Path

from benchmarks.study.methods import STARTS
from lightbsr_model.training.mixed_precision import AMP_CHOICES


def named_folder(text: str) -> tuple[str, str]:
    """Split ``NAME=FOLDER``.

    Raises:
        SystemExit: There is no such folder.
    """
    name, separator, folder = text.partition("=")
    if not separator or not Path(folder).is_dir():
        raise SystemExit(f"--sets: expected NAME=FOLDER with a folder that exists, got {text!r}.")
    return name, str(Path(folder).resolve())


def claim_parser(module: str, document: str) -> argparse.ArgumentParser:
    """The parser of what trains on some images, tests on some sets, and repeats that over seeds.

    Args:
        module: Its name behind ``python -m``.
        document: Its docstring, whose first line is the description.
    """
    parser = argparse.ArgumentParser(prog=f"python -m {module}", description=document.partition("\n")[0])
    parser.add_argument("--images", type=Path, required=True, help="folder of training images, such as BSD400")
    parser.add_argument("--sets", nargs="+", required=True, metavar="NAME=FOLDER", help="test sets")
    parser.add_argument("-o", "--output", type=Path, required=True, help="folder of all results")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="default: 0 1 2")
    return parser


def add_start(parser: argparse.ArgumentParser) -> None:
    """Add ``--start``."""
    parser.add_argument(
        "--start",
        choices=STARTS,
        default="free",
        help="how the networks of the methods start: free of the one filter that short trainings of the published ones end "
        "at (docs/short_trainings.md), or as published (default: %(default)s)",
    )


def add_amp(parser: argparse.ArgumentParser) -> None:
    """Add ``--amp``."""
    parser.add_argument(
        "--amp",
        choices=tuple(AMP_CHOICES),
        default="off",
        help="precision of all trainings; bf16 is faster on processors that compute in it (default: %(default)s)",
    )
