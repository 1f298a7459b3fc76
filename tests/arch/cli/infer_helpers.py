"""What the tests of ``lightbsr infer`` share."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from support.helpers import run_command


def photograph(height: int = 24, width: int = 32) -> np.ndarray:
    """A part of a bundled image."""
    import skimage.data

    return np.ascontiguousarray(skimage.data.chelsea()[60 : 60 + height, 100 : 100 + width])


def save(path: Path, height: int = 24, width: int = 32) -> Path:
    """Write a part of a bundled image."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(photograph(height, width)).save(path)
    return path


def files(folder: Path) -> list[str]:
    """Every file under a folder, hidden ones too."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


class Infer:
    """``lightbsr infer`` in this process, on the CPU."""

    def __init__(self, model: Path, capfd) -> None:
        self.model, self.capfd = model, capfd

    def __call__(self, *arguments: object) -> tuple[int, str]:
        """Run it; the exit status, and all that was said."""
        arguments = tuple(str(argument) for argument in arguments)
        given = [] if "-m" in arguments else ["-m", str(self.model)]
        return run_command(self.capfd, "infer", *arguments, *given, "--device", "cpu")
