"""Start-up times of commands and imports."""

from __future__ import annotations

import subprocess
import sys

from benchmarks.report import Section
from benchmarks.side_by_side import in_turns

_COMMANDS = {
    "`python -c pass`": ["-c", "pass"],
    "`lightbsr --help`": ["-m", "lightbsr", "--help"],
    "`import torch`": ["-c", "import torch"],
    "`import lightbsr_arch`": ["-c", "import lightbsr_arch"],
    "`import lightbsr_model` (with BasicSR)": ["-c", "import lightbsr_model"],
    "`lightbsr check` of the demo's teacher": ["-m", "lightbsr", "check", "-opt", "options/demo/train_teacher.yml"],
}


def measure(turns: int) -> Section:
    """Whole processes, files in the cache."""
    ways = {
        name: lambda words=words: subprocess.run([sys.executable, *words], stdout=subprocess.DEVNULL, check=True)
        for name, words in _COMMANDS.items()
    }
    section = Section("Start-up", "Whole processes, files in the page cache.", ("what", "s", "spread"))
    for name, timing in in_turns(ways, turns).items():
        section.rows.append([name, timing.median, timing.spread])
    return section
