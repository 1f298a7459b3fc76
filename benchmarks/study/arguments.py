"""The command lines that the study and the measurements of single claims share."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from pathlib import Path

from benchmarks.study.methods import SIZES, STARTS, Budget
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


def add_budget(parser: argparse.ArgumentParser, sizes: Iterable[str] = SIZES) -> None:
    """Add what :func:`budget_of` reads: length, batch, patch, size of the networks, learning rate, start and precision.

    Args:
        parser: One of :func:`claim_parser`.
        sizes: The sizes that it can train.
    """
    parser.add_argument("--iterations", type=int, default=400, help="of each training (default: %(default)s)")
    parser.add_argument("--batch", type=int, default=8, help="samples per iteration (default: %(default)s)")
    parser.add_argument("--patch", type=int, default=24, help="side of an LR patch (default: %(default)s)")
    parser.add_argument(
        "--size", choices=tuple(sizes), default="small", help="size of the networks (default: %(default)s)"
    )
    parser.add_argument("--lr", type=float, default=1e-3, help="learning rate, the same for all (default: %(default)s)")
    parser.add_argument(
        "--start",
        choices=STARTS,
        default="free",
        help="how the networks of the methods start: free of the one filter that short trainings of the published ones end "
        "at (docs/short_trainings.md), or as published (default: %(default)s)",
    )
    add_amp(parser)


def budget_of(args: argparse.Namespace, encoder_iterations: int = 0, encoder_batch: int = 0) -> Budget:
    """The budget that the arguments of :func:`add_budget` give.

    Args:
        args: The parsed arguments.
        encoder_iterations: Of encoders that are trained by contrast alone.
        encoder_batch: Their samples per iteration.
    """
    return Budget(
        str(args.images.resolve()),
        args.iterations,
        args.batch,
        args.patch,
        args.size,
        encoder_iterations,
        encoder_batch,
        args.lr,
        start=args.start,
        amp=args.amp,
    )


def add_amp(parser: argparse.ArgumentParser) -> None:
    """Add ``--amp``."""
    parser.add_argument(
        "--amp",
        choices=tuple(AMP_CHOICES),
        default="off",
        help="precision of all trainings; bf16 is faster on processors that compute in it (default: %(default)s)",
    )
