"""``lightbsr train`` and ``lightbsr test``: BasicSR's pipelines, with the working directory as root."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from lightbsr.shipped_options import with_shipped_options
from lightbsr_model.bridge import launcher


def run(command: str, arguments: Sequence[str]) -> None:
    """Pass BasicSR's flags on to its pipeline.

    Raises:
        MissingFileError: There is no such option file.
    """
    sys.argv[0] = f"lightbsr {command}"
    {"train": launcher.train, "test": launcher.test}[command](with_shipped_options(arguments))
