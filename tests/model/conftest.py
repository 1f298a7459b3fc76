from __future__ import annotations

import sys

import pytest
import yaml

from support.helpers import forget_logs


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Write an option file and run a pipeline on it in this process, with tmp_path as root."""
    monkeypatch.setattr(sys, "argv", ["lightbsr"])

    def run_pipeline(pipeline, opt, *flags):
        forget_logs()
        path = tmp_path / f"{opt['name']}.yml"
        path.write_text(yaml.safe_dump(opt, sort_keys=False))
        pipeline(["-opt", str(path), *flags], tmp_path)

    return run_pipeline
