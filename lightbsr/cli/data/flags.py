"""What the commands on data have in common."""

from __future__ import annotations

import argparse

from lightbsr_arch.display import printable_lines
from lightbsr_model.data.set_making import Made
from lightbsr_model.data.worker_pool import usable_cores


def add_workers(parser: argparse.ArgumentParser) -> None:
    """Add ``--workers``."""
    parser.add_argument(
        "--workers", type=int, default=usable_cores(), help="processes; 0 is none but this (default: %(default)s)"
    )


def add_writing(parser: argparse.ArgumentParser) -> None:
    """Add the flags of commands that write a set."""
    parser.add_argument(
        "--png-level", type=int, default=3, choices=range(10), metavar="0..9", help="compression (default: %(default)s)"
    )
    parser.add_argument("--skip-bad", action="store_true", help="leave out, and list, images that cannot be used")
    add_workers(parser)


def print_left_out(made: Made) -> None:
    """List the images that could not be used, if there are any."""
    if made.bad:
        print(f"  left out, {len(made.bad)} images:\n    " + "\n    ".join(printable_lines(bad) for bad in made.bad))
