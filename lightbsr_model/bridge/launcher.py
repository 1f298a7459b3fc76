"""Run BasicSR's own training and testing pipelines with a folder of the user's as root."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import basicsr.test
import basicsr.train

from lightbsr_model.bridge.cures import apply_cures


def train(arguments: Sequence[str], root: Path | None = None) -> None:
    """Train: ``basicsr.train.train_pipeline`` under our cures.

    Args:
        arguments: BasicSR's command line: ``-opt FILE``, ``--auto_resume``, ``--launcher``, ``--force_yml``, ``--debug``.
        root: Where ``experiments/`` and ``tb_logger/`` go; default the working directory.
    """
    apply_cures()
    sys.argv[1:] = arguments
    basicsr.train.train_pipeline(str(root or Path.cwd()))


def test(arguments: Sequence[str], root: Path | None = None) -> None:  # noqa: PT028 - not a test of ours
    """Test: ``basicsr.test.test_pipeline`` under our cures.

    Args:
        arguments: As for :func:`train`.
        root: Where ``results/`` goes; default the working directory.
    """
    apply_cures()
    sys.argv[1:] = arguments
    basicsr.test.test_pipeline(str(root or Path.cwd()))
