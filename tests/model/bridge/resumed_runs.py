"""A finished run, to be copied and resumed: training it once is enough."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import yaml

from lightbsr_model.bridge import launcher, option_parsing, resume
from lightbsr_model.bridge.patches import apply_patches

from support.helpers import forget_logs
from support.model_options import merged
from support.training_files import training_options


def short_options(images: Path, **changes: Any) -> dict[str, Any]:
    """A teacher of four iterations, with states of the 2nd and the 4th, and no validation."""
    opt = training_options(images, train={"total_iter": 4, "ema_decay": 0.5})
    del opt["val"], opt["datasets"]["val"]
    return merged(opt, changes)


class FinishedRun:
    """A copy of a finished run under a root of its own."""

    def __init__(self, root: Path, opt: dict[str, Any]) -> None:
        self.root = root
        self.opt = opt
        self.folder = root / "experiments" / opt["name"]

    def file(self, name: str) -> Path:
        folder = "training_states" if name.endswith(".state") else "models"
        return self.folder / folder / name

    def _arguments(self, flags: tuple[str, ...]) -> list[str]:
        path = self.root / "run.yml"
        path.write_text(yaml.safe_dump(self.opt, sort_keys=False))
        return ["-opt", str(path), *flags]

    def load(self, *flags: str) -> tuple[dict[str, Any], dict[str, Any]]:
        """Read options and state as BasicSR's pipeline does, without training; return both."""
        apply_patches()
        sys.argv = ["lightbsr", *self._arguments(flags)]
        try:
            opt, _ = option_parsing.parse_options(str(self.root))
            return opt, resume.load_resume_state(opt)
        finally:
            launcher.run_lock.release_all()

    def train(self, *flags: str) -> str:
        """Train; return this run's log."""
        forget_logs()
        for path in self.folder.glob("*.log"):
            path.unlink()
        launcher.train(self._arguments(flags), self.root)
        return next((self.root / "experiments" / self.opt["name"]).glob("*.log")).read_text()
