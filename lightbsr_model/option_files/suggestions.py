"""What a misspelt word may have been meant for."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def nearest(word: str, known: Iterable[str]) -> str:
    """Words that an unknown one may have been meant for, as the end of a message; empty if there are none."""
    matches = difflib.get_close_matches(word, sorted(set(known)), n=3, cutoff=0.6)
    return f"; did you mean {', '.join(matches)}" if matches else ""
