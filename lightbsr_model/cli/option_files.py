"""Where the option files are."""

from __future__ import annotations

from pathlib import Path

import lightbsr_model


def option_file(name: str) -> Path:
    """Find an option file, ``demo/train_teacher.yml`` say: installed in the package, or in the clone of an editable install."""
    package = Path(lightbsr_model.__file__).parent
    installed = package / "options" / name
    return installed if installed.is_file() else package.parent / "options" / name
