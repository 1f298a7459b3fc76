from __future__ import annotations

import logging
import sys

import pytest
import yaml
from basicsr.utils.logger import initialized_logger


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Write an option file and run a pipeline on it in this process, with tmp_path as root."""
    monkeypatch.setattr(sys, "argv", ["lightbsr"])

    def run_pipeline(pipeline, opt, *flags):
        # BasicSR opens the log file of a process's first run only.
        initialized_logger.clear()
        logging.getLogger("basicsr").handlers.clear()
        path = tmp_path / f"{opt['name']}.yml"
        path.write_text(yaml.safe_dump(opt, sort_keys=False))
        pipeline(["-opt", str(path), *flags], tmp_path)

    return run_pipeline
