"""Run BasicSR's own training and testing pipelines with one of the user's folders as root."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

import basicsr.test
import basicsr.train

from lightbsr_model.bridge import run_lock
from lightbsr_model.bridge.option_parsing import command_line
from lightbsr_model.bridge.patches import apply_patches
from lightbsr_model.bridge.stopping import give_signals_back
from lightbsr_model.option_files.base_files import read_with_bases
from lightbsr_model.option_files.document import force_options


def train(arguments: Sequence[str], root: Path | None = None) -> None:
    """Train: ``basicsr.train.train_pipeline`` with our patches.

    Args:
        arguments: BasicSR's command line: ``-opt FILE``, ``--auto_resume``, ``--launcher``, ``--force_yml``, ``--debug``.
        root: Folder of ``experiments/`` and ``tb_logger/``; by default the working directory, or, with ``--auto_resume``, the
            folder above the option file that contains this run already.
    """
    apply_patches()
    sys.argv[1:] = arguments
    if root is None:
        root = _enter_root(list(arguments))
    try:
        basicsr.train.train_pipeline(str(root))
    finally:
        run_lock.release_all()
        give_signals_back()


def test(arguments: Sequence[str], root: Path | None = None) -> None:  # noqa: PT028 - not a test of ours
    """Test: ``basicsr.test.test_pipeline`` with our patches.

    Args:
        arguments: As for :func:`train`.
        root: Folder of ``results/``; by default the working directory.
    """
    apply_patches()
    sys.argv[1:] = arguments
    try:
        basicsr.test.test_pipeline(str(root or Path.cwd()))
    finally:
        run_lock.release_all()


def _enter_root(arguments: list[str]) -> Path:
    """Find the root of the run and make it the working directory, which the option file's paths are relative to."""
    here = Path.cwd()
    args = command_line(arguments)
    option_file = Path(args.opt).resolve()
    if not args.auto_resume or not option_file.is_file():
        return here
    document = read_with_bases(option_file)
    force_options(document, args.force_yml or [])
    name = str(document.options.get("name"))
    if args.debug and not name.startswith("debug"):
        name = f"debug_{name}"
    for folder in (here, *option_file.parents):
        if any((folder / "experiments" / name / "training_states").glob("*.state")):
            if folder != here:
                print(f"Continuing in {folder}, where {name} was started.", flush=True)
                sys.argv[sys.argv.index(args.opt)] = str(option_file)
                os.chdir(folder)
            return folder
    return here
