"""Run BasicSR's own training and testing pipelines with a folder of the user's as root."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

import basicsr.test
import basicsr.train

from lightbsr_model.bridge.cures import apply_cures
from lightbsr_model.bridge.stopping import StopRequest


def train(arguments: Sequence[str], root: Path | None = None) -> None:
    """Train: ``basicsr.train.train_pipeline`` under our cures.

    Args:
        arguments: BasicSR's command line: ``-opt FILE``, ``--auto_resume``, ``--launcher``, ``--force_yml``, ``--debug``.
        root: Where ``experiments/`` and ``tb_logger/`` go; default the working directory.
    """
    apply_cures()
    sys.argv[1:] = arguments
    handlers = {number: signal.getsignal(number) for number in StopRequest.signals}
    try:
        basicsr.train.train_pipeline(str(root or Path.cwd()))
    finally:
        if threading.current_thread() is threading.main_thread():
            for number, handler in handlers.items():
                signal.signal(number, handler)


def test(arguments: Sequence[str], root: Path | None = None) -> None:  # noqa: PT028 - not a test of ours
    """Test: ``basicsr.test.test_pipeline`` under our cures.

    Args:
        arguments: As for :func:`train`.
        root: Where ``results/`` goes; default the working directory.
    """
    apply_cures()
    sys.argv[1:] = arguments
    basicsr.test.test_pipeline(str(root or Path.cwd()))
