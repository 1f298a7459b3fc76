"""The command lines that the study and the measurements of single claims share."""

from __future__ import annotations

import argparse
from pathlib import Path


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
