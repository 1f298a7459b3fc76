"""Names from option files that become folders and files."""

from __future__ import annotations

import unicodedata
from typing import Any

LONGEST = 200
"""Bytes of a name: file systems take 255, and log files and archived runs add a time."""

_HIDDEN = frozenset(("Cc", "Cs", "Zl", "Zp"))
"""Unicode categories that break a line or a terminal, or that no file system takes."""


def name_fault(name: Any) -> str | None:
    """What is wrong with a name as one part of a path: BasicSR joins it to a folder, and renames what is there.

    Returns:
        What was expected, and what came; None for a good name.
    """
    if not isinstance(name, str):
        return f"expected a word, got {name!r}: put it in quotes"
    if name in ("", ".", "..") or not name.strip():
        return f"expected the name of a folder, got {name!r}"
    if "/" in name or "\\" in name:
        return f"expected the name of one folder, without / and \\, got {name!r}"
    if any(unicodedata.category(character) in _HIDDEN for character in name):
        return f"expected no control characters, got {name!r}"
    length = len(name.encode("utf-8"))
    if length > LONGEST:
        return f"expected at most {LONGEST} bytes, got {length} ({name[:20]!r}...)"
    return None
