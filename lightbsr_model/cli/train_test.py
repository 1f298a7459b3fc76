"""``lightbsr train`` and ``lightbsr test``: BasicSR's pipelines, with the working directory as root."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from lightbsr_model.bridge import launcher
from lightbsr_model.cli.option_files import find_option_file


def run(command: str, arguments: Sequence[str]) -> None:
    """Hand BasicSR's flags on to its pipeline.

    Raises:
        MissingFileError: There is no such option file.
    """
    words = list(arguments)
    if "-opt" in words[:-1]:
        place = words.index("-opt") + 1
        words[place] = str(find_option_file(words[place]))
    sys.argv[0] = f"lightbsr {command}"
    {"train": launcher.train, "test": launcher.test}[command](words)
