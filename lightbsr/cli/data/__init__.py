"""``lightbsr data``: prepare, check, degrade and show sets of images."""

from __future__ import annotations

import argparse
import importlib
from collections.abc import Sequence

import cv2

_COMMANDS = {
    "prepare": "from downloaded archives or folders to what the option files expect: sub-images, LMDBs, test sets",
    "check": "read every image of a folder, an LMDB or an option file's data sets, and report problems",
    "degrade": "write the LR images of a preset, with every kernel, noise level and seed beside them",
    "burst": "write bursts of RAW frames of a set of images, the same on every machine",
    "show": "draw what the network will see: patches, LR images, kernels, noise levels and JPEG qualities of an option file",
}


def run(command: str, arguments: Sequence[str]) -> None:
    """Run one of the commands on data."""
    parser = argparse.ArgumentParser(prog=f"lightbsr {command}", description="Prepare and look at sets of images.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, text in _COMMANDS.items():
        commands.add_parser(name, help=text, add_help=False)
    # Bad files are named by the commands themselves.
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    chosen = parser.parse_known_args(arguments[:1])[0].command
    # BasicSR does not import without it.
    import lightbsr_model  # noqa: F401

    module = importlib.import_module(f"lightbsr.cli.data.{chosen}")
    module.run(f"{command} {chosen}", arguments[1:])
