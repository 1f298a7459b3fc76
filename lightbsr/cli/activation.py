"""``lightbsr activate``, ``deactivate`` and ``status``."""

from __future__ import annotations

import argparse
import importlib.metadata
import platform
import sys
from collections.abc import Sequence
from pathlib import Path

from lightbsr import activation
from lightbsr_arch import __version__


def run(command: str, arguments: Sequence[str]) -> None:
    """Run one of the three commands."""
    parser = argparse.ArgumentParser(prog=f"lightbsr {command}")
    if command != "status":
        parser.add_argument(
            "--here",
            action="store_true",
            help="also link the installed basicsr into the working directory, for `python basicsr/train.py`"
            if command == "activate"
            else "also remove a link named basicsr in the working directory that points elsewhere than to the installed "
            "basicsr (a link to the installed one is always removed)",
        )
    options = parser.parse_args(arguments)
    if command == "activate":
        _activate(options.here)
    elif command == "deactivate":
        _deactivate(options.here)
    else:
        _status()


def _activate(here: bool) -> None:
    print(f"Activated by {activation.activate()}: LightBSR is known to programs of {sys.prefix} that import basicsr.")
    if here:
        link = activation.link_here(Path.cwd())
        print(f"{link} points to {link.resolve()}: `python basicsr/train.py -opt FILE` works here.")


def _deactivate(here: bool) -> None:
    removed = activation.deactivate()
    if link := activation.unlink_here(Path.cwd(), any_target=here):
        removed.append(link)
    print(f"Removed {', '.join(map(str, removed))}." if removed else "Was not activated.")


def _status() -> None:
    active = activation.is_active()
    print(f"lightbsr {__version__}, basicsr {activation.basicsr_version()} in {activation.installed_basicsr()}")
    print(f"{'activated' if active else 'not activated'} ({activation.startup_files()[1]})")
    if not active:
        print("`lightbsr train` needs no activation; `lightbsr activate` is for BasicSR's own scripts.")
    import torch  # the only one that knows which devices it can use

    print(
        f"Python {platform.python_version()} in {sys.prefix}, torch {torch.__version__}, "
        f"torchvision {importlib.metadata.version('torchvision')}, {torch.cuda.device_count()} CUDA devices"
    )
